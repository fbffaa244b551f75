"""All that is known of devices: what the API server says, and what was decided before it heard of that."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from oarlock.actors.scheduler.devices.claimed import Claim, DeviceClass, result_id
from oarlock.actors.scheduler.devices.published import Device, DeviceId, PoolId, Slice
from oarlock.cluster.objects.quantity import parse

Object = Mapping[str, Any]
IMPLICIT = "deviceclass.resource.kubernetes.io/"
"""Begins the resource name that means the class of the name that follows."""


class Devices:
    """Slices, classes and claims by name or key, and what is taken. Kept up change by change."""

    def __init__(self) -> None:
        self.claims: dict[str, Claim] = {}
        self.classes: dict[str, DeviceClass] = {}
        self.slices: dict[str, Slice] = {}
        self.pools: dict[PoolId, dict[str, Slice]] = {}
        self.late: set[str] = set()
        """Uids of claims whose devices didn't become ready in time."""
        self.matches: dict[Device, dict[str, bool]] = {}
        """Whether an expression chooses a device; forgotten with the device's slice."""
        self.on_forgotten: Callable[[str, bool], None] = lambda *_: None
        """Told of each assumption that has ended, and whether it was written."""
        self._assumed: dict[str, Claim] = {}
        self._by_owner: dict[str, dict[str, None]] = defaultdict(dict)
        self._taken: Counter[DeviceId] = Counter()
        self._consumed: dict[DeviceId, Counter[str]] = {}
        self._wide: dict[PoolId, None] = {}
        self._on_node: dict[str, dict[PoolId, None]] = defaultdict(dict)

    def claim(self, key: str) -> Claim | None:
        return self._assumed.get(key) or self.claims.get(key)

    def in_flight(self, key: str) -> bool:
        """Whether devices were decided on for the claim, and the API server has not heard of it."""
        return key in self._assumed

    def owned_by(self, uid: str) -> Iterable[Claim]:
        """Return the claims that a pod controls."""
        found = (self.claim(key) for key in self._by_owner.get(uid, ()))
        return [one for one in found if one is not None]

    def is_taken(self, device: DeviceId) -> bool:
        return self._taken[device] > 0

    def consumed(self, device: DeviceId) -> Mapping[str, int]:
        """Return how much of a shared device's capacity is taken, in nano-units."""
        return self._consumed.get(device) or {}

    def class_for(self, resource: str) -> DeviceClass | None:
        """Return the class that an extended resource stands for. Source: upstream's DeviceClassResolver."""
        if resource.startswith(IMPLICIT):
            return self.classes.get(resource.removeprefix(IMPLICIT))
        found = [one for one in self.classes.values() if one.extended == resource]
        # The newest counts; of equally old ones the first by name.
        newest = max((one.created for one in found), default="")
        return min((one for one in found if one.created == newest), key=lambda one: one.name, default=None)

    def pools_for(self, node: str) -> list[PoolId]:
        """Return the pools that may have something for the node, sorted."""
        return sorted({*self._wide, *self._on_node.get(node, ())})

    def put_claim(self, key: str, claim: Claim | None) -> None:
        """Take what the API server says, unless a later state is known; None if the claim is gone."""
        known = self.claims.get(key)
        if claim is not None and known is not None and known.uid == claim.uid and known.version > claim.version:
            return
        self._replace(self.claims, key, claim)
        if known is not None and (claim is None or claim.uid != known.uid):
            self.late.discard(known.uid)
            if (assumed := self._assumed.get(key)) is not None and assumed.uid == known.uid:
                self._replace(self._assumed, key, None)

    def assume(self, claim: Claim, allocation: Object) -> None:
        """Keep these devices for a claim, before the API server has heard of it."""
        self._replace(self._assumed, claim.key, replace(claim, allocation=allocation))

    def forget(self, key: str, *, written: bool = False) -> None:
        """End an assumption: it was `written`, so that `put_claim` has told of it, or it won't be. Idempotent."""
        if key in self._assumed:
            self._replace(self._assumed, key, None)
            self.on_forgotten(key, written)

    def put_class(self, name: str, device_class: DeviceClass | None) -> None:
        if device_class is None:
            self.classes.pop(name, None)
        else:
            self.classes[name] = device_class

    def put_slice(self, name: str, given: Slice | None) -> None:
        """Take what the API server says; None if the slice is gone."""
        before = self.slices.pop(name, None)
        if before is not None:
            self._drop_slice(before)
        if given is None:
            return
        self.slices[name] = given
        self.pools.setdefault(given.pool, {})[name] = given
        self._find_places(given.pool)

    def _drop_slice(self, gone: Slice) -> None:
        for device in gone.devices:
            self.matches.pop(device, None)
        slices = self.pools[gone.pool]
        del slices[gone.name]
        if not slices:
            del self.pools[gone.pool]
        self._wide.pop(gone.pool, None)
        node = gone.place.node if gone.place is not None else ""
        if (here := self._on_node.get(node)) is not None:
            here.pop(gone.pool, None)
            if not here:
                del self._on_node[node]
        self._find_places(gone.pool)

    def _find_places(self, pool: PoolId) -> None:
        for one in self.pools.get(pool, {}).values():
            if one.place is not None and one.place.node and not one.counters:
                self._on_node[one.place.node][pool] = None
            else:
                self._wide[pool] = None

    def _replace(self, known: dict[str, Claim], key: str, claim: Claim | None) -> None:
        before = self.claim(key)
        if claim is None:
            known.pop(key, None)
        else:
            known[key] = claim
        after = self.claim(key)
        if before is not None:
            self._count(before, -1)
            self._by_owner[before.owner_uid].pop(key, None)
            if not self._by_owner[before.owner_uid]:
                del self._by_owner[before.owner_uid]
        if after is not None:
            self._count(after, 1)
            self._by_owner[after.owner_uid][key] = None

    def _count(self, claim: Claim, sign: int) -> None:
        """Source: upstream's foreachAllocatedDevice: who only looks after a device takes nothing of it."""
        for result in claim.results:
            if result.get("adminAccess"):
                continue
            device = result_id(result)
            if not result.get("shareID"):
                self._taken[device] += sign
                if not self._taken[device]:
                    del self._taken[device]
                continue
            consumed = self._consumed.setdefault(device, Counter())
            for name, amount in (result.get("consumedCapacity") or {}).items():
                consumed[name] += sign * parse(amount).nano
            if not any(consumed.values()):
                del self._consumed[device]
