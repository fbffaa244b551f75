"""LimitRanger: what a namespace's LimitRanges give to pods that say nothing, and the bounds they set.

Source: upstream's plugin/pkg/admission/limitranger.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from oarlock.cluster.apiserver.admission.attributes import UPDATE, Attributes
from oarlock.cluster.apiserver.admission.view import View
from oarlock.cluster.objects import pod_resources, quantity
from oarlock.cluster.objects.pod_resources import Amounts
from oarlock.cluster.objects.quantity import Quantity

Obj = dict[str, Any]
ANNOTATION = "kubernetes.io/limit-ranger"
_KINDS = (("container", "containers"), ("init container", "initContainers"))
Rule = Callable[[str, str, Quantity, Amounts, Amounts], str]


def give_defaults(attributes: Attributes, view: View) -> None:
    """Fill in a new or resized pod's missing requests and limits, and note in an annotation which."""
    if attributes.kind != ("", "pods") or not _concerned(attributes):
        return
    for one in view.list("", "limitranges", attributes.namespace):
        set_by_us = list(_defaulted(attributes.obj.setdefault("spec", {}), _items(one, "Container")))
        if set_by_us:
            annotations = attributes.obj["metadata"].get("annotations") or {}
            text = "LimitRanger plugin set: " + "; ".join(set_by_us)
            attributes.obj["metadata"]["annotations"] = {**annotations, ANNOTATION: text}


def check(attributes: Attributes, view: View) -> None:
    """Refuse what is outside the bounds of a LimitRange."""
    if not _concerned(attributes) or (attributes.operation == UPDATE and _goes(attributes.obj)):
        return
    violations = of_pod if attributes.kind == ("", "pods") else of_claim
    for one in view.list("", "limitranges", attributes.namespace):
        found = list(dict.fromkeys(violations(attributes.obj, one)))
        if found:
            raise attributes.forbidden(found[0] if len(found) == 1 else "[" + ", ".join(found) + "]")


def of_pod(pod: Obj, limit_range: Obj) -> Iterator[str]:
    """Yield how a pod violates a LimitRange."""
    spec = pod["spec"]
    containers = [one for _, plural in _KINDS for one in spec.get(plural) or ()]
    for item in _items(limit_range):
        kind = item.get("type")
        if kind == "Container":
            for container in containers:
                asked = (pod_resources.of_container(container, part) for part in ("requests", "limits"))
                yield from _violations(item, *asked)
        elif kind == "Pod":
            requests = pod_resources.requests(pod, overhead=False)
            yield from _violations(item, requests, pod_resources.limits(pod, overhead=False))


def of_claim(claim: Obj, limit_range: Obj) -> Iterator[str]:
    """Yield how a volume claim violates a LimitRange; its limits don't count."""
    requests = pod_resources.of_container(claim["spec"], "requests")
    for item in _items(limit_range, "PersistentVolumeClaim"):
        yield from _by_rule(item, "min", _minimum, requests, {})
        yield from _by_rule(item, "max", _maximum_request, requests, {})


def _concerned(attributes: Attributes) -> bool:
    if attributes.kind == ("", "pods"):
        return attributes.is_create or (attributes.operation == UPDATE and attributes.subresource == "resize")
    return not attributes.subresource


def _goes(obj: Obj) -> bool:
    return bool(obj["metadata"].get("deletionTimestamp"))


def _items(limit_range: Obj, kind: str = "") -> Iterable[Obj]:
    items = (limit_range.get("spec") or {}).get("limits") or ()
    return [one for one in items if not kind or one.get("type") == kind]


def _defaulted(spec: Obj, items: Iterable[Obj]) -> Iterator[str]:
    """Set the defaults in place and yield what was set, container by container."""
    defaults: dict[str, Obj] = {"requests": {}, "limits": {}}
    for item in items:
        defaults["requests"].update(item.get("defaultRequest") or {})
        defaults["limits"].update(item.get("default") or {})
    for said, plural in _KINDS:
        for container in spec.get(plural) or ():
            for part, word in (("requests", "request"), ("limits", "limit")):
                resources = container.setdefault("resources", {})
                held = resources.get(part) or {}
                missing = {name: value for name, value in defaults[part].items() if name not in held}
                if missing:
                    resources[part] = {**held, **missing}
                    yield f"{', '.join(sorted(missing))} {word} for {said} {container.get('name', '')}"


def _violations(item: Obj, requests: Amounts, limits: Amounts) -> Iterator[str]:
    yield from _by_rule(item, "min", _minimum, requests, limits)
    yield from _by_rule(item, "max", _maximum, requests, limits)
    yield from _by_rule(item, "maxLimitRequestRatio", _ratio, requests, limits)


def _by_rule(item: Obj, part: str, rule: Rule, requests: Amounts, limits: Amounts) -> Iterator[str]:
    bounds: Mapping[str, Any] = item.get(part) or {}
    for name in sorted(bounds):
        said = rule(name, item["type"], quantity.parse(bounds[name]), requests, limits)
        if said:
            yield said


def _minimum(name: str, kind: str, bound: Quantity, requests: Amounts, limits: Amounts) -> str:
    head = f"minimum {name} usage per {kind} is {bound}"
    if name not in requests:
        return f"{head}.  No request is specified"
    if requests[name] < bound:
        return f"{head}, but request is {requests[name]}"
    if name in limits and limits[name] < bound:
        return f"{head}, but limit is {limits[name]}"
    return ""


def _maximum(name: str, kind: str, bound: Quantity, requests: Amounts, limits: Amounts) -> str:
    head = f"maximum {name} usage per {kind} is {bound}"
    if name not in limits:
        return f"{head}.  No limit is specified"
    if limits[name] > bound:
        return f"{head}, but limit is {limits[name]}"
    if name in requests and requests[name] > bound:
        return f"{head}, but request is {requests[name]}"
    return ""


def _maximum_request(name: str, kind: str, bound: Quantity, requests: Amounts, _: Amounts) -> str:
    head = f"maximum {name} usage per {kind} is {bound}"
    if name not in requests:
        return f"{head}.  No request is specified"
    return f"{head}, but request is {requests[name]}" if requests[name] > bound else ""


def _ratio(name: str, kind: str, bound: Quantity, requests: Amounts, limits: Amounts) -> str:
    head = f"{name} max limit to request ratio per {kind} is {bound}"
    if not requests.get(name):
        return f"{head}, but no request is specified or request is 0"
    if not limits.get(name):
        return f"{head}, but no limit is specified or limit is 0"
    ratio = limits[name].value / requests[name].value
    return f"{head}, but provided ratio is {float(ratio):f}" if ratio > bound.value else ""
