"""Validate the storage group: classes, drivers, what nodes offer, attachments, capacities.

Source: upstream's pkg/apis/storage/validation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from oarlock.cluster.objects import metadata_validation, names, quantity
from oarlock.cluster.objects.causes import duplicate, forbidden, invalid, not_supported, required, too_long
from oarlock.cluster.objects.metadata_validation import IMMUTABLE
from oarlock.cluster.objects.persistent_volume_validation import inline_volume
from oarlock.cluster.objects.scheduling_validation import label_selector
from oarlock.cluster.objects.status import Cause
from oarlock.cluster.objects.volume_validation import driver_name

Obj = Mapping[str, Any]
_PARAMETERS_MAX: Final = 512
_PARAMETERS_BYTES_MAX: Final = 256 * 1024
_NODE_ID_MAX: Final = 256
_ATTACHMENT_BYTES_MAX: Final = 256 * 1024
_ERROR_BYTES_MAX: Final = 1024
_RECLAIM: Final = ("Delete", "Retain")
_BINDING_MODES: Final = ("Immediate", "WaitForFirstConsumer")
_GROUP_POLICIES: Final = ("File", "None", "ReadWriteOnceWithFSType")
_LIFECYCLES: Final = ("Persistent", "Ephemeral")
_TOKEN_SECONDS_MIN: Final = 600
_TOKEN_SECONDS_MAX: Final = 2**32
_ALLOCATABLE_PERIOD_S_MIN: Final = 10
_ONE_SOURCE: Final = "must specify exactly one of inlineVolumeSpec and persistentVolumeName"


def storage_class(obj: Obj) -> list[Cause]:
    """What is wrong with a StorageClass beyond its metadata."""
    causes = _provisioner(obj.get("provisioner", ""), "provisioner") + _parameters(obj.get("parameters") or {})
    policy, mode = obj.get("reclaimPolicy"), obj.get("volumeBindingMode")
    if policy and policy not in _RECLAIM:
        causes.append(not_supported("reclaimPolicy", policy, _RECLAIM))
    if mode is None:
        causes.append(required("volumeBindingMode"))
    elif mode not in _BINDING_MODES:
        causes.append(not_supported("volumeBindingMode", mode, _BINDING_MODES))
    return causes + _topologies(obj.get("allowedTopologies") or ())


def _provisioner(name: str, path: str) -> list[Cause]:
    if not name:
        return [required(path)]
    return [invalid(path, name.lower(), why) for why in names.qualified_name(name.lower())]


def _parameters(given: Mapping[str, str]) -> list[Cause]:
    if len(given) > _PARAMETERS_MAX:
        return [too_long("parameters", _PARAMETERS_MAX)]
    causes = [invalid("parameters", key, "field can not be empty.") for key in given if not key]
    if sum(len(key.encode()) + len(value.encode()) for key, value in given.items()) > _PARAMETERS_BYTES_MAX:
        causes.append(too_long("parameters", _PARAMETERS_BYTES_MAX))
    return causes


def _topologies(terms: Sequence[Obj]) -> list[Cause]:
    causes: list[Cause] = []
    # Upstream compares each term with as many empty ones, too.
    seen: list[dict[str, frozenset[str]]] = [{} for _ in terms]
    for index, term in enumerate(terms):
        place = f"allowedTopologies[{index}].matchLabelExpressions"
        found, wrong = _topology_term(term, place)
        causes += wrong
        causes += [duplicate(place, "") for one in seen if one == found]
        seen.append(found)
    return causes


def _topology_term(term: Obj, path: str) -> tuple[dict[str, frozenset[str]], list[Cause]]:
    found: dict[str, frozenset[str]] = {}
    causes: list[Cause] = []
    for index, one in enumerate(term.get("matchLabelExpressions") or ()):
        place, key, values = f"{path}[{index}]", one.get("key", ""), one.get("values") or ()
        if not values:
            causes.append(required(f"{place}.values"))
        causes += [duplicate(f"{place}.values[{at}]", value) for at, value in enumerate(values) if value in values[:at]]
        causes += [invalid(f"{place}.key", key, why) for why in names.qualified_name(key)]
        if key in found:
            causes.append(duplicate(f"{place}.key", key))
        found[key] = frozenset(values)
    return found, causes


def storage_class_update(new: Obj, old: Obj) -> list[Cause]:
    """What is wrong with a StorageClass that replaces `old`: how it provisions is fixed."""
    causes = storage_class(new)
    if (new.get("parameters") or {}) != (old.get("parameters") or {}):
        causes.append(invalid("parameters", new.get("parameters"), IMMUTABLE))
    if new.get("provisioner", "") != old.get("provisioner", ""):
        causes.append(invalid("provisioner", new.get("provisioner", ""), IMMUTABLE))
    if new.get("reclaimPolicy") != old.get("reclaimPolicy"):
        causes.append(invalid("reclaimPolicy", new.get("reclaimPolicy"), IMMUTABLE))
    if new.get("volumeBindingMode") != old.get("volumeBindingMode"):
        causes.append(invalid("volumeBindingMode", new.get("volumeBindingMode"), IMMUTABLE))
    return causes


def attributes_class(obj: Obj) -> list[Cause]:
    """What is wrong with a VolumeAttributesClass beyond its metadata."""
    given = obj.get("parameters") or {}
    causes = _provisioner(obj.get("driverName", ""), "driverName") + _parameters(given)
    return causes if given else [*causes, required("parameters", "must contain at least one key/value pair")]


def attributes_class_update(new: Obj, old: Obj) -> list[Cause]:
    """What is wrong with a VolumeAttributesClass that replaces `old`: nothing of it changes."""
    causes = []
    if new.get("driverName") != old.get("driverName"):
        causes.append(forbidden("driverName", "updates to driverName are forbidden."))
    if (new.get("parameters") or {}) != (old.get("parameters") or {}):
        causes.append(forbidden("parameters", "updates to parameters are forbidden."))
    return causes + attributes_class(new)


def csi_driver(obj: Obj) -> list[Cause]:
    """What is wrong with a CSIDriver beyond its metadata."""
    spec = obj.get("spec") or {}
    causes: list[Cause] = []
    policy = spec.get("fsGroupPolicy")
    if policy is not None and policy not in _GROUP_POLICIES:
        causes.append(not_supported("spec.fsGroupPolicy", policy, _GROUP_POLICIES))
    causes += _token_requests(spec.get("tokenRequests") or ())
    for mode in spec.get("volumeLifecycleModes") or ():
        if mode not in _LIFECYCLES:
            causes.append(not_supported("spec.volumeLifecycleModes", mode, _LIFECYCLES))
    period = spec.get("nodeAllocatableUpdatePeriodSeconds")
    if period is not None and period < _ALLOCATABLE_PERIOD_S_MIN:
        why = f"must be greater than or equal to {_ALLOCATABLE_PERIOD_S_MIN} seconds"
        causes.append(invalid("spec.nodeAllocatableUpdatePeriodSeconds", period, why))
    return causes


def _token_requests(requests: Sequence[Obj]) -> list[Cause]:
    causes: list[Cause] = []
    seen: set[str] = set()
    for index, one in enumerate(requests):
        place, audience, seconds = f"spec.tokenRequests[{index}]", one.get("audience", ""), one.get("expirationSeconds")
        if audience in seen:
            causes.append(duplicate(f"{place}.audience", audience))
            continue
        seen.add(audience)
        if seconds is not None and seconds < _TOKEN_SECONDS_MIN:
            why = "may not specify a duration less than 10 minutes"
            causes.append(invalid(f"{place}.expirationSeconds", seconds, why))
        elif seconds is not None and seconds > _TOKEN_SECONDS_MAX:
            why = "may not specify a duration larger than 2^32 seconds"
            causes.append(invalid(f"{place}.expirationSeconds", seconds, why))
    return causes


def csi_driver_update(new: Obj, old: Obj) -> list[Cause]:
    """What is wrong with a CSIDriver that replaces `old`: how it attaches and what it mounts are fixed."""
    causes = csi_driver(new)
    wanted, present = new.get("spec") or {}, old.get("spec") or {}
    for name, told in (("attachRequired", "attachedRequired"), ("volumeLifecycleModes", "volumeLifecycleModes")):
        if wanted.get(name) != present.get(name):
            causes.append(invalid(f"spec.{told}", wanted.get(name), IMMUTABLE))
    return causes


def csi_node(obj: Obj) -> list[Cause]:
    """What is wrong with a CSINode beyond its metadata."""
    causes: list[Cause] = []
    seen: set[str] = set()
    for index, driver in enumerate((obj.get("spec") or {}).get("drivers") or ()):
        causes += _node_driver(driver, f"spec.drivers[{index}]", seen)
    return causes


def _node_driver(driver: Obj, path: str, seen: set[str]) -> list[Cause]:
    name, identity = driver.get("name", ""), driver.get("nodeID", "")
    causes = driver_name(name, f"{path}.name")
    if not identity:
        causes.append(required(f"{path}.nodeID"))
    if len(identity.encode()) > _NODE_ID_MAX:
        causes.append(invalid(f"{path}.nodeID", identity, f"must be {_NODE_ID_MAX} characters or less"))
    count = (driver.get("allocatable") or {}).get("count")
    if count is not None and count < 0:
        causes.append(invalid(f"{path}.allocatable.count", count, "must be greater than or equal to 0"))
    if name in seen:
        causes.append(duplicate(f"{path}.name", name))
    seen.add(name)
    keys = driver.get("topologyKeys") or ()
    for index, key in enumerate(keys):
        if not key:
            causes.append(required(path))
        if key in keys[:index]:
            causes.append(duplicate(path, key))
        causes += [invalid(path, key, why) for why in names.qualified_name(key)]
    return causes


def csi_node_update(new: Obj, old: Obj) -> list[Cause]:
    """What is wrong with a CSINode that replaces `old`: a driver's entry is fixed but for how much it can take."""
    causes = metadata_validation.validate_metadata(new["metadata"], "metadata", names.dns_subdomain, namespaced=False)
    causes += csi_node(new)
    drivers, had = ((one.get("spec") or {}).get("drivers") or () for one in (new, old))
    for then in had:
        for now in drivers:
            fixed, was = ({k: v for k, v in one.items() if k != "allocatable"} for one in (now, then))
            if now.get("name") == then.get("name") and fixed != was:
                causes.append(invalid("spec.drivers", fixed, IMMUTABLE))
    return causes


