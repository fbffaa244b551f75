"""How autoscalers and scales are printed."""

from __future__ import annotations

from typing import Any, Final

from oarlock.cluster.objects.cells import (
    AGE,
    NAME,
    NONE,
    UNKNOWN,
    UNSET,
    Cells,
    Column,
    Object,
    Printer,
    Printers,
    age_of,
    amount,
    at,
    integer,
    name_of,
)

_SHOWN: Final = 2
_SOURCES: Final = {
    "External": "external",
    "Pods": "pods",
    "Object": "object",
    "Resource": "resource",
    "ContainerResource": "containerResource",
}
_BY_VALUE: Final = frozenset({"external", "object"})


def _autoscaler(obj: Object, now: float) -> Cells:
    target = at(obj, "spec", "scaleTargetRef", default={})
    return [
        name_of(obj),
        f"{target.get('kind', '')}/{target.get('name', '')}",
        _targets(obj),
        str(at(obj, "spec", "minReplicas", default=UNSET)),
        at(obj, "spec", "maxReplicas", default=0),
        at(obj, "status", "currentReplicas", default=0),
        age_of(obj, now),
    ]


def _targets(obj: Object) -> str:
    """The metrics' present values against their targets; autoscaling/v1 knows CPU utilization only."""
    metrics = at(obj, "spec", "metrics", default=[])
    if not metrics:
        wanted = at(obj, "spec", "targetCPUUtilizationPercentage")
        return (
            NONE
            if wanted is None
            else f"cpu: {_percent(at(obj, 'status', 'currentCPUUtilizationPercentage'))}/{wanted}%"
        )
    present = at(obj, "status", "currentMetrics", default=[])
    texts = [_metric(one, present[index] if index < len(present) else {}) for index, one in enumerate(metrics)]
    listed = ", ".join(texts[:_SHOWN])
    return f"{listed} + {len(texts) - _SHOWN} more..." if len(texts) > _SHOWN else listed


def _metric(spec: Object, status: Object) -> str:
    source = _SOURCES.get(spec.get("type", ""))
    if source is None:
        return "<unknown type>"
    wanted = at(spec, source, "target", default={})
    present = at(status or {}, source, "current", default={})
    average = wanted.get("averageValue")
    if source in _BY_VALUE:
        if average is not None:
            return f"{_amount(present.get('averageValue'))}/{amount(average)} (avg)"
        return f"{_amount(present.get('value'))}/{amount(wanted.get('value'))}"
    if source == "pods":
        return f"{_amount(present.get('averageValue'))}/{amount(average)}"
    name = at(spec, source, "name", default="")
    if average is not None:
        return f"{name}: {_amount(present.get('averageValue'))}/{amount(average)}"
    utilization = wanted.get("averageUtilization")
    target = "<auto>" if utilization is None else f"{utilization}%"
    return f"{name}: {_percent(present.get('averageUtilization'))}/{target}"


def _amount(text: Any) -> str:
    return UNKNOWN if text is None else amount(text)


def _percent(value: int | None) -> str:
    return UNKNOWN if value is None else f"{value}%"


def _scale(obj: Object, now: float) -> Cells:
    counts = [at(obj, part, "replicas", default=0) for part in ("spec", "status")]
    return [name_of(obj), *counts, age_of(obj, now)]


PRINTERS: Final[Printers] = {
    ("autoscaling", "HorizontalPodAutoscaler"): Printer(
        (
            NAME,
            Column("Reference", "=autoscaling.v2.HorizontalPodAutoscalerSpec.scaleTargetRef"),
            Column("Targets", "=autoscaling.v2.HorizontalPodAutoscalerSpec.metrics"),
            Column("MinPods", "=autoscaling.v2.HorizontalPodAutoscalerSpec.minReplicas"),
            Column("MaxPods", "=autoscaling.v2.HorizontalPodAutoscalerSpec.maxReplicas"),
            Column("Replicas", "=autoscaling.v2.HorizontalPodAutoscalerStatus.currentReplicas"),
            AGE,
        ),
        _autoscaler,
    ),
    ("autoscaling", "Scale"): Printer(
        (
            Column("Name", "=meta.v1.ObjectMeta.name"),
            integer("Desired", "=autoscaling.v1.ScaleSpec.replicas"),
            integer("Available", "=autoscaling.v1.ScaleStatus.replicas"),
            AGE,
        ),
        _scale,
    ),
}
