"""The pools of devices that a node can use, in the order in which they are tried.

Source: dynamic-resource-allocation `structured/internal/incubating/pools_incubating.go`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from oarlock.actors.scheduler.devices.published import Device, PoolId, Slice
from oarlock.actors.scheduler.devices.state import Devices


@dataclass(frozen=True, slots=True)
class Pool:
    """`devices` can be used on the node, `others` share counters with them; none count while a slice is missing.

    `invalid` says what is wrong with a pool that nothing may be taken from.
    """

    id: PoolId
    devices: tuple[Device, ...] = ()
    others: tuple[Device, ...] = ()
    counters: Mapping[str, Mapping[str, int]] | None = None
    incomplete: bool = False
    invalid: str = ""


def pools_of(devices: Devices, node: str, labels: Mapping[str, str]) -> list[Pool]:
    """Return the pools, those whose devices need no making ready first, each part sorted by driver and name."""
    found = [pool for one in devices.pools_for(node) if (pool := _pool(one, devices.pools[one].values(), node, labels))]
    return sorted(found, key=lambda pool: any(device.binds for device in pool.devices))


def _pool(pool: PoolId, given: Iterable[Slice], node: str, labels: Mapping[str, str]) -> Pool | None:
    every = list(given)
    newest = max(one.generation for one in every)
    slices = sorted((one for one in every if one.generation == newest), key=lambda one: one.name)
    here = [device for one in slices for device in one.on(node, labels)]
    if not here and not any(one.counters for one in slices):
        return None
    if len(slices) != slices[0].count:
        return Pool(pool, incomplete=True)
    if why := next(_faults(slices, here), ""):
        return Pool(pool, invalid=why)
    usable = {device.id for device in here}
    others = tuple(device for one in slices for device in one.devices if device.id not in usable)
    return Pool(pool, tuple(here), others, {name: amounts for one in slices for name, amounts in one.counters})


def _faults(slices: Iterable[Slice], here: Iterable[Device]) -> Iterator[str]:
    names: set[str] = set()
    for device in here:
        if device.id.name in names:
            yield f"duplicate device name {device.id.name}"
        names.add(device.id.name)
    counters: dict[str, Mapping[str, int]] = {}
    for name, amounts in (pair for one in slices for pair in one.counters):
        if name in counters:
            yield f"duplicate counter set name {name}"
        counters[name] = amounts
    for used, counter, _ in (what for one in slices for device in one.devices for what in device.consumes):
        if used not in counters:
            yield f"counter set {used} not found"
        elif counter not in counters[used]:
            yield f"counter {counter} not found in counter set {used}"
