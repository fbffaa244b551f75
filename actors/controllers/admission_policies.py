"""ValidatingAdmissionPolicies: their status tells up to which generation they were looked at.

Source: upstream's validatingadmissionpolicystatus controller. What a type check would warn of isn't found out yet.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from oarlock.actors.controllers.actions import Action, UpdateStatus
from oarlock.actors.controllers.loop import Controller, Due
from oarlock.actors.controllers.view import View

Object = dict[str, Any]


def reconcile(key: str, view: View) -> list[Action]:
    """Return the status that a policy's present generation asks for."""
    policy = view.get("validatingadmissionpolicies", key)
    if policy is None:
        return []
    status = policy.get("status") or {}
    generation = policy["metadata"].get("generation")
    if status.get("observedGeneration") == generation and "typeChecking" in status:
        return []
    return [UpdateStatus({**policy, "status": {**status, "observedGeneration": generation, "typeChecking": {}}})]


def _keys(_plural: str, _old: Object | None, new: Object | None, _view: View, /) -> Iterable[Due]:
    return [Due(new["metadata"]["name"])] if new is not None else []


ADMISSION_POLICIES = Controller(
    name="validatingadmissionpolicy-status",
    source="validatingadmissionpolicy-status",
    reads=("validatingadmissionpolicies",),
    keys=_keys,
    reconcile=reconcile,
    workers=1,
)