def storage_capacity(obj: Obj) -> list[Cause]:
    """What is wrong with a CSIStorageCapacity beyond its metadata."""
    name, amount = obj.get("storageClassName", ""), obj.get("capacity")
    causes = label_selector(obj["nodeTopology"], "nodeTopology") if "nodeTopology" in obj else []
    causes += [invalid("storageClassName", name, why) for why in names.dns_subdomain(name)]
    if amount is not None and quantity.parse(amount) < quantity.ZERO:
        causes.append(invalid("capacity", amount, "must be greater than or equal to 0"))
    return causes


def storage_capacity_update(new: Obj, old: Obj) -> list[Cause]:
    """What is wrong with a CSIStorageCapacity that replaces `old`: whose capacity it is stays."""
    causes = storage_capacity(new)
    for name, none in (("nodeTopology", None), ("storageClassName", "")):
        if new.get(name) != old.get(name):
            causes.append(invalid(name, new.get(name, none), IMMUTABLE))
    return causes


def volume_attachment(obj: Obj) -> list[Cause]:
    """What is wrong with a VolumeAttachment beyond its metadata."""
    spec = obj.get("spec") or {}
    return _attachment(obj) + _attachment_names(spec)


def _attachment(obj: Obj) -> list[Cause]:
    spec, state = obj.get("spec") or {}, obj.get("status") or {}
    causes = [] if spec.get("attacher") else [required("spec.attacher")]
    causes += _attachment_source(spec.get("source") or {})
    node = spec.get("nodeName", "")
    causes += [invalid("spec.nodeName", node, why) for why in names.dns_subdomain(node)]
    told: Mapping[str, str] = state.get("attachmentMetadata") or {}
    if sum(len(key.encode()) + len(value.encode()) for key, value in told.items()) > _ATTACHMENT_BYTES_MAX:
        causes.append(too_long("status.attachmentMetadata", _ATTACHMENT_BYTES_MAX))
    for name in ("attachError", "detachError"):
        causes += _error(state.get(name) or {}, f"status.{name}")
    return causes


