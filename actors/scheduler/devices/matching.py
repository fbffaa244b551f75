"""Whether a device is one that a request is about: by its class, its expressions and the device's taints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from oarlock.actors.scheduler.devices.claimed import Ask, Claim, DeviceClass
from oarlock.actors.scheduler.devices.published import Device
from oarlock.actors.scheduler.devices.state import Devices
from oarlock.cluster.objects.cel import devices as expressions
from oarlock.cluster.objects.cel.engine import CompileError
from oarlock.cluster.objects.cel.evaluation import EvaluationError

Object = Mapping[str, Any]


class Unanswerable(Exception):
    """Whether a claim can be served has no answer, whatever the node; the message says whose fault that is."""


def chosen(devices: Devices, claim: Claim, ask: Ask, device_class: DeviceClass, device: Device) -> bool:
    """Whether every expression of the class and of the request holds. Raises Unanswerable."""
    return _hold(devices, device_class.expressions, device, f"class {device_class.name}") and _hold(
        devices, ask.expressions, device, f"claim {claim.key}"
    )


def _hold(devices: Devices, given: tuple[str, ...], device: Device, whose: str) -> bool:
    known = devices.matches.setdefault(device, {})
    for index, expression in enumerate(given):
        if expression not in known:
            try:
                known[expression] = _holds(expression, device)
            except CompileError as error:
                raise Unanswerable(f"{whose}: selector #{index}: CEL compile error: {error}") from None
            except EvaluationError as error:
                raise Unanswerable(f"{whose}: selector #{index}: CEL runtime error: {error}") from None
        if not known[expression]:
            return False
    return True


def _holds(expression: str, device: Device) -> bool:
    seen = expressions.seen(device.id.driver, device.given)
    return expressions.selector(expression).matches(seen)


def tolerated(ask: Ask, device: Device) -> bool:
    """Whether the request tolerates every taint of the device that keeps pods away."""
    taints = (one for one in device.given.get("taints") or () if one.get("effect") != "None")
    return all(any(_tolerates(toleration, taint) for toleration in ask.tolerations) for taint in taints)


def _tolerates(toleration: Object, taint: Object) -> bool:
    """Source: dynamic-resource-allocation `resourceclaim.ToleratesTaint`."""
    if toleration.get("effect") and toleration["effect"] != taint.get("effect"):
        return False
    if toleration.get("key") and toleration["key"] != taint.get("key"):
        return False
    if toleration.get("operator") == "Exists":
        return True
    return (toleration.get("value") or "") == (taint.get("value") or "")


def attribute(device: Device, name: str) -> Object | None:
    """Return an attribute by its full name; one without a domain is of the driver's own."""
    published: Object = device.given.get("attributes") or {}
    domain, _, rest = name.partition("/")
    found = published.get(name)
    if found is None and domain == device.id.driver:
        found = published.get(rest)
    return found
