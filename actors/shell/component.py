"""What a shell hosts: one active part of the control plane, of which several copies stand by."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, cast, runtime_checkable

from oarlock.cluster.client.settings import ClientSettings

GATHER_MS = 5
"""How long events of a kind that changes all the time are gathered before a component hears of them that acts."""
STANDBY_GATHER_MS = 50
"""The same for one that stands by (decision 0042): what it lacks when it takes over comes within that time."""


class Component(Protocol):
    """A part that acts while it holds its lease. One event loop; a copy may be run several times in its life."""

    async def warm(self) -> None:
        """Start the caches and return once they are filled. The copy stands by from then on; it must not write."""
        ...

    async def run(self, fence: str) -> None:
        """Act until cancelled; `fence` is `NAME=EPOCH` and goes with every write.

        Acts only once the caches have reached the revision EPOCH, so that it repeats nothing its predecessor did.
        """
        ...

    async def stop(self) -> None:
        """Drop caches and connections. Idempotent; called last."""
        ...


@runtime_checkable
class Answering(Protocol):
    """A component that tells people about itself, beyond its metrics."""

    def answer(self, path: str) -> object | None:
        """Return a JSON value for `path`, which has no slash in front; None if there is nothing of that name.

        Called on the component's event loop, so it must be quick.
        """
        ...


@dataclass(frozen=True)
class ComponentContext:
    """Where a component finds its API server, who it is and which lease lets it act.

    `identity` is unique to the copy, such as `scheduler-a`. The lease passes on `lease_ttl_ms` after its holder
    fell silent. `settings` are the component's own.
    """

    client: ClientSettings
    identity: str
    lease: str
    lease_ttl_ms: int = 1000
    settings: Mapping[str, object] = field(default_factory=dict[str, object])


Factory = Callable[[ComponentContext], Component]


class UnknownComponent(Exception):
    """A dotted name leads to no component factory; the message tells which and why."""


def factory(dotted: str) -> Factory:
    """Return what `package.module:name` names. Raises UnknownComponent."""
    module, _, name = dotted.partition(":")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise UnknownComponent(f"component {dotted!r} can't be loaded: {error}") from error
    if not callable(found):
        raise UnknownComponent(f"component {dotted!r} is no factory but a {type(found).__name__}")
    return cast(Factory, found)


def fence_revision(fence: str) -> int:
    """Return the revision at which the lease behind a fence `NAME=EPOCH` was acquired."""
    return int(fence.rpartition("=")[2])
