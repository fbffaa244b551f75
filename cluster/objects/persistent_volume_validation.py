"""Validate PersistentVolumes, and those that stand inside a VolumeAttachment.

Source: upstream's `ValidatePersistentVolumeSpec` and `ValidatePersistentVolumeUpdate` in pkg/apis/core/validation.
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from typing import Any, Final

from oarlock.cluster.objects import metadata_validation, names, quantity
from oarlock.cluster.objects import persistent_source_validation as sources
from oarlock.cluster.objects.causes import forbidden, invalid, not_supported, required
from oarlock.cluster.objects.gostructs import Struct, difference
from oarlock.cluster.objects.metadata_validation import IMMUTABLE
from oarlock.cluster.objects.scheduling_validation import node_selector
from oarlock.cluster.objects.status import Cause
from oarlock.cluster.objects.volume_validation import ACCESS_MODES, VOLUME_MODES, positive

Obj = Mapping[str, Any]
_RECLAIM: Final = ("Delete", "Recycle", "Retain")
_INLINE: Final = "in the context of inline volumes"
_SOURCE_FROZEN: Final = "spec.persistentvolumesource is immutable after creation"
#: Labels of nodes that a volume may name by their final names instead.
_FINAL_LABELS: Final[Mapping[str, str]] = {
    "beta.kubernetes.io/arch": "kubernetes.io/arch",
    "beta.kubernetes.io/os": "kubernetes.io/os",
    "failure-domain.beta.kubernetes.io/region": "topology.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone": "topology.kubernetes.io/zone",
}


def persistent_volume(obj: Obj) -> list[Cause]:
    """What is wrong with a PersistentVolume beyond its metadata."""
    return _spec(obj["spec"], "spec")


def inline_volume(spec: Obj, path: str) -> list[Cause]:
    """What is wrong with a volume that has no object of its own: only a CSI driver's may."""
    causes = []
    if "claimRef" in spec:
        causes.append(forbidden(f"{path}.claimRef", f"may not be specified {_INLINE}"))
    if spec.get("capacity"):
        causes.append(forbidden(f"{path}.capacity", f"may not be specified {_INLINE}"))
    if "csi" not in spec:
        causes.append(required(f"{path}.csi", f"has to be specified {_INLINE}"))
    causes += access_modes(spec, path)
    if spec.get("persistentVolumeReclaimPolicy", "Retain") != "Retain":
        causes.append(forbidden(f"{path}.persistentVolumeReclaimPolicy", f"may only be Retain {_INLINE}"))
    if "nodeAffinity" in spec:
        causes.append(forbidden(f"{path}.nodeAffinity", f"may not be specified {_INLINE}"))
    causes += _sources(spec, path, has_affinity=False)
    if spec.get("storageClassName"):
        causes.append(forbidden(f"{path}.storageClassName", f"may not be specified {_INLINE}"))
    if spec.get("volumeMode", "Filesystem") != "Filesystem":
        why = f"may not specify volumeMode other than Filesystem {_INLINE}"
        causes.append(forbidden(f"{path}.volumeMode", why))
    return causes + _attributes_class(spec, path)


def _spec(spec: Obj, path: str) -> list[Cause]:
    causes = access_modes(spec, path) + _capacity(spec, f"{path}.capacity")
    policy = spec.get("persistentVolumeReclaimPolicy", "")
    if policy and policy not in _RECLAIM:
        causes.append(not_supported(f"{path}.persistentVolumeReclaimPolicy", policy, _RECLAIM))
    affinity = spec.get("nodeAffinity")
    if affinity is not None:
        place = f"{path}.nodeAffinity.required"
        if affinity.get("required") is None:
            causes.append(required(place, "must specify required node constraints"))
        else:
            causes += node_selector(affinity["required"], place)
    causes += _sources(spec, path, has_affinity=(affinity or {}).get("required") is not None)
    name, mode = spec.get("storageClassName"), spec.get("volumeMode")
    if name:
        causes += [invalid(f"{path}.storageClassName", name, why) for why in names.dns_subdomain(name)]
    if mode is not None and mode not in VOLUME_MODES:
        causes.append(not_supported(f"{path}.volumeMode", mode, VOLUME_MODES))
    return causes + _attributes_class(spec, path)


def access_modes(spec: Obj, path: str, why_required: str = "") -> list[Cause]:
    """What is wrong with the access modes of a volume or of a claim."""
    place, modes = f"{path}.accessModes", spec.get("accessModes") or ()
    causes = [] if modes else [required(place, why_required)]
    causes += [not_supported(place, one, ACCESS_MODES) for one in modes if one not in ACCESS_MODES]
    others = {*modes} & {*ACCESS_MODES} - {"ReadWriteOncePod"}
    if "ReadWriteOncePod" in modes and others:
        causes.append(forbidden(place, "may not use ReadWriteOncePod with other access modes"))
    return causes


