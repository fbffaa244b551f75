"""Validate metadata, the same way for every kind: names, labels, annotations, owners, finalizers.

Source: apimachinery `api/validation/objectmeta.go`; the name rules by kind from each kind's validation.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from oarlock.cluster.objects import names
from oarlock.cluster.objects.causes import duplicate, forbidden, invalid, required, too_long
from oarlock.cluster.objects.gotext import quote
from oarlock.cluster.objects.resources import Resource
from oarlock.cluster.objects.status import Cause

Rule = Callable[[str], Sequence[str]]
ANNOTATIONS_BYTES_MAX: Final = 256 * 1024
IMMUTABLE: Final = "field is immutable"
STANDARD_FINALIZERS: Final = frozenset({"kubernetes", "orphan", "foregroundDeletion"})

_CRON_JOB_NAME_MAX: Final = 52


def _any_name(_text: str) -> tuple[str, ...]:
    return ()


def _cron_job_name(text: str) -> tuple[str, ...]:
    """Its jobs' names end in eleven more characters."""
    errors = names.dns_subdomain(text)
    if len(text) > _CRON_JOB_NAME_MAX:
        errors = (*errors, names.no_longer_than(_CRON_JOB_NAME_MAX))
    return errors


_PATH_SEGMENT_KINDS: Final = ("ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding")
#: The name rules of kinds whose names need not be (or must be more than) DNS subdomains.
NAME_RULES: Final[Mapping[tuple[str, str], Rule]] = {
    ("", "Namespace"): names.dns_label,
    ("", "Service"): names.dns_label,
    ("apps", "StatefulSet"): names.dns_label,
    ("batch", "CronJob"): _cron_job_name,
    ("certificates.k8s.io", "CertificateSigningRequest"): names.path_segment,
    ("networking.k8s.io", "IPAddress"): names.canonical_address,
    ("policy", "PodDisruptionBudget"): names.path_segment,
    ("resource.k8s.io", "DeviceClass"): names.long_name,
    ("apiregistration.k8s.io", "APIService"): names.path_segment,
    **{("rbac.authorization.k8s.io", kind): names.path_segment for kind in _PATH_SEGMENT_KINDS},
}


def validate(resource: Resource, obj: Mapping[str, Any]) -> list[Cause]:
    """What is wrong with a new object's metadata."""
    rule = NAME_RULES.get((resource.group, resource.kind), names.dns_subdomain)
    return validate_metadata(obj["metadata"], "metadata", rule, namespaced=resource.namespaced)


def validate_metadata(metadata: Mapping[str, Any], path: str, rule: Rule, *, namespaced: bool) -> list[Cause]:
    """What is wrong with metadata at `path`, for objects whose names follow `rule`."""
    causes: list[Cause] = []
    name, stem = metadata.get("name"), metadata.get("generateName")
    if stem:
        causes += [invalid(f"{path}.generateName", stem, why) for why in rule(names.generated(stem))]
    if name:
        causes += [invalid(f"{path}.name", name, why) for why in rule(name)]
    elif not stem:
        causes.append(required(f"{path}.name", "name or generateName is required"))
    namespace = metadata.get("namespace")
    if not namespaced:
        if namespace:
            causes.append(forbidden(f"{path}.namespace", "not allowed on this type"))
    elif namespace:
        causes += [invalid(f"{path}.namespace", namespace, why) for why in names.dns_label(namespace)]
    else:
        causes.append(required(f"{path}.namespace"))
    return causes + _accessory(metadata, path)


def _accessory(metadata: Mapping[str, Any], path: str) -> list[Cause]:
    causes: list[Cause] = []
    if "labels" in metadata:
        causes += labels(metadata["labels"], f"{path}.labels")
    if "annotations" in metadata:
        causes += annotations(metadata["annotations"], f"{path}.annotations")
    if "ownerReferences" in metadata:
        causes += _owners(metadata["ownerReferences"], f"{path}.ownerReferences")
    if "finalizers" in metadata:
        causes += _finalizers(metadata["finalizers"], f"{path}.finalizers")
    return causes


def labels(pairs: Mapping[str, str], path: str) -> list[Cause]:
    """What is wrong with a map of labels."""
    causes: list[Cause] = []
    for key, value in pairs.items():
        causes += [invalid(path, key, why) for why in names.qualified_name(key)]
        causes += [invalid(path, value, why) for why in names.label_value(value)]
    return causes


