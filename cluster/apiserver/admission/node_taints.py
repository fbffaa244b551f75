"""TaintNodesByCondition: a new node takes no pods until its conditions have been looked at.

Source: upstream's plugin/pkg/admission/nodetaint.
"""

from __future__ import annotations

from oarlock.cluster.apiserver.admission.attributes import Attributes
from oarlock.cluster.apiserver.admission.view import View

_TAINT = {"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}


def taint(attributes: Attributes, _: View) -> None:
    """Give a new node the taint that the node lifecycle controller takes off once it is ready."""
    if not attributes.is_create:
        return
    spec = attributes.obj.setdefault("spec", {})
    taints = spec.get("taints") or []
    if not any((one.get("key"), one.get("effect")) == (_TAINT["key"], _TAINT["effect"]) for one in taints):
        spec["taints"] = [*taints, dict(_TAINT)]
