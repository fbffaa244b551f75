"""What a pod as a whole requests, and what it is limited to.

Source: k8s.io/component-helpers/resource (PodRequests, PodLimits); KEP-753 (sidecars), KEP-2837 (pod-level resources).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from oarlock.cluster.objects import quantity
from oarlock.cluster.objects.quantity import Quantity

Obj = Mapping[str, Any]
Amounts = dict[str, Quantity]


def parsed(amounts: Mapping[str, Any] | None) -> Amounts:
    """Return amounts by resource name."""
    return {name: quantity.parse(value) for name, value in (amounts or {}).items()}


def added(*amounts: Amounts) -> Amounts:
    """Return the sums by name."""
    total: Amounts = {}
    for one in amounts:
        for name, value in one.items():
            total[name] = total[name] + value if name in total else value
    return total


def larger(one: Amounts, other: Amounts) -> Amounts:
    """Return the greater amount by name."""
    return {**one, **{name: max(one.get(name, value), value) for name, value in other.items()}}


def requests(pod: Obj, *, overhead: bool = True, resized: bool = False) -> Amounts:
    """Return what the pod requests.

    `overhead`: its runtime's overhead included. `resized`: what its containers were given counts where it is more than
    what they ask for now.
    """
    total = _total(pod, "requests", resized=resized)
    return added(total, parsed(pod["spec"].get("overhead"))) if overhead else total


def limits(pod: Obj, *, overhead: bool = True, resized: bool = False) -> Amounts:
    """Return what the pod is limited to; overhead is added to what is limited."""
    total = _total(pod, "limits", resized=resized)
    if overhead:
        extra = parsed(pod["spec"].get("overhead"))
        total = {name: value + extra[name] if name in extra else value for name, value in total.items()}
    return total


def of_container(container: Obj, part: str) -> Amounts:
    """Return the `part` (requests or limits) of one container."""
    return parsed((container.get("resources") or {}).get(part))


def _total(pod: Obj, part: str, *, resized: bool) -> Amounts:
    spec = pod["spec"]
    given = _given(pod, part) if resized else {}
    running = added(*(_held(one, part, given) for one in spec.get("containers") or ()))
    sidecars, starting = _initial(spec.get("initContainers") or (), part, given)
    total = larger(added(running, sidecars), starting)
    return {**total, **parsed((spec.get("resources") or {}).get(part))}


def _initial(containers: Iterable[Obj], part: str, given: Mapping[str, Amounts]) -> tuple[Amounts, Amounts]:
    """Return what sidecars add for good, and the most that is needed at any moment of the start."""
    sidecars: Amounts = {}
    most: Amounts = {}
    for container in containers:
        held = _held(container, part, given)
        if container.get("restartPolicy") == "Always":
            sidecars = added(sidecars, held)
            most = larger(most, sidecars)
        else:
            most = larger(most, added(held, sidecars))
    return sidecars, most


def _held(container: Obj, part: str, given: Mapping[str, Amounts]) -> Amounts:
    asked = of_container(container, part)
    return larger(asked, given.get(container.get("name", ""), {}))


def _given(pod: Obj, part: str) -> dict[str, Amounts]:
    state = pod.get("status") or {}
    every = [*(state.get("containerStatuses") or ()), *(state.get("initContainerStatuses") or ())]
    return {one.get("name", ""): parsed((one.get("resources") or {}).get(part)) for one in every}
