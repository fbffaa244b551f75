"""Validate ConfigMaps, Secrets, Namespaces and Nodes.

Source: upstream's `pkg/apis/core/validation/validation.go`.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any, Final

from oarlock.cluster.objects import jsontext, names
from oarlock.cluster.objects.causes import forbidden, invalid, not_supported, required, too_long
from oarlock.cluster.objects.metadata_validation import IMMUTABLE, STANDARD_FINALIZERS
from oarlock.cluster.objects.scheduling_validation import TAINT_EFFECTS
from oarlock.cluster.objects.status import Cause

Obj = Mapping[str, Any]
DATA_BYTES_MAX: Final = 1024 * 1024
SEALED: Final = "field is immutable when `immutable` is set"
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
    """How many bytes a base64 text stands for."""
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
        if key not in data or (kind == "kubernetes.io/ssh-auth" and not data[key]):
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
        causes += finalizer(name, "spec.finalizers")
    return causes


def finalizer(name: str, path: str) -> list[Cause]:
    """What is wrong with the name of a finalizer of the core group.

    Source: upstream's `validateFinalizerName`.
    """
    causes = [invalid(path, name, why) for why in names.qualified_name(name)]
    if "/" not in name and name not in STANDARD_FINALIZERS:
        why = "name is neither a standard finalizer name nor is it fully qualified"
        causes.append(invalid(path, name, why))
    return causes


def namespace_update(new: Obj, old: Obj) -> list[Cause]:
    """Nothing of a Namespace is immutable beyond its metadata."""
    del new, old
    return []


def node(obj: Obj) -> list[Cause]:
    """What is wrong with a Node beyond its metadata."""
    spec = obj.get("spec", {})
    causes = _taints(spec.get("taints", ()))
    for index, text in enumerate(spec.get("podCIDRs", ())):
        causes += [invalid(f"spec.podCIDRs[{index}]", text, why) for why in names.cidr(text)]
    return causes


def _taints(items: Sequence[Obj]) -> list[Cause]:
    causes: list[Cause] = []
    seen: set[tuple[str, str]] = set()
    for index, taint in enumerate(items):
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
    return causes


def node_update(new: Obj, old: Obj) -> list[Cause]:
    """What is wrong with a Node that replaces `old`: ranges and the provider's id are set once."""
    wanted, present = new.get("spec", {}), old.get("spec", {})
    # Upstream looks at the taints of a Node on its own and again as an update.
    causes = node(new) + _taints(wanted.get("taints", ()))
    for name, shown in (("podCIDRs", "podCIDR"), ("providerID", "providerID")):
        if present.get(name) and wanted.get(name) != present[name]:
            why = f'node updates may not change {shown} except from "" to valid'
            causes.append(forbidden(f"spec.{name}", why))
    return causes
