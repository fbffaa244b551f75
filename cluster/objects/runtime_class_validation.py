"""Validate RuntimeClasses: the handler, what a pod costs beyond its containers, and where it may run.

Source: upstream's pkg/apis/node/validation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from oarlock.cluster.objects import metadata_validation, names
from oarlock.cluster.objects.causes import GoFields, duplicate, invalid
from oarlock.cluster.objects.metadata_validation import IMMUTABLE
from oarlock.cluster.objects.resource_validation import resource_amount
from oarlock.cluster.objects.scheduling_validation import tolerations
from oarlock.cluster.objects.status import Cause

Obj = Mapping[str, Any]
_TOLERATION: Final = (
    ("Key", "key", ""),
    ("Operator", "operator", ""),
    ("Value", "value", ""),
    ("Effect", "effect", ""),
    ("TolerationSeconds", "tolerationSeconds", None),
)


def runtime_class(obj: Obj) -> list[Cause]:
    """What is wrong with a RuntimeClass beyond its metadata."""
    handler = obj.get("handler", "")
    causes = [invalid("handler", handler, why) for why in names.dns_label(handler)]
    # Upstream checks the overhead as if it were a container's limits, and tells it so.
    for name, amount in ((obj.get("overhead") or {}).get("podFixed") or {}).items():
        causes += resource_amount(name, amount, f"overhead.limits[{name}]")
    scheduling = obj.get("scheduling") or {}
    causes += metadata_validation.labels(scheduling.get("nodeSelector") or {}, "scheduling.nodeSelector")
    return causes + _tolerations(scheduling.get("tolerations") or (), "scheduling.tolerations")


def _tolerations(given: Sequence[Obj], path: str) -> list[Cause]:
    causes = tolerations(given, path)
    for index, one in enumerate(given):
        if one in given[:index]:
            shown = GoFields({told: one.get(name, zero) for told, name, zero in _TOLERATION})
            causes.append(duplicate(f"{path}[{index}]", shown))
    return causes


def runtime_class_update(new: Obj, old: Obj) -> list[Cause]:
    """What is wrong with a RuntimeClass that replaces `old`: its handler stays."""
    causes, handler = runtime_class(new), new.get("handler", "")
    return causes if handler == old.get("handler", "") else [*causes, invalid("handler", handler, IMMUTABLE)]
