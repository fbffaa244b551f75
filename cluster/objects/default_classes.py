"""Which class is the default among several: of storage, and of ingresses.

Source: upstream's pkg/volume/util GetDefaultClass; admission plugin defaultingressclass.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

Obj = dict[str, Any]
STORAGE_DEFAULT = (
    "storageclass.kubernetes.io/is-default-class",
    "storageclass.beta.kubernetes.io/is-default-class",
)
INGRESS_DEFAULT = ("ingressclass.kubernetes.io/is-default-class",)


def newest_default(classes: Iterable[Obj], marks: Iterable[str]) -> str | None:
    """Return the name of the latest class that one of the annotations `marks`; of two equally old the first by name."""
    marked = [one for one in classes if is_marked(one, marks)]
    marked.sort(key=lambda one: one["metadata"]["name"])
    latest = max(marked, key=lambda one: one["metadata"].get("creationTimestamp") or "", default=None)
    return None if latest is None else latest["metadata"]["name"]


def is_marked(one: Obj, marks: Iterable[str]) -> bool:
    """Whether one of the annotations `marks` a class as a default."""
    held = one["metadata"].get("annotations") or {}
    return any(held.get(mark) == "true" for mark in marks)
