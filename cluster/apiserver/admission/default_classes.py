"""DefaultStorageClass and DefaultIngressClass: who names no class gets the one that is marked as the default.

Source: upstream's plugin/pkg/admission/storage/storageclass/setdefault and network/defaultingressclass.
"""

from __future__ import annotations

from typing import Any

from oarlock.cluster.apiserver.admission.attributes import Attributes
from oarlock.cluster.apiserver.admission.view import View
from oarlock.cluster.objects.default_classes import INGRESS_DEFAULT, STORAGE_DEFAULT, newest_default

Obj = dict[str, Any]


def default_storage_class(attributes: Attributes, view: View) -> None:
    """Name the default storage class in a new claim that says nothing of one; an empty name says no."""
    spec = attributes.obj.setdefault("spec", {})
    named = "volume.beta.kubernetes.io/storage-class" in _annotations(attributes.obj)
    if not attributes.is_create or named or spec.get("storageClassName") is not None:
        return
    chosen = newest_default(view.list("storage.k8s.io", "storageclasses"), STORAGE_DEFAULT)
    if chosen is not None:
        spec["storageClassName"] = chosen


def default_ingress_class(attributes: Attributes, view: View) -> None:
    """Name the default ingress class in a new Ingress that says nothing of one."""
    spec = attributes.obj.setdefault("spec", {})
    named = "kubernetes.io/ingress.class" in _annotations(attributes.obj)
    if not attributes.is_create or named or spec.get("ingressClassName") is not None:
        return
    chosen = newest_default(view.list("networking.k8s.io", "ingressclasses"), INGRESS_DEFAULT)
    if chosen is not None:
        spec["ingressClassName"] = chosen


def _annotations(obj: Obj) -> dict[str, str]:
    return obj["metadata"].get("annotations") or {}
