"""Validate RuntimeClasses. Source: upstream's `pkg/apis/node/validation/validation.go`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from oarlock.cluster.objects import metadata_validation, names, scheduling_validation
from oarlock.cluster.objects.causes import Struct, duplicate, invalid
from oarlock.cluster.objects.container_validation import resource_requirements
from oarlock.cluster.objects.metadata_validation import IMMUTABLE
from oarlock.cluster.objects.status import Cause

Obj = Mapping[str, Any]


def runtime_class(obj: Obj) -> list[Cause]:
    """What is wrong with a new RuntimeClass beyond its metadata: its handler, what it adds to pods, where they run."""
    handler = obj.get("handler", "")
    causes = [invalid("handler", handler, why) for why in names.dns_label(handler)]
    overhead, scheduling = obj.get("overhead") or {}, obj.get("scheduling") or {}
    causes += resource_requirements({"limits": overhead.get("podFixed") or {}}, "overhead")
    causes += metadata_validation.labels(scheduling.get("nodeSelector") or {}, "scheduling.nodeSelector")
    return causes + _tolerations(scheduling.get("tolerations") or (), "scheduling.tolerations")


def runtime_class_update(new: Obj, old: Obj) -> list[Cause]:
    """What is wrong with a RuntimeClass that replaces `old`: its handler stays; nothing else is looked at."""
    if new.get("handler") == old.get("handler"):
        return []
    return [invalid("handler", new.get("handler", ""), IMMUTABLE)]


def _tolerations(items: Sequence[Obj], path: str) -> list[Cause]:
    causes = scheduling_validation.tolerations(items, path)
    for index, item in enumerate(items):
        if item in items[:index]:
            causes.append(duplicate(f"{path}[{index}]", _in_go(item)))
    return causes


def _in_go(item: Obj) -> Struct:
    return Struct(
        Key=item.get("key", ""),
        Operator=item.get("operator", ""),
        Value=item.get("value", ""),
        Effect=item.get("effect", ""),
        TolerationSeconds=item.get("tolerationSeconds"),
    )
