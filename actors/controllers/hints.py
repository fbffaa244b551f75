"""Which zones and nodes an endpoint is meant for, as a Service's trafficDistribution asks.

Source: kubernetes.io "Traffic distribution"; KEP-4444, KEP-3015; upstream's k8s.io/endpointslice trafficdist.go.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Object = dict[str, Any]

_SAME_ZONE = ("PreferClose", "PreferSameZone", "PreferSameNode")
_SAME_NODE = "PreferSameNode"


def hinted(endpoint: Object, service: Mapping[str, Any]) -> Object:
    """Return an endpoint with the hints that its Service asks for; one that isn't ready gets none."""
    wanted = service["spec"].get("trafficDistribution")
    if wanted not in _SAME_ZONE or not endpoint["conditions"]["ready"]:
        return endpoint
    hints: Object = {}
    if endpoint.get("zone"):
        hints["forZones"] = [{"name": endpoint["zone"]}]
    if wanted == _SAME_NODE and endpoint.get("nodeName"):
        hints["forNodes"] = [{"name": endpoint["nodeName"]}]
    return {**endpoint, "hints": hints} if hints else endpoint
