"""StorageObjectInUseProtection: volumes, claims and their classes outlive a deletion for as long as they are used.

Source: upstream's plugin/pkg/admission/storage/storageobjectinuseprotection.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from oarlock.cluster.apiserver.admission.attributes import Attributes
from oarlock.cluster.apiserver.admission.view import View

FINALIZERS: Final[Mapping[tuple[str, str], str]] = {
    ("", "persistentvolumes"): "kubernetes.io/pv-protection",
    ("", "persistentvolumeclaims"): "kubernetes.io/pvc-protection",
    ("storage.k8s.io", "volumeattributesclasses"): "kubernetes.io/vac-protection",
}
"""What each kind is kept by; its protection controller takes it off."""


def protect(attributes: Attributes, _: View) -> None:
    """Give a new object its kind's finalizer."""
    if not attributes.is_create:
        return
    metadata = attributes.obj["metadata"]
    finalizers = metadata.get("finalizers") or []
    wanted = FINALIZERS[attributes.kind]
    if wanted not in finalizers:
        metadata["finalizers"] = [*finalizers, wanted]
