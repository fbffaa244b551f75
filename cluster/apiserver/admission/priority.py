"""Priority: a pod's class becomes its number; among the classes at most one is everybody's default.

Source: upstream's plugin/pkg/admission/priority, pkg/registry/scheduling/priorityclass/storage.
"""

from __future__ import annotations

from typing import Any

from oarlock.cluster.apiserver.admission.attributes import UPDATE, Attributes
from oarlock.cluster.apiserver.admission.view import View
from oarlock.cluster.objects import status

Obj = dict[str, Any]
_GROUP, _PLURAL = "scheduling.k8s.io", "priorityclasses"
_PREEMPTING = "PreemptLowerPriority"
SYSTEM_CLASSES = frozenset({"system-cluster-critical", "system-node-critical"})
_NUMBER_GIVEN = (
    "the integer value of priority ({}) must not be provided in pod spec; priority admission controller computed {} "
    "from the given PriorityClass name"
)
_POLICY_GIVEN = (
    "the string value of PreemptionPolicy ({}) must not be provided in pod spec; priority admission controller "
    "computed {} from the given PriorityClass name"
)


def resolve(attributes: Attributes, view: View) -> None:
    """Fill in a new pod's priority from its class, or from the default one; keep a pod's on updates."""
    if attributes.subresource:
        return
    spec = attributes.obj.setdefault("spec", {})
    if attributes.operation == UPDATE:
        _keep(spec, (attributes.old or {}).get("spec") or {})
        return
    found = _class(attributes, view, spec.get("priorityClassName") or "")
    name, value, policy = found["name"], found["value"], found["policy"]
    if name:
        spec["priorityClassName"] = name
    given = spec.get("priority")
    if given is not None and given != value:
        raise attributes.forbidden(_NUMBER_GIVEN.format(given, value))
    spec["priority"] = value
    preemption = spec.get("preemptionPolicy")
    if preemption is not None and preemption != policy:
        raise attributes.forbidden(_POLICY_GIVEN.format(preemption, policy))
    spec["preemptionPolicy"] = policy


def check_class(attributes: Attributes, view: View) -> None:
    """Refuse a second class that is everybody's default."""
    if attributes.subresource or not attributes.obj.get("globalDefault"):
        return
    present = global_default(view)
    if present is not None and present["metadata"]["name"] != attributes.obj["metadata"].get("name"):
        name = present["metadata"]["name"]
        raise attributes.forbidden(f"PriorityClass {name} is already marked as default. Only one default can exist")


def refuse_deletion(name: str) -> None:
    """Raise ApiError 403 for a class that every cluster has."""
    if name in SYSTEM_CLASSES:
        why = "this is a system priority class and cannot be deleted"
        raise status.forbidden(f"{_PLURAL}.{_GROUP}", name, why)


def global_default(view: View) -> Obj | None:
    """Return the default class; should two have come about at once, the lower one."""
    marked = (one for one in view.entries(_GROUP, _PLURAL) if b'"globalDefault":true' in one.wire)
    return min((one.object() for one in marked), key=lambda one: int(one.get("value") or 0), default=None)


def _class(attributes: Attributes, view: View, name: str) -> Obj:
    found = view.get(_GROUP, _PLURAL, name) if name else global_default(view)
    if found is None and name:
        raise attributes.forbidden(f"no PriorityClass with name {name} was found")
    if found is None:
        return {"name": "", "value": 0, "policy": _PREEMPTING}
    policy = found.get("preemptionPolicy") or _PREEMPTING
    return {"name": found["metadata"]["name"], "value": int(found.get("value") or 0), "policy": policy}


def _keep(spec: Obj, old: Obj) -> None:
    for name in ("priority", "preemptionPolicy"):
        if spec.get(name) is None and old.get(name) is not None:
            spec[name] = old[name]
