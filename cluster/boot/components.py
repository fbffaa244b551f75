"""What the shells host: the scheduler, and the controllers in one group or as a setting divides them.

`--controllers batch=job,cronjob` moves controllers into a group of their own, with a lease, a standby and a restart
of its own; `--controllers workloads=deployment,replicaset:3` splits a group into shards by namespace, `:3:uid` by
their objects' uids. Whatever no group names stays in the first one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from oarlock.cluster.boot.errors import BootError

SCHEDULER = ("scheduler", "oarlock.actors.scheduler.component:create", "kube-scheduler")
CONTROLLERS = ("controllers", "oarlock.actors.controllers.component:create", "kube-controller-manager")
_GROUP = re.compile(r"([a-z][a-z0-9]{0,20})=([a-z_,]+)(?::([1-9]\d?))?(?::(namespace|uid))?")
_WAY_OUT = "Write GROUP=NAME,NAME, with :SHARDS or :SHARDS:uid behind it."


@dataclass(frozen=True, slots=True)
class ControllerGroup:
    """Controllers that act under a lease of their own, in `shards` parts by namespace or uid."""

    name: str
    controllers: tuple[str, ...]
    shards: int = 1
    by: str = "namespace"


@dataclass(frozen=True, slots=True)
class HostedComponent:
    """One component: `kind` is the user's name without `system:`, `lease` lets one copy act."""

    name: str
    factory: str
    kind: str
    lease: str
    settings: dict[str, Any] = field(default_factory=dict[str, Any])


def parse_groups(texts: Sequence[str]) -> tuple[ControllerGroup, ...]:
    """Read the flags. Raises BootError for an unknown controller, or one that two groups name."""
    groups = [_parse(text) for text in texts]
    if not groups:
        return ()
    from oarlock.actors.controllers.component import names  # takes long to load; seldom needed

    known, seen = set(names()), set[str]()
    for group in groups:
        for name in group.controllers:
            if name not in known:
                raise BootError(f"--controllers names {name!r}", f"There are: {', '.join(sorted(known))}.")
            if name in seen:
                raise BootError(f"--controllers names {name!r} twice", "Name each controller in one group.")
            seen.add(name)
    if len({group.name for group in groups}) < len(groups):
        raise BootError("--controllers names a group twice", _WAY_OUT)
    return tuple(groups)


def _parse(text: str) -> ControllerGroup:
    found = _GROUP.fullmatch(text)
    if found is None:
        raise BootError(f"--controllers {text!r} is no group", _WAY_OUT)
    name, listed, shards, by = found.groups()
    return ControllerGroup(name, tuple(one for one in listed.split(",") if one), int(shards or 1), by or "namespace")


def components(groups: Sequence[ControllerGroup]) -> list[HostedComponent]:
    """Return what is hosted, the scheduler first."""
    name, factory, kind = SCHEDULER
    return [HostedComponent(name, factory, kind, kind), *_controllers(groups)]


def _controllers(groups: Sequence[ControllerGroup]) -> Iterator[HostedComponent]:
    name, factory, kind = CONTROLLERS
    elsewhere = [f"-{one}" for group in groups for one in group.controllers]
    yield HostedComponent(name, factory, kind, kind, {"controllers": ["*", *elsewhere]} if elsewhere else {})
    for group in groups:
        for number in range(1, group.shards + 1):
            suffix = group.name if group.shards == 1 else f"{group.name}-{number}"
            shard = {"shard": number, "shards": group.shards, "shard_by": group.by}
            settings = {"controllers": list(group.controllers), **shard}
            yield HostedComponent(f"{name}-{suffix}", factory, kind, f"{kind}-{suffix}", settings)


def is_component_lease(lease: str) -> bool:
    """Whether a lease lets a component act, whatever the groups are."""
    return any(lease == kind or lease.startswith(f"{kind}-") for _, _, kind in (SCHEDULER, CONTROLLERS))
