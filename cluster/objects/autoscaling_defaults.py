"""Defaults of HorizontalPodAutoscalers, in both served versions.

Source: upstream's `pkg/apis/autoscaling/v2/defaults.go`.
"""

from __future__ import annotations

from typing import Any, Final

from oarlock.cluster.objects import autoscaler_forms
from oarlock.cluster.objects.pod_defaults import Obj, Table, fill

_SCALE_UP: Final[Table] = (("stabilizationWindowSeconds", 0), ("selectPolicy", "Max"))
_SCALE_DOWN: Final[Table] = (("selectPolicy", "Max"),)
_POLICIES_UP: Final = (("Pods", 4), ("Percent", 100))
_POLICIES_DOWN: Final = (("Percent", 100),)


def autoscaler(obj: Obj) -> None:
    """At least one replica; 80 % of the CPU request where no metric is named; behaviours filled in where present."""
    if obj["apiVersion"] != "autoscaling/v1":
        _newer(obj)
        _annotate(obj, autoscaler_forms.kept(obj))
        return
    newer = autoscaler_forms.lifted(obj)
    _newer(newer)
    older = autoscaler_forms.lowered(newer)
    obj["spec"], obj["status"] = older["spec"], older["status"]
    _annotate(obj, older["metadata"].get("annotations", {}))


def _annotate(obj: Obj, annotations: dict[str, str]) -> None:
    if annotations:
        obj["metadata"]["annotations"] = annotations
    else:
        obj["metadata"].pop("annotations", None)


def _newer(obj: Obj) -> None:
    spec, status = obj["spec"], obj["status"]
    spec.setdefault("minReplicas", 1)
    fill(status, (("desiredReplicas", 0), ("currentMetrics", None)))
    if not spec.get("metrics"):
        target = {"type": "Utilization", "averageUtilization": 80}
        spec["metrics"] = [{"type": "Resource", "resource": {"name": "cpu", "target": target}}]
    behavior = spec.get("behavior")
    if behavior is not None:
        rules = behavior.setdefault("scaleUp", {})
        fill(rules, _SCALE_UP)
        rules.setdefault("policies", _policies(_POLICIES_UP))
        rules = behavior.setdefault("scaleDown", {})
        fill(rules, _SCALE_DOWN)
        rules.setdefault("policies", _policies(_POLICIES_DOWN))


def _policies(rows: tuple[tuple[str, int], ...]) -> list[dict[str, Any]]:
    return [{"type": kind, "value": value, "periodSeconds": 15} for kind, value in rows]