def annotations(pairs: Mapping[str, str], path: str) -> list[Cause]:
    """What is wrong with a map of annotations: keys as labels' but in any case, 256 KiB in all."""
    causes: list[Cause] = []
    size = 0
    for key, value in pairs.items():
        causes += [invalid(path, key, why) for why in names.qualified_name(key.lower())]
        size += len(key.encode()) + len(value.encode())
    if size > ANNOTATIONS_BYTES_MAX:
        causes.append(too_long(path, ANNOTATIONS_BYTES_MAX))
    return causes


def _owners(owners: Sequence[Mapping[str, Any]], path: str) -> list[Cause]:
    causes: list[Cause] = []
    controller: Mapping[str, Any] | None = None
    for owner in owners:
        causes += _owner(owner, path)
        if owner.get("controller"):
            if controller is not None:
                both = f"{controller.get('kind', '')}/{controller.get('name', '')}"
                both += f" and {owner.get('kind', '')}/{owner.get('name', '')}"
                why = f'Only one reference can have Controller set to true. Found "true" in references for {both}'
                causes.append(invalid(path, owners, why))
            controller = owner
    return causes


def _owner(owner: Mapping[str, Any], path: str) -> list[Cause]:
    group, _, version = owner.get("apiVersion", "").rpartition("/")
    causes: list[Cause] = []
    if not version:
        causes.append(invalid(f"{path}.apiVersion", owner.get("apiVersion", ""), "version must not be empty"))
    causes += [
        invalid(f"{path}.{name}", owner.get(name, ""), "must not be empty")
        for name in ("kind", "name", "uid")
        if not owner.get(name)
    ]
    if (group, owner.get("kind")) == ("", "Event"):
        shown = f"{owner.get('apiVersion', '')}, Kind={owner.get('kind', '')}"
        causes.append(invalid(path, owner, f"/{shown} is disallowed from being an owner"))
    return causes


def _finalizers(finalizers: Sequence[str], path: str) -> list[Cause]:
    causes = [invalid(path, name, why) for name in finalizers for why in names.qualified_name(name)]
    if "orphan" in finalizers and "foregroundDeletion" in finalizers:
        why = "finalizer orphan and foregroundDeletion cannot be both set"
        causes.append(invalid(path, finalizers, why))
    return causes


def validate_update(resource: Resource, new: Mapping[str, Any], old: Mapping[str, Any]) -> list[Cause]:
    """What is wrong with an update's metadata: immutable parts, new finalizers while deleting, accessories."""
    fresh, present = new["metadata"], old["metadata"]
    causes = _immutable(fresh, present)
    causes += _accessory(fresh, "metadata")
    if "deletionTimestamp" in present:
        causes += _new_finalizers(fresh, present)
    del resource
    return causes


def _immutable(fresh: Mapping[str, Any], present: Mapping[str, Any]) -> list[Cause]:
    fields = ("name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds")
    return [
        invalid(f"metadata.{name}", fresh.get(name), IMMUTABLE)
        for name in fields
        if fresh.get(name) != present.get(name)
    ]


def _new_finalizers(fresh: Mapping[str, Any], present: Mapping[str, Any]) -> list[Cause]:
    added = sorted(set(fresh.get("finalizers", ())) - set(present.get("finalizers", ())))
    if not added:
        return []
    listed = ", ".join(quote(name) for name in added)
    why = f"no new finalizers can be added if the object is being deleted, found new finalizers []string{{{listed}}}"
    # Upstream's validation runs over these twice, and its clients see the cause twice.
    return [forbidden("metadata.finalizers", why)] * 2


def reference_names(items: Sequence[Mapping[str, Any]], path: str, rule: Rule) -> list[Cause]:
    """What is wrong with the names of a list of named things: each must be there, fit and be unique."""
    causes: list[Cause] = []
    seen: set[str] = set()
    for index, item in enumerate(items):
        name, place = item.get("name", ""), f"{path}[{index}].name"
        if not name:
            causes.append(required(place))
            continue
        causes += [invalid(place, name, why) for why in rule(name)]
        if name in seen:
            causes.append(duplicate(place, name))
        seen.add(name)
    return causes
