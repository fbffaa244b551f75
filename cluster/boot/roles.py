"""Builds each role's component from its JSON settings: the only place that knows all parts' constructors.

Imports are local to the roles, so that a process loads only what it runs.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from oarlock.consensus.client import StoreClient

Settings = Mapping[str, Any]


class Startable(Protocol):
    """What every long-running part looks like."""

    async def start(self) -> None: ...

    async def wait(self) -> None: ...

    async def stop(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Running:
    """A started part and the address that it serves, "" if it serves none."""

    component: Startable
    address: str


def store_client(endpoints: Sequence[str], tls: Mapping[str, str]) -> StoreClient:
    """Return an unstarted client of the store at "host:port" endpoints."""
    from oarlock.consensus.client import StoreClient
    from oarlock.consensus.transport import Tls

    return StoreClient(endpoints, Tls(**tls))
