"""Which Service addresses are free, and how one is held: by its IPAddress object.

The ranges are those of the ServiceCIDRs that are ready; what is in use are the IPAddress objects, both as the watch
cache shows them. A cache that is late costs another attempt, never an address given twice: the object is made by the
Service's own transaction, which fails if it is there already. Source: KEP-1880; upstream's ipallocator package.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from oarlock.cluster.apiserver import clock
from oarlock.cluster.apiserver.allocation.ranges import AddressRange, Full, Span
from oarlock.cluster.apiserver.claims import Claim, release, require, take
from oarlock.cluster.apiserver.entries import Entry
from oarlock.cluster.apiserver.watchcache import WatchCache
from oarlock.cluster.objects import codec, resources
from oarlock.cluster.objects.resources import Resource
from oarlock.cluster.objects.service_families import canonical, family_of

Obj = dict[str, Any]
FAMILY_LABEL = "ipaddress.kubernetes.io/ip-family"
MANAGER_LABEL = "ipaddress.kubernetes.io/managed-by"
MANAGER = "ipallocator.k8s.io"
GUESSES = 32
"""Guesses at one range before it is gone through address by address: nine tenths full, one in thirty needs that."""

_OWNED: Obj = {
    "f:metadata": {"f:labels": {".": {}, f"f:{FAMILY_LABEL}": {}, f"f:{MANAGER_LABEL}": {}}},
    "f:spec": {".": {}, "f:parentRef": {".": {}, "f:name": {}, "f:namespace": {}, "f:resource": {}}},
}


@dataclass(frozen=True, slots=True)
class Ready:
    """A range that may be allocated from while its ServiceCIDR is at `revision`."""

    range: AddressRange
    key: bytes
    revision: int

    def guard(self) -> Claim:
        """Rely on the ServiceCIDR being as it was: no address is taken from one whose deletion has begun."""
        return require(self.key, self.revision)


class Addresses:
    """Chooses addresses and makes claims on them."""

    def __init__(self, cidrs: Sequence[str], cache: WatchCache, now: clock.Clock) -> None:
        """`cidrs` are the configured ones: one, or one of each family. Raises ValueError."""
        ranges = [AddressRange.of(cidr) for cidr in cidrs]
        self.families = tuple(one.family for one in ranges)
        if len(set(self.families)) != len(self.families) or not ranges:
            raise ValueError(f"service CIDRs must be one, or one of each IP family: {', '.join(cidrs)}")
        self.cidrs = [one.cidr for one in ranges]
        self.api_server_address = ranges[0].text(ranges[0].span.first)
        self._cache = cache
        self._now = now
        self._random = random.Random()
        self._kind = _networking("ipaddresses")
        self._cidr_kind = _networking("servicecidrs")
        self._read: dict[bytes, tuple[int, tuple[AddressRange, ...]]] = {}
        self._full: dict[str, int] = {}
        """Ranges without a free address, each since the last removal of an address that was counted then."""

    def ready(self, family: str) -> list[Ready]:
        """Return the ranges of a family to allocate from, those of the oldest ServiceCIDR first."""
        cidrs = self._cache.collection(self._cidr_kind.key_prefix).entries.values()
        ordered = sorted(cidrs, key=lambda entry: entry.create_revision)
        self._read = {entry.key: self._reading(entry) for entry in ordered}
        return [
            Ready(one, entry.key, entry.revision)
            for entry in ordered
            for one in self._read[entry.key][1]
            if one.family == family
        ]

    def _reading(self, entry: Entry) -> tuple[int, tuple[AddressRange, ...]]:
        known = self._read.get(entry.key)
        if known is not None and known[0] == entry.revision:
            return known
        return entry.revision, tuple(_usable(entry.object()))

    def is_taken(self, address: str) -> bool:
        """Tell whether the cache shows that `address` is somebody's."""
        return self.key(address) in self._cache.collection(self._kind.key_prefix).entries

    def key(self, address: str) -> bytes:
        """Return the store key of an address's object."""
        return self._kind.key("", canonical(address))

    def covering(self, address: str) -> Ready | None:
        """Return a range that is ready and holds `address`."""
        known = canonical(address)
        return next((one for one in self.ready(family_of(known)) if one.range.holds(known)), None)

    def free(self, family: str) -> tuple[str, Ready]:
        """Return an address that seems free, and where it comes from. Raises Full."""
        prefix = self._kind.key_prefix
        collection = self._cache.collection(prefix)
        ready = [one for one in self.ready(family) if self._full.get(one.range.cidr) != collection.removals]
        # Guesses at every range come first: while one is full the next is not reached by way of all its addresses.
        for candidates in (self._guesses, self._all):
            for one in ready:
                for number in candidates(one.range.span):
                    address = one.range.text(number)
                    if prefix + address.encode() not in collection.entries:
                        return address, one
        self._full = {one.range.cidr: collection.removals for one in self.ready(family)}
        raise Full

    def network(self, family: str) -> str:
        """Return the address that a dry run shows: that of a range itself. Raises Full."""
        for one in self.ready(family):
            return one.range.text(one.range.network)
        raise Full

    def _guesses(self, span: Span) -> Iterator[int]:
        band = span.dynamic
        return (self._random.randint(band.first, band.last) for _ in range(GUESSES if len(band) else 0))

    def _all(self, span: Span) -> Iterator[int]:
        return span.around(self._random)

    def claim(self, address: str, namespace: str, name: str) -> Claim:
        """Take `address` for a Service: its transaction makes the address's object."""
        return take(self.key(address), codec.encode(self.object(canonical(address), namespace, name)))

    def object(self, address: str, namespace: str, name: str) -> Obj:
        """Return the object of an address (in canonical form) that a Service has."""
        stamp = clock.text(self._now())
        labels = {FAMILY_LABEL: family_of(address), MANAGER_LABEL: MANAGER}
        owned = {"manager": "kube-apiserver", "operation": "Update", "apiVersion": "networking.k8s.io/v1"}
        return {
            "kind": "IPAddress",
            "apiVersion": "networking.k8s.io/v1",
            "metadata": {
                "name": address,
                "uid": str(uuid4()),
                "creationTimestamp": stamp,
                "labels": labels,
                "managedFields": [{**owned, "time": stamp, "fieldsType": "FieldsV1", "fieldsV1": _OWNED}],
            },
            "spec": {"parentRef": {"resource": "services", "namespace": namespace, "name": name}},
        }

    def give_back(self, address: str, namespace: str, name: str) -> Claim:
        """Return what becomes of a Service's address that it no longer has: its object goes, if it is this Service's.

        An object that the cache doesn't show must not be there: were it left out, a late cache would leak it.
        """
        key = self.key(address)
        entry = self._cache.collection(self._kind.key_prefix).entries.get(key)
        if entry is None:
            return require(key, 0)
        owner = entry.object().get("spec", {}).get("parentRef") or {}
        is_ours = (owner.get("resource"), owner.get("namespace"), owner.get("name")) == ("services", namespace, name)
        return release(key, entry.revision) if is_ours else require(key, entry.revision)


def _networking(plural: str) -> Resource:
    found = resources.lookup("networking.k8s.io", "v1", plural)
    assert found is not None
    return found


def _usable(cidr: Obj) -> Iterator[AddressRange]:
    """Yield a ServiceCIDR's ranges while it is ready: not deleted, and nobody said that it isn't ready."""
    conditions = cidr.get("status", {}).get("conditions") or ()
    ready = next((one.get("status") for one in conditions if one.get("type") == "Ready"), "True")
    if cidr["metadata"].get("deletionTimestamp") or ready != "True":
        return
    for text in cidr.get("spec", {}).get("cidrs") or ():
        with contextlib.suppress(ValueError):
            yield AddressRange.of(text)
