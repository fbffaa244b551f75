"""How much of a device's capacity a request takes. Source: KEP-5075; upstream's `consumable_capacity.go`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from oarlock.actors.scheduler.devices.claimed import Ask
from oarlock.actors.scheduler.devices.published import Device
from oarlock.cluster.objects.quantity import Quantity, parse

Object = Mapping[str, Any]
Consumption = dict[str, Quantity]
"""By the capacity's name as the device publishes it."""


def consumption(ask: Ask, device: Device) -> Consumption | None:
    """Return what the request takes of each capacity; None if the device can't give that even while it is unused."""
    published: Object = device.given.get("capacity") or {}
    wanted: dict[str, Quantity] = {}
    for name, amount in ask.capacity:
        found = _published_name(name, device.id.driver, published)
        if found is None:
            return None
        wanted[found] = amount
    taken = {name: _rounded(wanted.get(name), one) for name, one in published.items()}
    fits = all(
        not _violates(taken[name], one.get("requestPolicy")) and taken[name] <= parse(one["value"])
        for name, one in published.items()
    )
    return taken if fits else None


def has_room(device: Device, taken: Consumption, *consumed: Mapping[str, int]) -> bool:
    """Whether a shared device can give that much more than is `consumed`, in nano-units."""
    published: Object = device.given.get("capacity") or {}
    return all(
        amount.nano + sum(one.get(name, 0) for one in consumed) <= parse(published[name]["value"]).nano
        for name, amount in taken.items()
    )


def _published_name(name: str, driver: str, published: Object) -> str | None:
    """A name without a domain is of the driver's own."""
    domain, slash, rest = name.partition("/")
    spellings = (name, rest) if slash and domain == driver else (name,) if slash else (name, f"{driver}/{name}")
    return next((one for one in spellings if one in published), None)


def _rounded(wanted: Quantity | None, capacity: Object) -> Quantity:
    policy: Object = capacity.get("requestPolicy") or {}
    if wanted is None:
        return parse(policy["default"] if policy.get("default") is not None else capacity["value"])
    span: Object = policy.get("validRange") or {}
    if span.get("min") is not None:
        return _rounded_up(wanted, span)
    larger = (parse(one) for one in policy.get("validValues") or ())
    return next((one for one in larger if one >= wanted), wanted)


def _rounded_up(wanted: Quantity, span: Object) -> Quantity:
    least = parse(span["min"])
    if wanted < least:
        return least
    if span.get("step") is None:
        return wanted
    step = parse(span["step"])
    steps = -((least.nano - wanted.nano) // step.nano)
    return Quantity(least.nano + steps * step.nano, step.format)


def _violates(amount: Quantity, policy: Object | None) -> bool:
    if policy is None or (policy.get("default") is not None and amount == parse(policy["default"])):
        return False
    if span := policy.get("validRange"):
        if span.get("max") is not None and amount > parse(span["max"]):
            return True
        least = parse(span["min"]) if span.get("min") is not None else Quantity(0)
        return span.get("step") is not None and (amount.nano - least.nano) % parse(span["step"]).nano != 0
    values = policy.get("validValues") or ()
    return bool(values) and all(amount != parse(one) for one in values)