def _capacity(spec: Obj, path: str) -> list[Cause]:
    capacity = spec.get("capacity")
    causes = [] if capacity else [required(path)]
    if list(capacity or ()) != ["storage"]:
        causes.append(not_supported(path, capacity, ("storage",)))
    for name, amount in (capacity or {}).items():
        if quantity.parse(amount) < quantity.ZERO:
            causes.append(invalid(f"{path}[{name}]", quantity.whole(amount), "must be a valid resource quantity"))
        causes += positive(amount, f"{path}[{name}]")
    return causes


def _sources(spec: Obj, path: str, *, has_affinity: bool) -> list[Cause]:
    causes: list[Cause] = []
    found = [name for name in sources.ORDER if name in spec]
    for index, name in enumerate(found):
        if index and name != "flexVolume":
            called = sources.CALLED_IF_FORBIDDEN.get(name, name)
            causes.append(forbidden(f"{path}.{called}", "may not specify more than 1 volume type"))
            continue
        causes += sources.source(name, spec[name], f"{path}.{sources.CALLED.get(name, name)}")
        if name == "local" and not has_affinity:
            causes.append(required(f"{path}.nodeAffinity", "Local volume requires node affinity"))
    if not found:
        causes.append(required(path, "must specify a volume type"))
    host, recycled = spec.get("hostPath") or {}, spec.get("persistentVolumeReclaimPolicy") == "Recycle"
    if recycled and host.get("path") and posixpath.normpath(host["path"]) == "/":
        why = "may not be 'recycle' for a hostPath mount of '/'"
        causes.append(forbidden(f"{path}.persistentVolumeReclaimPolicy", why))
    return causes


def _attributes_class(spec: Obj, path: str) -> list[Cause]:
    name, place = spec.get("volumeAttributesClassName"), f"{path}.volumeAttributesClassName"
    if name is None:
        return []
    causes = [invalid(place, name, why) for why in names.dns_subdomain(name) if name]
    if not name:
        causes.append(required(place, "an empty string is disallowed"))
    if "csi" not in spec:
        causes.append(required(f"{path}.csi", "has to be specified when using volumeAttributesClassName"))
    return causes


def persistent_volume_update(new: Obj, old: Obj) -> list[Cause]:
    """What is wrong with a PersistentVolume that replaces `old`: its source and mode are fixed."""
    # Upstream's strategy validates the new volume, and so does its rule for updates: clients see each cause twice.
    causes = persistent_volume(new) + _metadata(new) + persistent_volume(new)
    wanted, present = new["spec"], old["spec"]
    source, had = _source_of(wanted, present), _source_of(present, present)
    if source != had:
        lines = difference("core.v1.PersistentVolumeSource", had, source)
        causes.append(forbidden("spec.persistentvolumesource", f"{_SOURCE_FROZEN}\n{lines}"))
    if wanted.get("volumeMode") != present.get("volumeMode"):
        causes.append(invalid("volumeMode", wanted.get("volumeMode"), IMMUTABLE))
    if "nodeAffinity" in present and not _same_nodes(wanted.get("nodeAffinity"), present["nodeAffinity"]):
        why = f"{IMMUTABLE}, except for updating from beta label to GA"
        shown = Struct("core.v1.VolumeNodeAffinity", wanted.get("nodeAffinity"))
        causes.append(invalid("nodeAffinity", shown, why))
    if "volumeAttributesClassName" in present and "volumeAttributesClassName" not in wanted:
        causes.append(forbidden("spec.volumeAttributesClassName", "update from non-nil value to nil is forbidden"))
    return causes


def _metadata(obj: Obj) -> list[Cause]:
    return metadata_validation.validate_metadata(obj["metadata"], "metadata", names.dns_subdomain, namespaced=False)


def _source_of(spec: Obj, present: Obj) -> dict[str, Any]:
    """The source; a secret for growing it may be added once."""
    found = {name: spec[name] for name in sources.ORDER if name in spec}
    csi, had = found.get("csi"), present.get("csi")
    if csi is not None and had is not None and "controllerExpandSecretRef" not in had:
        found["csi"] = {name: value for name, value in csi.items() if name != "controllerExpandSecretRef"}
    return found


def _same_nodes(wanted: Obj | None, present: Obj) -> bool:
    """Whether two affinities are equal, labels apart that have final names by now."""
    if wanted == present:
        return True
    terms, had = (((one or {}).get("required") or {}).get("nodeSelectorTerms") or [] for one in (wanted, present))
    return len(terms) == len(had) and all(_same_term(*pair) for pair in zip(terms, had, strict=True))


def _same_term(wanted: Obj, present: Obj) -> bool:
    expressions, had = (one.get("matchExpressions") or [] for one in (wanted, present))
    if wanted.get("matchFields") != present.get("matchFields") or len(expressions) != len(had):
        return False
    return all(
        {**now, "key": ""} == {**then, "key": ""}
        # "" counts as the final name of every label that has none: so upstream's map of final names has it.
        and now.get("key") in {then.get("key"), _FINAL_LABELS.get(then.get("key", ""), "")}
        for now, then in zip(expressions, had, strict=True)
    )
