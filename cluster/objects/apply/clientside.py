"""Objects that `kubectl apply` managed from the client's side, when kubectl comes to apply them on the server's.

kubectl may take the fields that it applied before, as long as they still have the values it gave them, and its
annotation follows what it applies from then on.
Source: apimachinery pkg/util/managedfields/internal, lastappliedmanager.go and lastappliedupdater.go.
"""

from __future__ import annotations

from typing import Any, Final

import orjson

from oarlock.cluster.objects.apply import shapes
from oarlock.cluster.objects.apply.comparing import compare
from oarlock.cluster.objects.apply.fieldsets import Path
from oarlock.cluster.objects.schemas import Schema

MANAGER: Final = "kubectl"
LAST_APPLIED: Final = "kubectl.kubernetes.io/last-applied-configuration"
Obj = dict[str, Any]


def is_managed(obj: Obj) -> bool:
    """Whether the object says what was applied to it from a client's side."""
    return LAST_APPLIED in ((obj.get("metadata") or {}).get("annotations") or {})


def kept(schema: Schema, live: Obj) -> set[Path]:
    """Return the paths that were applied from a client's side and still have the value applied."""
    try:
        last = orjson.loads(live["metadata"]["annotations"][LAST_APPLIED])
        shapes.check(schema, last)
    except (KeyError, orjson.JSONDecodeError, shapes.TypingError):
        return set()
    changes = compare(schema, last, live)
    return set(shapes.leaves(schema, last)) - set(changes.modified) - set(changes.removed)


def annotated(obj: Obj, config: Obj) -> Obj:
    """Return `obj` with its annotation telling of `config`."""
    metadata = {name: value for name, value in config["metadata"].items() if name != "managedFields"}
    annotations = {name: one for name, one in (metadata.get("annotations") or {}).items() if name != LAST_APPLIED}
    told = {**config, "metadata": {**metadata, "annotations": annotations}}
    text = orjson.dumps(told, option=orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE).decode()
    present = obj["metadata"].get("annotations") or {}
    return {**obj, "metadata": {**obj["metadata"], "annotations": {**present, LAST_APPLIED: text}}}
