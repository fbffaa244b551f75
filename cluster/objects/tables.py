"""Objects as tables (meta.k8s.io/v1 Table): what `kubectl get` shows.

Columns and cells are upstream's v1.36; a kind without its own printer has a name and a creation time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import cache
from typing import Any, Final, Literal

from oarlock.cluster.objects import column_docs
from oarlock.cluster.objects.cells import CREATED, NAME, Cells, Column, Object, Printer, Printers, name_of
from oarlock.cluster.objects.custom import columns as custom_columns
from oarlock.cluster.objects.resources import Resource

IncludeObject = Literal["Metadata", "Object", "None"]
"""What of each object stands beside its cells: its metadata, all of it, or nothing."""

_COMPLETED: Final = {
    "Succeeded": "The pod has completed successfully.",
    "Failed": "The pod failed.",
}
_LIST_METADATA: Final = ("resourceVersion", "continue", "remainingItemCount")


def columns(resource: Resource) -> tuple[Column, ...]:
    """The columns of a resource's table, descriptions resolved."""
    if resource.custom is not None:
        found = custom_columns.all_columns(resource.custom.columns)
        return tuple(column_docs.resolved(column) for column in found)
    return _columns(resource.group, resource.kind)


def row(resource: Resource, obj: Object, now: datetime) -> Cells:
    """The cells of one object at `now`, one for each column."""
    if resource.custom is not None:
        return custom_columns.row(resource.custom.columns, obj, now.timestamp())
    return _printer(resource.group, resource.kind).row(obj, now.timestamp())


_FIELDS_AS_ANNOTATIONS = {"DaemonSet": "deprecated.daemonset.template.generation"}


def render(
    resource: Resource,
    objects: Iterable[Object],
    list_metadata: Mapping[str, Any],
    include_object: IncludeObject,
    now: datetime,
    *,
    headers: bool = True,
) -> dict[str, Any]:
    """The Table of `objects`; `list_metadata` gives its resourceVersion and continue token.

    Without `headers` the column definitions are null, as in all but the first event of a watch.
    """
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": {key: list_metadata[key] for key in _LIST_METADATA if key in list_metadata},
        "columnDefinitions": [column.as_dict() for column in columns(resource)] if headers else None,
        "rows": [_row(resource, obj, include_object, now) for obj in objects],
    }


def partial_metadata(obj: Object) -> dict[str, Any]:
    """The object's PartialObjectMetadata."""
    return {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": obj["metadata"]}


def _row(resource: Resource, obj: Object, include_object: IncludeObject, now: datetime) -> dict[str, Any]:
    result: dict[str, Any] = {"cells": row(resource, obj, now)}
    if resource.kind == "Pod":
        phase = obj.get("status", {}).get("phase", "")
        if phase in _COMPLETED:
            completed = {"type": "Completed", "status": "True", "reason": phase, "message": _COMPLETED[phase]}
            result["conditions"] = [completed]
    if include_object == "Object":
        head = {"kind": resource.kind, "apiVersion": resource.api_version}
        result["object"] = {**head, **obj}
    else:
        result["object"] = _row_metadata(resource, obj) if include_object == "Metadata" else None
    return result


def _row_metadata(resource: Resource, obj: Object) -> dict[str, Any]:
    """The object's metadata without the annotations that stand for fields of upstream's internal kinds."""
    hidden = _FIELDS_AS_ANNOTATIONS.get(resource.kind)
    annotations = obj["metadata"].get("annotations") or {}
    if hidden not in annotations:
        return partial_metadata(obj)
    left = {name: value for name, value in annotations.items() if name != hidden}
    metadata = {name: value for name, value in obj["metadata"].items() if name != "annotations" or left}
    return partial_metadata({"metadata": {**metadata, **({"annotations": left} if left else {})}})


def _created(obj: Object, _: float) -> Cells:
    return [name_of(obj), obj["metadata"].get("creationTimestamp")]


_DEFAULT: Final = Printer((NAME, CREATED), _created)


@cache
def printers() -> Printers:
    """Every kind's printer; read in at the first table, which most processes never make."""
    from oarlock.cluster.objects import (
        tables_autoscaling,
        tables_core,
        tables_network,
        tables_pods,
        tables_policy,
        tables_storage,
        tables_workloads,
    )

    return {
        **tables_autoscaling.PRINTERS,
        **tables_core.PRINTERS,
        **tables_network.PRINTERS,
        **tables_pods.PRINTERS,
        **tables_policy.PRINTERS,
        **tables_storage.PRINTERS,
        **tables_workloads.PRINTERS,
    }


@cache
def _columns(group: str, kind: str) -> tuple[Column, ...]:
    return tuple(column_docs.resolved(column) for column in _printer(group, kind).columns)


def _printer(group: str, kind: str) -> Printer:
    return printers().get((group, kind), _DEFAULT)
