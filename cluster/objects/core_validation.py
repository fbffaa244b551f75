"""Validate ConfigMaps, Secrets, Namespaces, Nodes, PersistentVolumes and their claims.

Source: upstream's `pkg/apis/core/validation/validation.go`.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any, Final

from oarlock.cluster.objects import jsontext, names, quantity
from oarlock.cluster.objects.causes import forbidden, invalid, not_supported, required, too_long
from oarlock.cluster.objects.gostructs import difference, same
from oarlock.cluster.objects.metadata_validation import IMMUTABLE
from oarlock.cluster.objects.scheduling_validation import TAINT_EFFECTS, node_selector
from oarlock.cluster.objects.status import Cause
from oarlock.cluster.objects.volume_validation import ACCESS_MODES, VOLUME_MODES, claim_spec, positive

Obj = Mapping[str, Any]
DATA_BYTES_MAX: Final = 1024 * 1024
SEALED: Final = "field is immutable when `immutable` is set"
_RECLAIM: Final = ("Delete", "Recycle", "Retain")
#: The keys that a Secret of a type must have.
_SECRET_KEYS: Final[Mapping[str, tuple[str, ...]]] = {
    "kubernetes.io/dockercfg": (".dockercfg",),
    "kubernetes.io/dockerconfigjson": (".dockerconfigjson",),
    "kubernetes.io/ssh-auth": ("ssh-privatekey",),
    "kubernetes.io/tls": ("tls.crt", "tls.key"),
}
_BASIC_AUTH: Final = ("username", "password")


def config_map(obj: Obj) -> list[Cause]:
    """What is wrong with a ConfigMap beyond its metadata."""
    data, binary = obj.get("data", {}), obj.get("binaryData", {})
    causes: list[Cause] = []
    for key in data:
        causes += [invalid(f"data[{key}]", key, why) for why in names.config_key(key)]
        if key in binary:
            causes.append(invalid(f"data[{key}]", key, "duplicate of key present in binaryData"))
    for key in binary:
        causes += [invalid(f"binaryData[{key}]", key, why) for why in names.config_key(key)]
    size = sum(len(text.encode()) for text in data.values()) + sum(map(decoded_bytes, binary.values()))
    if size > DATA_BYTES_MAX:
        causes.append(too_long("[]", DATA_BYTES_MAX))
    return causes


def decoded_bytes(text: str | None) -> int:
    """How many bytes a base64 text stands for; none where a client sent null, which is kept."""
    if not text:
        return 0
    return len(text) * 3 // 4 - text[-2:].count("=")


def _sealed(new: Obj, old: Obj, *fields: str) -> list[Cause]:
    """What changed of an object that was declared immutable."""
    if not old.get("immutable"):
        return []
    causes = [] if new.get("immutable") else [forbidden("immutable", SEALED)]
    return causes + [forbidden(name, SEALED) for name in fields if new.get(name) != old.get(name)]


def config_map_update(new: Obj, old: Obj) -> list[Cause]:
    """What is wrong with a ConfigMap that replaces `old`."""
    return _sealed(new, old, "data", "binaryData") + config_map(new)


def secret(obj: Obj) -> list[Cause]:
    """What is wrong with a Secret beyond its metadata."""
    data, kind = obj.get("data", {}), obj.get("type", "")
    causes: list[Cause] = []
    for key in data:
        causes += [invalid(f"data[{key}]", key, why) for why in names.config_key(key)]
    if sum(map(decoded_bytes, data.values())) > DATA_BYTES_MAX:
        causes.append(too_long("data", DATA_BYTES_MAX))
    if kind == "kubernetes.io/service-account-token":
        account = obj["metadata"].get("annotations", {}).get("kubernetes.io/service-account.name")
        if not account:
            causes.append(required("metadata.annotations[kubernetes.io/service-account.name]"))
    if kind == "kubernetes.io/basic-auth" and not any(key in data for key in _BASIC_AUTH):
        causes += [required(f"data[{key}]") for key in _BASIC_AUTH]
    for key in _SECRET_KEYS.get(kind, ()):
        if key not in data:
            causes.append(required(f"data[{key}]"))
        elif kind.startswith("kubernetes.io/docker"):
            causes += _json_member(data[key], f"data[{key}]")
    return causes


def _json_member(text: str | None, path: str) -> list[Cause]:
    raw = base64.b64decode(text or "")
    why = "" if jsontext.is_json(raw) else jsontext.error(raw)
    return [invalid(path, "<secret contents redacted>", why)] if why else []


def secret_update(new: Obj, old: Obj) -> list[Cause]:
    """What is wrong with a Secret that replaces `old`."""
    causes: list[Cause] = []
    if new.get("type") != old.get("type"):
        causes.append(invalid("type", new.get("type", ""), IMMUTABLE))
    return causes + _sealed(new, old, "data") + secret(new)


def namespace(obj: Obj) -> list[Cause]:
    """What is wrong with a Namespace beyond its metadata."""
    causes: list[Cause] = []
    for name in obj["spec"].get("finalizers", ()):
        causes += [invalid("spec.finalizers", name, why) for why in names.qualified_name(name)]
    return causes


def namespace_update(new: Obj, old: Obj) -> list[Cause]:
    """Nothing of a Namespace is immutable beyond its metadata."""
    del new, old
    return []


def node(obj: Obj) -> list[Cause]:
    """What is wrong with a Node beyond its metadata."""
    spec = obj.get("spec", {})
    causes: list[Cause] = []
    seen: set[tuple[str, str]] = set()
    for index, taint in enumerate(spec.get("taints", ())):
        # Upstream's path says metadata, though taints stand in the spec.
        place = f"metadata.taints[{index}]"
        key, value, effect = taint.get("key", ""), taint.get("value", ""), taint.get("effect", "")
        causes += [invalid(f"{place}.key", key, why) for why in names.qualified_name(key)]
        causes += [invalid(f"{place}.value", value, why) for why in names.label_value(value)]
        if effect not in TAINT_EFFECTS:
            wrong = not_supported(f"{place}.effect", effect, TAINT_EFFECTS)
            causes.append(wrong if effect else required(f"{place}.effect"))
        if (key, effect) in seen:
            why = "taints must be unique by key and effect pair"
            causes.append(Cause("FieldValueDuplicate", f"Duplicate value: {why}", place))
        seen.add((key, effect))
    for index, text in enumerate(spec.get("podCIDRs", ())):
        causes += [invalid(f"spec.podCIDRs[{index}]", text, why) for why in names.cidr(text)]
    return causes


def node_update(new: Obj, old: Obj) -> list[Cause]:
    """What is wrong with a Node that replaces `old`: ranges and the provider's id are set once."""
    causes = node(new)
    wanted, present = new.get("spec", {}), old.get("spec", {})
    for name, shown in (("podCIDRs", "podCIDR"), ("providerID", "providerID")):
        if present.get(name) and wanted.get(name) != present[name]:
            why = f'node updates may not change {shown} except from "" to valid'
            causes.append(forbidden(f"spec.{name}", why))
    return causes


