"""ComponentStatuses: how the store, the scheduler and the controllers are. Kept nowhere; each request asks anew.

The scheduler and the controllers are well if somebody holds their lease, each reachable member of the store is.
Source: pkg/registry/core/componentstatus.
"""

from __future__ import annotations

from typing import Any

import orjson

from oarlock.cluster.apiserver.call import Call
from oarlock.cluster.apiserver.entries import Entry
from oarlock.cluster.apiserver.rendering import Page
from oarlock.cluster.apiserver.selection import selection
from oarlock.cluster.apiserver.storage import LEASES
from oarlock.cluster.objects import status
from oarlock.cluster.objects.resources import Resource
from oarlock.consensus.model import Range, Store, StoreError

COMPONENT = ("", "ComponentStatus")
_LEASES = {"controller-manager": "kube-controller-manager", "scheduler": "kube-scheduler"}


class Components:
    """Answers get and list of ComponentStatuses."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def get(self, call: Call) -> Entry:
        """Return one component's status. Raises ApiError 404."""
        for found in await self._all(call.resource):
            if found.key == call.key:
                return found
        raise status.not_found(call.resource.qualified, call.info.name)

    async def page(self, call: Call) -> Page:
        """Return the statuses that the selectors choose. Raises ApiError 400."""
        chosen = selection(call)
        return Page([one for one in await self._all(call.resource) if chosen.holds(one.key) and chosen.matches(one)], 0)

    async def _all(self, resource: Resource) -> list[Entry]:
        problems = {name: await self._lease_problem(lease) for name, lease in _LEASES.items()}
        problems |= await self._store_problems()
        return [_entry(resource, name, problem) for name, problem in sorted(problems.items())]

    async def _lease_problem(self, lease: str) -> str:
        try:
            held = await self._store.range(Range(LEASES + lease.encode()))
        except StoreError as error:
            return str(error)
        return "" if held.kvs else f"nobody holds the lease {lease}"

    async def _store_problems(self) -> dict[str, str]:
        try:
            members = await self._store.status()
        except StoreError as error:
            return {"etcd-0": str(error)}
        return {f"etcd-{number}": "" for number in range(len(members))} or {"etcd-0": "no member can be reached"}


def _entry(resource: Resource, name: str, problem: str) -> Entry:
    condition = {"type": "Healthy", "status": "Unknown" if problem else "True"}
    condition |= {"error": problem} if problem else {"message": "ok"}
    heading = {"kind": resource.kind, "apiVersion": resource.api_version}
    shown: dict[str, Any] = {**heading, "metadata": {"name": name}, "conditions": [condition]}
    return Entry(resource.key("", name), orjson.dumps(shown), 0, 0)
