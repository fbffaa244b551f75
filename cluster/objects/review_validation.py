"""Validate the questions whether somebody may do something.

Source: upstream's `pkg/apis/authorization/validation/validation.go`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from oarlock.cluster.objects import names
from oarlock.cluster.objects.causes import GoFields, forbidden, invalid, required
from oarlock.cluster.objects.status import Cause

Obj = Mapping[str, Any]

_RESOURCE: Final = "spec.resourceAttributes"
_OTHER: Final = "spec.nonResourceAttributes"


def access(review: Obj) -> list[Cause]:
    """What is wrong with a SubjectAccessReview."""
    return _spec(review["spec"], names_user=True) + _bare(review["metadata"], "must be empty")


def own_access(review: Obj) -> list[Cause]:
    """What is wrong with a SelfSubjectAccessReview."""
    return _spec(review["spec"], names_user=False) + _bare(review["metadata"], "must be empty")


def local_access(review: Obj) -> list[Cause]:
    """What is wrong with a LocalSubjectAccessReview: it asks about resources of its own namespace."""
    spec, metadata = review["spec"], review["metadata"]
    causes = _spec(spec, names_user=True)
    causes += _bare({**metadata, "namespace": ""}, "must be empty except for namespace")
    asked = spec.get("resourceAttributes")
    if asked is not None and asked.get("namespace", "") != metadata.get("namespace", ""):
        causes.append(invalid(f"{_RESOURCE}.namespace", asked.get("namespace", ""), "must match metadata.namespace"))
    if "nonResourceAttributes" in spec:
        causes.append(invalid(_OTHER, _path_in_go(spec), "disallowed on this kind of request"))
    return causes


RULES: Final[Mapping[str, Callable[[Obj], list[Cause]]]] = {
    "LocalSubjectAccessReview": local_access,
    "SelfSubjectAccessReview": own_access,
    "SubjectAccessReview": access,
}


def _spec(spec: Obj, *, names_user: bool) -> list[Cause]:
    causes: list[Cause] = []
    about, other = "resourceAttributes" in spec, "nonResourceAttributes" in spec
    if about and other:
        why = "cannot be specified in combination with resourceAttributes"
        causes.append(invalid(_OTHER, _path_in_go(spec), why))
    if not about and not other:
        why = "exactly one of nonResourceAttributes or resourceAttributes must be specified"
        causes.append(invalid(_RESOURCE, None, why))
    if names_user and not spec.get("user") and not spec.get("groups"):
        causes.append(invalid("spec.user", "", "at least one of user or group must be specified"))
    asked = spec.get("resourceAttributes") or {}
    for name in ("fieldSelector", "labelSelector"):
        if name in asked:
            causes += _selector(asked[name], f"{_RESOURCE}.{name}", labels=name == "labelSelector")
    return causes


def _path_in_go(spec: Obj) -> GoFields:
    attributes = spec["nonResourceAttributes"]
    return GoFields(Path=attributes.get("path", ""), Verb=attributes.get("verb", ""))


def _bare(metadata: Obj, why: str) -> list[Cause]:
    given = {name: value for name, value in metadata.items() if value and name != "managedFields"}
    return [invalid("metadata", given, why)] if given else []


def _selector(selector: Obj, path: str, *, labels: bool) -> list[Cause]:
    """A raw selector or requirements; operators that this version doesn't know are let through."""
    raw, requirements = selector.get("rawSelector", ""), selector.get("requirements") or ()
    causes: list[Cause] = []
    if raw and requirements:
        causes.append(invalid(f"{path}.rawSelector", raw, "may not specified at the same time as requirements"))
    if not raw and not requirements:
        why = f"when {path} is specified, requirements or rawSelector is required"
        causes.append(required(f"{path}.requirements", why))
    for index, item in enumerate(requirements):
        causes += _requirement(item, f"{path}.requirements[{index}]", labels=labels)
    return causes


def _requirement(item: Obj, path: str, *, labels: bool) -> list[Cause]:
    key, operator, values = item.get("key", ""), item.get("operator", ""), item.get("values") or ()
    causes: list[Cause] = []
    if not labels and not key:
        causes.append(required(f"{path}.key", "must be specified"))
    if operator in {"In", "NotIn"} and not values:
        causes.append(required(f"{path}.values", "must be specified when `operator` is 'In' or 'NotIn'"))
    if operator in {"Exists", "DoesNotExist"} and values:
        why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
        causes.append(forbidden(f"{path}.values", why))
    if labels:
        causes += [invalid(f"{path}.key", key, why) for why in names.qualified_name(key)]
        for index, value in enumerate(values):
            causes += [invalid(f"{path}.values[{index}]", value, why) for why in names.label_value(value)]
    return causes