def _attachment_source(source: Obj) -> list[Cause]:
    inline, name = source.get("inlineVolumeSpec"), source.get("persistentVolumeName")
    if inline is None and name is None:
        return [required("spec.source", _ONE_SOURCE)]
    if inline is not None and name is not None:
        return [forbidden("spec.source", _ONE_SOURCE)]
    if inline is not None:
        return inline_volume(inline, "spec.source.inlineVolumeSpec")
    return [] if name else [required("spec.source.persistentVolumeName", "must specify non empty persistentVolumeName")]


def _error(error: Obj, path: str) -> list[Cause]:
    causes = []
    if len(error.get("message", "").encode()) > _ERROR_BYTES_MAX:
        causes.append(too_long(f"{path}.message", _ATTACHMENT_BYTES_MAX))
    code = error.get("errorCode")
    if code is not None and code < 0:
        causes.append(invalid(f"{path}.errorCode", code, names.INCLUSIVE.format(0, 2**31 - 1)))
    return causes


def _attachment_names(spec: Obj) -> list[Cause]:
    """What version v1 asks of the names beyond what older versions did."""
    place, name = "spec.source.persistentVolumeName", (spec.get("source") or {}).get("persistentVolumeName")
    causes = driver_name(spec.get("attacher", ""), "spec.attacher") if spec.get("attacher") else []
    return causes + [invalid(place, name, why) for why in names.dns_subdomain(name or "") if name]


def volume_attachment_update(new: Obj, old: Obj) -> list[Cause]:
    """What is wrong with a VolumeAttachment that replaces `old`, or with its new status: the spec is fixed."""
    causes = metadata_validation.validate_metadata(new["metadata"], "metadata", names.dns_subdomain, namespaced=False)
    causes += _attachment(new)
    return causes if new.get("spec") == old.get("spec") else [*causes, invalid("spec", new.get("spec"), IMMUTABLE)]
