"""Validate what comes through `status` and `finalize`: counts, phases, conditions, containers' states.

Source: upstream's Validate…StatusUpdate functions in pkg/apis/{core,apps,batch,policy}/validation.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from oarlock.cluster.objects import core_validation
from oarlock.cluster.objects.causes import duplicate, forbidden, invalid
from oarlock.cluster.objects.condition_validation import conditions
from oarlock.cluster.objects.resource_validation import NOT_NEGATIVE
from oarlock.cluster.objects.status import Cause

Obj = Mapping[str, Any]
Rule = Callable[[Obj, Obj], list[Cause]]

_BEYOND_REPLICAS: Final = "cannot be greater than status.replicas"
_NO_ADDRESS: Final = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"


def counts(
    fields: Sequence[str], *, among_replicas: Sequence[str] = (), ready: str = "cannot be greater than readyReplicas"
) -> Rule:
    """Return a rule: `fields` aren't negative, those `among_replicas` aren't beyond them, collisions never decrease."""

    def rule(new: Obj, old: Obj) -> list[Cause]:
        state, before = new.get("status") or {}, old.get("status") or {}
        causes = _not_negative(state, (*fields, "collisionCount"))
        for name in among_replicas:
            if state.get(name, 0) > state.get("replicas", 0):
                causes.append(invalid(f"status.{name}", state.get(name, 0), _BEYOND_REPLICAS))
        if among_replicas and state.get("availableReplicas", 0) > state.get("readyReplicas", 0):
            causes.append(invalid("status.availableReplicas", state["availableReplicas"], ready))
        collisions, had = state.get("collisionCount"), before.get("collisionCount")
        if had is not None and (collisions is None or collisions < had):
            causes.append(invalid("status.collisionCount", collisions or 0, "cannot be decremented"))
        return causes

    return rule


def _not_negative(state: Obj, fields: Iterable[str]) -> list[Cause]:
    return [invalid(f"status.{name}", state[name], NOT_NEGATIVE) for name in fields if (state.get(name) or 0) < 0]


deployment: Final = counts(
    ("observedGeneration", "replicas", "updatedReplicas", "readyReplicas", "availableReplicas", "unavailableReplicas"),
    among_replicas=("updatedReplicas", "readyReplicas", "availableReplicas"),
)
replica_set: Final = counts(
    ("replicas", "fullyLabeledReplicas", "readyReplicas", "availableReplicas", "observedGeneration"),
    among_replicas=("fullyLabeledReplicas", "readyReplicas", "availableReplicas"),
)
stateful_set: Final = counts(
    ("replicas", "readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas", "observedGeneration"),
    among_replicas=("readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas"),
    ready="cannot be greater than status.readyReplicas",
)
daemon_set: Final = counts(
    (
        *("currentNumberScheduled", "numberMisscheduled", "desiredNumberScheduled", "numberReady"),
        *("observedGeneration", "updatedNumberScheduled", "numberAvailable", "numberUnavailable"),
    )
)
job: Final = counts(("active", "succeeded", "failed", "ready", "terminating"))
autoscaler: Final = counts(("currentReplicas", "desiredReplicas"))
_budget: Final = counts(("disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods"))


def disruption_budget(new: Obj, old: Obj) -> list[Cause]:
    """What is wrong with a PodDisruptionBudget's new status: its conditions, then its counts."""
    return conditions((new.get("status") or {}).get("conditions") or (), "status.conditions") + _budget(new, old)


def namespace(new: Obj, _: Obj) -> list[Cause]:
    """What is wrong with a Namespace's new status: its phase says whether it is being deleted."""
    phase = (new.get("status") or {}).get("phase", "")
    if new["metadata"].get("deletionTimestamp"):
        why, right = "may only be 'Terminating' if `deletionTimestamp` is not empty", "Terminating"
    else:
        why, right = "may only be 'Active' if `deletionTimestamp` is empty", "Active"
    return [] if phase == right else [invalid("status.Phase", phase, why)]


def finalize(new: Obj, _: Obj) -> list[Cause]:
    """What is wrong with a Namespace's new finalizers."""
    finalizers: Sequence[str] = new["spec"].get("finalizers") or ()
    return [
        cause
        for index, name in enumerate(finalizers)
        for cause in core_validation.finalizer(name, f"spec.finalizers[{index}]")
    ]


def pod(new: Obj, old: Obj) -> list[Cause]:
    """What is wrong with a Pod's new status: what has ended for good doesn't run again."""
    state, before = new.get("status") or {}, old.get("status") or {}
    policy = old["spec"].get("restartPolicy")
    causes: list[Cause] = []
    for field, restarts in (
        ("containerStatuses", policy),
        ("initContainerStatuses", policy),
        ("ephemeralContainerStatuses", "Never"),
    ):
        causes += _states(state.get(field) or (), before.get(field) or (), f"status.{field}", restarts)
    for field in ("podIPs", "hostIPs"):
        for index, one in enumerate(state.get(field) or ()):
            if not _is_address(one.get("ip", "")):
                causes.append(invalid(f"status.{field}[{index}]", one.get("ip", ""), _NO_ADDRESS))
    return causes


def _states(new: Sequence[Obj], old: Sequence[Obj], path: str, policy: str | None) -> list[Cause]:
    if policy == "Always":
        return []
    now = {one.get("name"): one.get("state") or {} for one in new}
    causes = []
    for index, one in enumerate(old):
        ended = (one.get("state") or {}).get("terminated")
        if ended is None or (policy == "OnFailure" and ended.get("exitCode", 0) != 0):
            continue
        if one.get("name") in now and now[one.get("name")].get("terminated") is None:
            causes.append(forbidden(f"{path}[{index}].state", "may not be transitioned to non-terminated state"))
    return causes


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def node(new: Obj, _: Obj) -> list[Cause]:
    """What is wrong with a Node's new status: each address stands once."""
    seen: set[tuple[Any, Any]] = set()
    causes = []
    for index, address in enumerate((new.get("status") or {}).get("addresses") or ()):
        pair = (address.get("type"), address.get("address"))
        if pair in seen:
            causes.append(duplicate(f"status.addresses[{index}]", dict(address)))
        seen.add(pair)
    return causes
