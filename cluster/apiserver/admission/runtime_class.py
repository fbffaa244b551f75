"""RuntimeClass: a pod takes over what its class says of overhead and of the nodes that can run it.

Source: upstream's plugin/pkg/admission/runtimeclass, pkg/util/tolerations.
"""

from __future__ import annotations

from typing import Any

from oarlock.cluster.apiserver.admission.attributes import Attributes
from oarlock.cluster.apiserver.admission.view import View
from oarlock.cluster.objects import quantity

Obj = dict[str, Any]
_DIFFERS = "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead"
_UNFOUNDED = "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead"


async def complete(attributes: Attributes, view: View) -> None:
    """Set a new pod's overhead, node selector and tolerations."""
    if not attributes.is_create:
        return
    chosen = await _chosen(attributes, view)
    spec = attributes.obj.setdefault("spec", {})
    overhead = ((chosen or {}).get("overhead") or {}).get("podFixed")
    if overhead:
        if spec.get("overhead") and not _equal(spec["overhead"], overhead):
            raise attributes.forbidden(_DIFFERS)
        spec["overhead"] = dict(overhead)
    scheduling = (chosen or {}).get("scheduling")
    if scheduling:
        _schedule(attributes, spec, scheduling)


async def check(attributes: Attributes, view: View) -> None:
    """Refuse a new pod whose overhead isn't that of its class."""
    if not attributes.is_create:
        return
    overhead = attributes.obj["spec"].get("overhead") or {}
    chosen = await _chosen(attributes, view)
    if chosen is not None and chosen.get("overhead"):
        if not _equal(overhead, chosen["overhead"].get("podFixed") or {}):
            raise attributes.forbidden(_DIFFERS)
    elif overhead:
        raise attributes.forbidden(_UNFOUNDED)


async def _chosen(attributes: Attributes, view: View) -> Obj | None:
    name = attributes.obj.get("spec", {}).get("runtimeClassName")
    if not name:
        return None
    found = await view.get_live("node.k8s.io", "runtimeclasses", name)
    if found is None:
        raise attributes.forbidden(f'pod rejected: RuntimeClass "{name}" not found')
    return found


def _equal(one: Obj, other: Obj) -> bool:
    return {name: quantity.parse(value) for name, value in one.items()} == {
        name: quantity.parse(value) for name, value in other.items()
    }


def _schedule(attributes: Attributes, spec: Obj, scheduling: Obj) -> None:
    selector = dict(spec.get("nodeSelector") or {})
    for key, value in (scheduling.get("nodeSelector") or {}).items():
        if selector.setdefault(key, value) != value:
            why = (
                f"conflict: runtimeClass.scheduling.nodeSelector[{key}] = {value}; "
                f"pod.spec.nodeSelector[{key}] = {selector[key]}"
            )
            raise attributes.forbidden(why)
    if selector:
        spec["nodeSelector"] = selector
    tolerations = scheduling.get("tolerations")
    if tolerations:
        spec["tolerations"] = merged(spec.get("tolerations") or [], tolerations)


def merged(first: list[Obj], second: list[Obj]) -> list[Obj]:
    """Return all tolerations but those that another one includes."""
    every = [*first, *second]
    kept: list[Obj] = []
    for index, one in enumerate(every):
        later = (other for other in every[index + 1 :] if other != one and _includes(other, one))
        if not any(_includes(other, one) for other in kept) and next(later, None) is None:
            kept.append(one)
    return kept


def _includes(wide: Obj, narrow: Obj) -> bool:
    """Tell whether whatever `narrow` tolerates, `wide` does too."""
    if wide == narrow:
        return True
    operator = wide.get("operator") or "Equal"
    if narrow.get("key") != wide.get("key") and (wide.get("key") or operator != "Exists"):
        return False
    if wide.get("effect") and narrow.get("effect") != wide["effect"]:
        return False
    if wide.get("effect") == "NoExecute" and wide.get("tolerationSeconds") is not None:
        seconds = narrow.get("tolerationSeconds")
        if seconds is None or seconds > wide["tolerationSeconds"]:
            return False
    if operator == "Equal":
        return narrow.get("operator") == "Equal" and narrow.get("value") == wide.get("value")
    return operator == "Exists"
