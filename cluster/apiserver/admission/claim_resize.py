"""PersistentVolumeClaimResize: a claim grows only where its class can make it grow.

Source: upstream's plugin/pkg/admission/storage/persistentvolume/resize.
"""

from __future__ import annotations

from typing import Any

from oarlock.cluster.apiserver.admission.attributes import Attributes
from oarlock.cluster.apiserver.admission.view import View
from oarlock.cluster.objects import quantity

Obj = dict[str, Any]
_NOT_RESIZABLE = (
    "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize"
)


def check(attributes: Attributes, view: View) -> None:
    """Refuse a larger request of a claim that isn't bound, or whose class doesn't allow it."""
    old = attributes.old
    if not attributes.is_update or old is None or _requested(attributes.obj) <= _requested(old):
        return
    if (old.get("status") or {}).get("phase") != "Bound":
        raise attributes.forbidden("only bound persistent volume claims can be expanded")
    name = _class(attributes.obj)
    storage_class = view.get("storage.k8s.io", "storageclasses", name) if name and name == _class(old) else None
    if storage_class is None or not storage_class.get("allowVolumeExpansion"):
        raise attributes.forbidden(_NOT_RESIZABLE)


def _requested(claim: Obj) -> quantity.Quantity:
    requests = ((claim.get("spec") or {}).get("resources") or {}).get("requests") or {}
    return quantity.parse(requests.get("storage", "0"))


def _class(claim: Obj) -> str:
    annotations = claim["metadata"].get("annotations") or {}
    return annotations.get("volume.beta.kubernetes.io/storage-class") or claim["spec"].get("storageClassName") or ""
