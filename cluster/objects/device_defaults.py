"""Fill in what claims to devices may leave out.

Source: upstream's pkg/apis/resource/v1/defaults.go.
"""

from __future__ import annotations

from oarlock.cluster.objects.pod_defaults import Obj


def claim(obj: Obj) -> None:
    """The defaults of a ResourceClaim's requests."""
    _claimed(obj.setdefault("spec", {}))


def template(obj: Obj) -> None:
    """The defaults of the requests in a ResourceClaimTemplate."""
    spec = obj.setdefault("spec", {})
    spec.setdefault("metadata", {})
    _claimed(spec.setdefault("spec", {}))


def _claimed(spec: Obj) -> None:
    devices = spec.setdefault("devices", {})
    devices["requests"] = devices.get("requests") or None
    for request in devices["requests"] or ():
        for asked in (request.get("exactly"), *(request.get("firstAvailable") or ())):
            if asked is not None:
                _asked(asked)


def _asked(request: Obj) -> None:
    """One device, unless all are asked for; a toleration is of a value."""
    request["allocationMode"] = request.get("allocationMode") or "ExactCount"
    if request["allocationMode"] == "ExactCount" and not request.get("count"):
        request["count"] = 1
    for toleration in request.get("tolerations") or ():
        toleration["operator"] = toleration.get("operator") or "Equal"


def resource_slice(obj: Obj) -> None:
    """The list of devices is always written."""
    spec = obj.setdefault("spec", {})
    spec["devices"] = spec.get("devices") or None
