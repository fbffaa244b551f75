"""How nodes, namespaces, events, configuration and quotas are printed."""

from __future__ import annotations

from typing import Final

from oarlock.cluster.objects.cells import (
    AGE,
    NAME,
    NONE,
    UNKNOWN,
    Cells,
    Column,
    Object,
    Printer,
    Printers,
    age_of,
    amount,
    at,
    condition,
    name_of,
    wide,
)
from oarlock.cluster.objects.durations import age

_ROLE_PREFIX: Final = "node-role.kubernetes.io/"
_ROLE: Final = "kubernetes.io/role"


def _node(obj: Object, now: float) -> Cells:
    info = at(obj, "status", "nodeInfo", default={})
    return [
        name_of(obj),
        _node_status(obj),
        ",".join(_roles(at(obj, "metadata", "labels", default={}))) or NONE,
        age_of(obj, now),
        info.get("kubeletVersion", ""),
        _address(obj, "InternalIP"),
        _address(obj, "ExternalIP"),
        *(info.get(field) or UNKNOWN for field in ("osImage", "kernelVersion", "containerRuntimeVersion")),
    ]


def _node_status(obj: Object) -> str:
    ready = condition(at(obj, "status", "conditions"), "Ready")
    if ready is None:
        status = "Unknown"
    else:
        status = "Ready" if ready.get("status") == "True" else "NotReady"
    return f"{status},SchedulingDisabled" if at(obj, "spec", "unschedulable") else status


def _roles(labels: Object) -> list[str]:
    named = {key.removeprefix(_ROLE_PREFIX) for key in labels if key.startswith(_ROLE_PREFIX)}
    return sorted((named | {labels.get(_ROLE, "")}) - {""})


def _address(obj: Object, kind: str) -> str:
    addresses = at(obj, "status", "addresses", default=())
    return next((one["address"] for one in addresses if one.get("type") == kind), NONE)


def _namespace(obj: Object, now: float) -> Cells:
    return [name_of(obj), at(obj, "status", "phase", default=""), age_of(obj, now)]


def _config_map(obj: Object, now: float) -> Cells:
    return [name_of(obj), len(obj.get("data") or ()) + len(obj.get("binaryData") or ()), age_of(obj, now)]


def _secret(obj: Object, now: float) -> Cells:
    return [name_of(obj), obj.get("type", ""), len(obj.get("data") or ()), age_of(obj, now)]


def _service_account(obj: Object, now: float) -> Cells:
    return [name_of(obj), len(obj.get("secrets") or ()), age_of(obj, now)]


def _resource_quota(obj: Object, now: float) -> Cells:
    used = at(obj, "status", "used", default={})
    requests: list[str] = []
    limits: list[str] = []
    for name, hard in sorted(at(obj, "status", "hard", default={}).items()):
        column = limits if name.startswith("limits.") else requests
        column.append(f"{name}: {amount(used.get(name))}/{amount(hard)}")
    return [name_of(obj), ", ".join(requests), ", ".join(limits), age_of(obj, now)]


def _event(obj: Object, now: float) -> Cells:
    """An Event of either group: what core/v1 calls involvedObject, events.k8s.io/v1 calls regarding, and so on."""
    first_time = obj.get("firstTimestamp") or obj.get("deprecatedFirstTimestamp") or obj.get("eventTime")
    last_time = obj.get("lastTimestamp") or obj.get("deprecatedLastTimestamp") or first_time
    count = obj.get("count") or obj.get("deprecatedCount") or 1
    series = obj.get("series")
    if series is not None:
        last_time, count = series.get("lastObservedTime"), series.get("count", 0)
    about = obj.get("involvedObject") or obj.get("regarding") or {}
    return [
        age(last_time, now),
        obj.get("type", ""),
        obj.get("reason", ""),
        "/".join(part for part in (about.get("kind", "").lower(), about.get("name")) if part),
        about.get("fieldPath", ""),
        _source(obj),
        (obj.get("message") or obj.get("note") or "").strip(),
        age(first_time, now),
        count,
        name_of(obj),
    ]


def _source(obj: Object) -> str:
    source = obj.get("source") or obj.get("deprecatedSource") or {}
    component = source.get("component") or obj.get("reportingComponent") or obj.get("reportingController") or ""
    instance = source.get("host") or obj.get("reportingInstance")
    return f"{component}, {instance}" if instance else component


def _component_status(obj: Object, _: float) -> Cells:
    healthy = condition(obj.get("conditions"), "Healthy")
    if healthy is None:
        return [name_of(obj), "Unknown", "", ""]
    status = "Healthy" if healthy.get("status") == "True" else "Unhealthy"
    return [name_of(obj), status, healthy.get("message", ""), healthy.get("error", "")]


_EVENT: Final = Printer(
    (
        Column("Last Seen", "=core.v1.Event.lastTimestamp"),
        Column("Type", "=core.v1.Event.type"),
        Column("Reason", "=core.v1.Event.reason"),
        Column("Object", "=core.v1.Event.involvedObject"),
        wide("Subobject", "=core.v1.ObjectReference.fieldPath"),
        wide("Source", "=core.v1.Event.source"),
        Column("Message", "=core.v1.Event.message"),
        wide("First Seen", "=core.v1.Event.firstTimestamp"),
        wide("Count", "=core.v1.Event.count"),
        Column("Name", "=meta.v1.ObjectMeta.name", format="name", priority=1),
    ),
    _event,
)

PRINTERS: Final[Printers] = {
    ("", "Node"): Printer(
        (
            NAME,
            Column("Status", "The status of the node"),
            Column("Roles", "The roles of the node"),
            AGE,
            Column("Version", "=core.v1.NodeSystemInfo.kubeletVersion"),
            wide("Internal-IP", "=core.v1.NodeStatus.addresses"),
            wide("External-IP", "=core.v1.NodeStatus.addresses"),
            wide("OS-Image", "=core.v1.NodeSystemInfo.osImage"),
            wide("Kernel-Version", "=core.v1.NodeSystemInfo.kernelVersion"),
            wide("Container-Runtime", "=core.v1.NodeSystemInfo.containerRuntimeVersion"),
        ),
        _node,
    ),
    ("", "Namespace"): Printer((NAME, Column("Status", "The status of the namespace"), AGE), _namespace),
    ("", "ConfigMap"): Printer((NAME, Column("Data", "=core.v1.ConfigMap.data"), AGE), _config_map),
    ("", "Secret"): Printer(
        (NAME, Column("Type", "=core.v1.Secret.type"), Column("Data", "=core.v1.Secret.data"), AGE), _secret
    ),
    ("", "ServiceAccount"): Printer(
        (NAME, Column("Secrets", "=core.v1.ServiceAccount.secrets"), AGE), _service_account
    ),
    ("", "ResourceQuota"): Printer(
        (
            NAME,
            Column("Request", "Request represents a minimum amount of cpu/memory that a container may consume."),
            Column(
                "Limit",
                "Limits control the maximum amount of cpu/memory that a container may use independent of contention "
                "on the node.",
            ),
            AGE,
        ),
        _resource_quota,
    ),
    ("", "Event"): _EVENT,
    ("events.k8s.io", "Event"): _EVENT,
    ("", "ComponentStatus"): Printer(
        (
            NAME,
            Column("Status", "Status of the component conditions"),
            Column("Message", "Message of the component conditions"),
            Column("Error", "Error of the component conditions"),
        ),
        _component_status,
    ),
}
