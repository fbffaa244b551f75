"""Validate APIServices. Source: kube-aggregator `pkg/apis/apiregistration/validation/validation.go`."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any, Final

from oarlock.cluster.objects import names
from oarlock.cluster.objects.causes import invalid, not_supported, required
from oarlock.cluster.objects.gotext import quote
from oarlock.cluster.objects.status import Cause

Obj = Mapping[str, Any]

GROUP: Final = "apiregistration.k8s.io"
_GROUP_PRIORITY_MAX: Final = 20000
_VERSION_PRIORITY_MAX: Final = 1000
_STATUSES: Final = ("True", "False", "Unknown")


def api_service(obj: Obj) -> list[Cause]:
    """What is wrong with an APIService: its name says what it serves."""
    spec = obj.get("spec") or {}
    group, version = spec.get("group", ""), spec.get("version", "")
    causes = _name(obj["metadata"], f"{version}.{group}")
    if not group and version != "v1":
        causes.append(required("spec.group", "only v1 may have an empty group and it better be legacy kube"))
    if group:
        causes += [invalid("spec.group", group, why) for why in names.dns_subdomain(group)]
    causes += [invalid("spec.version", version, why) for why in names.dns_1035_label(version)]
    for name, most in (("groupPriorityMinimum", _GROUP_PRIORITY_MAX), ("versionPriority", _VERSION_PRIORITY_MAX)):
        priority = spec.get(name, 0)
        if not 0 < priority <= most:
            causes.append(invalid(f"spec.{name}", priority, f"must be positive and less than {most}"))
    return causes + (_remote(spec) if "service" in spec else _local(spec))


def _name(metadata: Obj, wanted: str) -> list[Cause]:
    return [
        invalid(f"metadata.{field}", metadata[field], f'must be `spec.version+"."+spec.group`: {quote(wanted)}')
        for field in ("generateName", "name")
        if metadata.get(field) and metadata[field] != wanted and not names.path_segment(metadata[field])
    ]


def _local(spec: Obj) -> list[Cause]:
    causes: list[Cause] = []
    bundle = len(base64.b64decode(spec.get("caBundle") or ""))
    if bundle:
        causes.append(invalid("spec.caBundle", f"{bundle} bytes", "local APIServices may not have a caBundle"))
    trusting = spec.get("insecureSkipTLSVerify")
    if trusting:
        why = "local APIServices may not have insecureSkipTLSVerify"
        causes.append(invalid("spec.insecureSkipTLSVerify", trusting, why))
    return causes


def _remote(spec: Obj) -> list[Cause]:
    service = spec["service"]
    causes = [required(f"spec.service.{name}") for name in ("namespace", "name") if not service.get(name)]
    port = service.get("port", 0)
    wrong = names.port_number(port)
    if wrong:
        causes.append(invalid("spec.service.port", port, f"port is not valid: {', '.join(wrong)}"))
    trusting = spec.get("insecureSkipTLSVerify")
    if trusting and spec.get("caBundle"):
        causes.append(invalid("spec.insecureSkipTLSVerify", trusting, "may not be true if caBundle is present"))
    return causes


def status(new: Obj, _: Obj) -> list[Cause]:
    """What is wrong with an APIService's new status."""
    return [
        not_supported(f"status.conditions[{index}].status", condition.get("status", ""), _STATUSES)
        for index, condition in enumerate((new.get("status") or {}).get("conditions") or ())
        if condition.get("status") not in _STATUSES
    ]
