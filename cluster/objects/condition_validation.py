"""Validate the conditions that kinds of one shape have in their status: metav1's.

Source: apimachinery `ValidateConditions` in pkg/apis/meta/v1/validation.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from oarlock.cluster.objects import names
from oarlock.cluster.objects.causes import duplicate, invalid, not_supported, required, too_long
from oarlock.cluster.objects.status import Cause

Obj = Mapping[str, Any]

_STATUSES: Final = ("False", "True", "Unknown")
_REASON_BYTES_MAX: Final = 1024
_MESSAGE_BYTES_MAX: Final = 32 * 1024
_REASON_FORM: Final = "[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?"
_REASON: Final = re.compile(_REASON_FORM + r"\Z")
_REASON_RULE: Final = (
    "a condition reason must start with alphabetic character, optionally followed by a string of alphanumeric "
    "characters or '_,:', and must end with an alphanumeric character or '_' (e.g. 'my_name',  or 'MY_NAME',  or "
    f"'MyName',  or 'ReasonA,ReasonB',  or 'ReasonA:ReasonB', regex used for validation is '{_REASON_FORM}')"
)


def conditions(items: Sequence[Obj], path: str) -> list[Cause]:
    """What is wrong with a status' conditions: each type stands once."""
    causes: list[Cause] = []
    seen: set[str] = set()
    for index, item in enumerate(items):
        kind = item.get("type", "")
        if kind in seen:
            causes.append(duplicate(f"{path}[{index}].type", kind))
        seen.add(kind)
        causes += _condition(item, f"{path}[{index}]")
    return causes


def _condition(item: Obj, path: str) -> list[Cause]:
    kind, truth, reason = item.get("type", ""), item.get("status", ""), item.get("reason", "")
    causes = [invalid(f"{path}.type", kind, why) for why in names.qualified_name(kind)]
    if truth not in _STATUSES:
        causes.append(not_supported(f"{path}.status", truth, _STATUSES))
    if item.get("observedGeneration", 0) < 0:
        why = "must be greater than or equal to zero"
        causes.append(invalid(f"{path}.observedGeneration", item["observedGeneration"], why))
    if not item.get("lastTransitionTime"):
        causes.append(required(f"{path}.lastTransitionTime", "must be set"))
    if not reason:
        causes.append(required(f"{path}.reason", "must be set"))
    elif not _REASON.match(reason):
        causes.append(invalid(f"{path}.reason", reason, _REASON_RULE))
    if len(reason.encode()) > _REASON_BYTES_MAX:
        causes.append(too_long(f"{path}.reason", _REASON_BYTES_MAX))
    if len(item.get("message", "").encode()) > _MESSAGE_BYTES_MAX:
        causes.append(too_long(f"{path}.message", _MESSAGE_BYTES_MAX))
    return causes
