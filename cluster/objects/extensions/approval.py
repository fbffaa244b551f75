"""Whether an API in one of Kubernetes' own groups was approved, as its definition's annotation says.

Source: apiextensions `pkg/apihelpers` (GetAPIApprovalState), `pkg/controller/apiapproval`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from oarlock.cluster.objects.gotext import quote

Obj = Mapping[str, Any]
ANNOTATION: Final = "api-approved.kubernetes.io"
CONDITION: Final = "KubernetesAPIApprovalPolicyConformant"
_GROUPS: Final = ("k8s.io", "kubernetes.io")
_WANTED: Final = f"protected groups must have approval annotation {quote(ANNOTATION)}"
_SEEN_IN: Final = "see https://github.com/kubernetes/enhancements/pull/1111"


@dataclass(frozen=True, slots=True)
class Approval:
    """What a definition's condition says; `status` is True or False."""

    status: str
    reason: str
    message: str

    @property
    def is_admitted(self) -> bool:
        """Whether a definition may be so: approved, or said not to be."""
        return self.reason in ("ApprovedAnnotation", "UnapprovedAnnotation")


def of(definition: Obj) -> Approval | None:
    """A definition's approval; None in a group that anybody may use."""
    group = (definition.get("spec") or {}).get("group", "")
    if not any(group == own or group.endswith(f".{own}") for own in _GROUPS):
        return None
    text = (definition["metadata"].get("annotations") or {}).get(ANNOTATION, "")
    if not text:
        return Approval("False", "MissingAnnotation", f"{_WANTED}, {_SEEN_IN}")
    if text.startswith("unapproved"):
        return Approval("False", "UnapprovedAnnotation", f"not approved: {quote(text)}")
    parts = urlsplit(text)
    if parts.scheme and parts.netloc:
        return Approval("True", "ApprovedAnnotation", f"approved in {text}")
    why = f'{_WANTED} with either a URL or a reason starting with "unapproved", {_SEEN_IN}'
    return Approval("False", "InvalidAnnotation", why)