def persistent_volume(obj: Obj) -> list[Cause]:
    """What is wrong with a PersistentVolume beyond its metadata."""
    spec = obj["spec"]
    causes: list[Cause] = []
    modes = spec.get("accessModes", ())
    if not modes:
        causes.append(required("spec.accessModes"))
    causes += [not_supported("spec.accessModes", one, ACCESS_MODES) for one in modes if one not in ACCESS_MODES]
    capacity = spec.get("capacity", {})
    if not capacity:
        causes.append(required("spec.capacity"))
    if list(capacity) != ["storage"]:
        causes.append(not_supported("spec.capacity", capacity or None, ("storage",)))
    for name, amount in capacity.items():
        causes += positive(amount, f"spec.capacity[{name}]")
    policy = spec.get("persistentVolumeReclaimPolicy", "")
    if policy not in _RECLAIM:
        causes.append(not_supported("spec.persistentVolumeReclaimPolicy", policy, _RECLAIM))
    if spec.get("nodeAffinity", {}).get("required") is not None:
        causes += node_selector(spec["nodeAffinity"]["required"], "spec.nodeAffinity.required")
    sources = volume_sources(spec)
    if not sources:
        causes.append(required("spec", "must specify a volume type"))
    causes += [forbidden(f"spec.{name}", "may not specify more than 1 volume type") for name in sources[1:]]
    if "hostPath" in spec and not spec["hostPath"].get("path"):
        causes.append(required("spec.hostPath.path"))
    name = spec.get("storageClassName")
    if name:
        causes += [invalid("spec.storageClassName", name, why) for why in names.dns_subdomain(name)]
    mode = spec.get("volumeMode")
    if mode is not None and mode not in VOLUME_MODES:
        causes.append(not_supported("spec.volumeMode", mode, VOLUME_MODES))
    return causes


