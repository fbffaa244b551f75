"""ResourceQuotas: what a namespace's objects use, counted again when a quota is new and when something has gone.

The API server adds what is created in the transaction that creates it; nobody subtracts but this controller. Its count
is written on the quota's revision, and only when the caches of all that is counted have reached that revision: so what
was added meanwhile makes the write fail, and what was added before is in the count.
Source: upstream's pkg/controller/resourcequota.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

from oarlock.actors.controllers.actions import Action, CatchUp, UpdateStatus, in_steps
from oarlock.actors.controllers.loop import Controller, Due
from oarlock.actors.controllers.view import KINDS, View
from oarlock.cluster.objects import pod_resources, quantity, quota_usage
from oarlock.cluster.objects.pod_resources import Amounts
from oarlock.cluster.objects.quota_usage import Kind

Object = dict[str, Any]

_MEASURED = ("pods", "services", "persistentvolumeclaims")
"""Kinds that count by what is in them; of the others there is only a number."""
_RESYNC_S = 300.0


def reconcile(key: str, view: View) -> Iterator[Action]:
    """Return the quota's status as its limits and its namespace's objects make it, giving way while they are counted.

    What goes meanwhile has the quota counted again, and what comes makes the write fail, as everywhere.
    """
    quota = view.get("resourcequotas", key)
    if quota is None or quota["metadata"].get("deletionTimestamp"):
        return
    hard: Mapping[str, Any] = (quota.get("spec") or {}).get("hard") or {}
    kinds = [kind for kind in _kinds() if quota_usage.counted(hard, kind)]
    revision = int(quota["metadata"]["resourceVersion"])
    behind = [plural for _, plural in kinds if view.caches[plural].revision < revision]
    if behind:
        yield CatchUp(behind, revision)
        return
    used: Amounts = {}
    for kind in kinds:
        count = _Count(quota, kind, view.now, used)
        yield from in_steps(view.list(kind[1], quota["metadata"]["namespace"]), count.look)
    status = {"hard": dict(hard), "used": {name: str(used[name]) for name in hard if name in used}}
    if not _is_equal(quota.get("status") or {}, status):
        yield UpdateStatus({**quota, "status": status})


class _Count:
    """Adds what objects of a kind use to `used`."""

    def __init__(self, quota: Object, kind: Kind, now: datetime, used: Amounts) -> None:
        self._quota, self._kind, self._now, self._used = quota, kind, now, used
        self._hard = quota["spec"]["hard"]
        used.update(dict.fromkeys(quota_usage.counted(self._hard, kind), quantity.ZERO))

    def look(self, obj: Object) -> None:
        if not quota_usage.in_scopes(self._quota, self._kind, obj):
            return
        used = self._used
        for name, amount in quota_usage.usage(self._kind, obj, self._now).items():
            if name in self._hard:
                used[name] = used[name] + amount if name in used else amount


def _kinds() -> Iterable[Kind]:
    return ((group, plural) for plural, (group, _) in KINDS.items())


def _is_equal(old: Object, new: Object) -> bool:
    return all(pod_resources.parsed(old.get(part)) == pod_resources.parsed(new[part]) for part in ("hard", "used"))


def keys(plural: str, old: Object | None, new: Object | None, view: View) -> Iterable[Due]:
    """Return the quotas to count again: changed ones, and those that count something that uses less than before."""
    present = new if new is not None else old
    assert present is not None
    metadata = present["metadata"]
    if plural == "resourcequotas":
        if new is not None and (old is None or old.get("spec") != new.get("spec")):
            yield Due(f"{metadata['namespace']}/{metadata['name']}")
        if new is not None:
            return
    namespace = metadata.get("namespace")
    if namespace is None or old is None:
        return
    kind = (KINDS[plural][0], plural)
    for quota in view.list("resourcequotas", namespace):
        hard = (quota.get("spec") or {}).get("hard") or {}
        if quota_usage.counted(hard, kind) and _uses_less(kind, old, new, view.now):
            yield Due(f"{namespace}/{quota['metadata']['name']}")


def _uses_less(kind: Kind, old: Object, new: Object | None, now: datetime) -> bool:
    if new is None:
        return True
    return kind[1] in _MEASURED and quota_usage.usage(kind, old, now) != quota_usage.usage(kind, new, now)


def all_keys(view: View) -> Iterable[str]:
    """Return every quota's key."""
    return (f"{one['metadata']['namespace']}/{one['metadata']['name']}" for one in view.list("resourcequotas"))


RESOURCE_QUOTA = Controller(
    name="resourcequota_primary",
    source="resourcequota-controller",
    reads=("resourcequotas", *_MEASURED),
    counts=tuple(plural for plural in KINDS if plural not in ("resourcequotas", *_MEASURED)),
    keys=keys,
    reconcile=reconcile,
    workers=5,
    resync_s=_RESYNC_S,
    all_keys=all_keys,
)
