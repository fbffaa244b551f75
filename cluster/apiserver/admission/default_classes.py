"""DefaultStorageClass and DefaultIngressClass: who names no class gets the one that is marked as the default.

Source: upstream's plugin/pkg/admission/storage/storageclass/setdefault and network/defaultingressclass.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from oarlock.cluster.apiserver.admission.attributes import Attributes
from oarlock.cluster.apiserver.admission.view import View

Obj = dict[str, Any]
_STORAGE_DEFAULT = (
    "storageclass.kubernetes.io/is-default-class",
    "storageclass.beta.kubernetes.io/is-default-class",
)
_INGRESS_DEFAULT = ("ingressclass.kubernetes.io/is-default-class",)


def default_storage_class(attributes: Attributes, view: View) -> None:
    """Name the default storage class in a new claim that says nothing of one; an empty name says no."""
    spec = attributes.obj.setdefault("spec", {})
    named = "volume.beta.kubernetes.io/storage-class" in _annotations(attributes.obj)
    if not attributes.is_create or named or spec.get("storageClassName") is not None:
        return
    chosen = newest_default(view.list("storage.k8s.io", "storageclasses"), _STORAGE_DEFAULT)
    if chosen is not None:
        spec["storageClassName"] = chosen


def default_ingress_class(attributes: Attributes, view: View) -> None:
    """Name the default ingress class in a new Ingress that says nothing of one."""
    spec = attributes.obj.setdefault("spec", {})
    named = "kubernetes.io/ingress.class" in _annotations(attributes.obj)
    if not attributes.is_create or named or spec.get("ingressClassName") is not None:
        return
    chosen = newest_default(view.list("networking.k8s.io", "ingressclasses"), _INGRESS_DEFAULT)
    if chosen is not None:
        spec["ingressClassName"] = chosen


def newest_default(classes: Iterable[Obj], marks: Iterable[str]) -> str | None:
    """Return the name of the latest class that one of the annotations `marks`; of two equally old the first by name."""
    marked = [one for one in classes if any(_annotations(one).get(mark) == "true" for mark in marks)]
    marked.sort(key=lambda one: one["metadata"]["name"])
    latest = max(marked, key=lambda one: one["metadata"].get("creationTimestamp") or "", default=None)
    return None if latest is None else latest["metadata"]["name"]


def _annotations(obj: Obj) -> dict[str, str]:
    return obj["metadata"].get("annotations") or {}