_NOT_SOURCES: Final = frozenset(
    {
        *("accessModes", "capacity", "claimRef", "mountOptions", "nodeAffinity", "persistentVolumeReclaimPolicy"),
        *("storageClassName", "volumeAttributesClassName", "volumeMode"),
    }
)


def volume_sources(spec: Obj) -> list[str]:
    """The names of the sources that a PersistentVolume's spec has."""
    return [name for name in spec if name not in _NOT_SOURCES]


def persistent_volume_update(new: Obj, old: Obj) -> list[Cause]:
    """What is wrong with a PersistentVolume that replaces `old`: its source and mode are fixed."""
    causes = persistent_volume(new)
    wanted, present = new["spec"], old["spec"]
    sources = [{name: spec[name] for name in volume_sources(spec)} for spec in (wanted, present)]
    if sources[0] != sources[1]:
        causes.append(
            forbidden("spec.persistentvolumesource", "spec.persistentvolumesource is immutable after creation")
        )
    if wanted.get("volumeMode") != present.get("volumeMode"):
        causes.append(invalid("volumeMode", wanted.get("volumeMode"), IMMUTABLE))
    if present.get("nodeAffinity") and wanted.get("nodeAffinity") != present["nodeAffinity"]:
        why = f"{IMMUTABLE}, except for updating from beta label to GA"
        causes.append(invalid("nodeAffinity", wanted.get("nodeAffinity"), why))
    return causes


def persistent_volume_claim(obj: Obj) -> list[Cause]:
    """What is wrong with a PersistentVolumeClaim beyond its metadata."""
    return claim_spec(obj["spec"], "spec")


_CLAIM_FROZEN: Final = (
    "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims"
)


def persistent_volume_claim_update(new: Obj, old: Obj) -> list[Cause]:
    """What is wrong with a claim that replaces `old`: only a bound claim's request may grow."""
    causes = persistent_volume_claim(new)
    wanted, present = new["spec"], old["spec"]
    compared = _claim_frozen(wanted, present, bound=new.get("status", {}).get("phase") == "Bound")
    kept = dict(present) if present.get("volumeName") else {**present, "volumeName": wanted.get("volumeName", "")}
    if not same("core.v1.PersistentVolumeClaimSpec", compared, kept):
        lines = difference("core.v1.PersistentVolumeClaimSpec", kept, compared)
        causes.append(forbidden("spec", f"{_CLAIM_FROZEN}\n{lines}"))
    sizes = [spec.get("resources", {}).get("requests", {}).get("storage", "0") for spec in (wanted, present)]
    if quantity.parse(sizes[0]) < quantity.parse(sizes[1]):
        why = "field can not be less than status.capacity"
        causes.append(forbidden("spec.resources.requests.storage", why))
    if wanted.get("volumeMode") != present.get("volumeMode"):
        causes.append(invalid("volumeMode", wanted.get("volumeMode"), IMMUTABLE))
    return causes


def _claim_frozen(spec: Obj, present: Obj, *, bound: bool) -> dict[str, Any]:
    """The spec with what may change of it taken from the present one."""
    frozen = dict(spec)
    frozen.setdefault("volumeName", "")
    if present.get("storageClassName") is None and spec.get("storageClassName") is not None and bound:
        frozen.pop("storageClassName", None)
    if bound and spec.get("resources", {}).get("requests"):
        held = present.get("resources", {}).get("requests", {}).get("storage")
        frozen["resources"] = {**spec["resources"], "requests": {**spec["resources"]["requests"], "storage": held}}
    if "volumeAttributesClassName" in present:
        frozen["volumeAttributesClassName"] = present["volumeAttributesClassName"]
    else:
        frozen.pop("volumeAttributesClassName", None)
    return frozen
