"""Which names a definition gets, and whether its objects are served: its status, from those of its group.

Source: apiextensions `pkg/controller/{status,establish,apiapproval,finalizer}`. What is established stays so.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from oarlock.cluster.objects.extensions import approval, conversion_rules

Obj = Mapping[str, Any]
Names = dict[str, Any]
_SINGLES: Final = (("plural", "PluralConflict"), ("singular", "SingularConflict"))
_KINDS: Final = (("kind", "KindConflict"), ("listKind", "ListKindConflict"))
_INSTALLED: Final = ("InitialNamesAccepted", "the initial names have been accepted")
_BAD_BUNDLE: Final = ("InvalidCABundle", "The conversion webhook CABundle is invalid")
_IN_PROGRESS: Final = "CustomResource deletion is in progress"


def status(definition: Obj, others: Iterable[Obj], now: str) -> dict[str, Any]:
    """The status that a definition should have; `others` are those of its group, `now` is when what changes changed."""
    old = definition.get("status") or {}
    accepted, refusal = _accepted(definition, list(others))
    conditions = [dict(one) for one in old.get("conditions") or ()]
    said = approval.of(definition)
    if said is not None:
        conditions = _put(conditions, approval.CONDITION, said.status, said.reason, said.message, now)
    reason, message = refusal or ("NoConflicts", "no conflicts found")
    conditions = _put(conditions, "NamesAccepted", "False" if refusal else "True", reason, message, now)
    established = next((one for one in conditions if one["type"] == "Established"), None)
    if established is None or established["status"] != "True":
        if refusal:
            conditions = _put(conditions, "Established", "False", "NotAccepted", "not all names are accepted", now)
        elif conversion_rules.has_bad_bundle(definition["spec"].get("conversion")):
            conditions = _put(conditions, "Established", "False", *_BAD_BUNDLE, now)
        else:
            conditions = _put(conditions, "Established", "True", *_INSTALLED, now)
    return {**old, "conditions": conditions, "acceptedNames": accepted}


def is_settled(definition: Obj) -> bool:
    """Whether a definition has all the names that it wants, so that no other's change concerns it."""
    return status(definition, (), "") == definition.get("status")


def terminating(definition: Obj, now: str, failure: str = "") -> dict[str, Any]:
    """The status of a definition whose objects are being deleted, or can't be for a `failure`."""
    old = definition.get("status") or {}
    conditions = [dict(one) for one in old.get("conditions") or ()]
    why = ("InstanceDeletionInProgress", _IN_PROGRESS)
    if failure:
        why = ("InstanceDeletionFailed", f"could not issue all deletes: {failure}")
    return {**old, "conditions": _put(conditions, "Terminating", "True", *why, now)}


def _accepted(definition: Obj, others: list[Obj]) -> tuple[Names, tuple[str, str] | None]:
    """The names accepted so far or now, and the last reason why one was not."""
    wanted = definition["spec"]["names"]
    accepted: Names = dict((definition.get("status") or {}).get("acceptedNames") or {})
    taken = {name for other in others for name in _resource_names(other)}
    taken_kinds = {name for other in others for name in _kind_names(other)}
    refusal: tuple[str, str] | None = None
    for field, reason in _SINGLES:
        if wanted.get(field) in taken:
            refusal = (reason, f'"{wanted[field]}" is already in use')
        else:
            _set(accepted, field, wanted.get(field))
    clashing = [name for name in wanted.get("shortNames") or () if name in taken]
    if clashing:
        texts = [f'"{name}" is already in use' for name in clashing]
        refusal = ("ShortNamesConflict", texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]")
    else:
        _set(accepted, "shortNames", wanted.get("shortNames"))
    for field, reason in _KINDS:
        if wanted.get(field) in taken_kinds:
            refusal = (reason, f'"{wanted[field]}" is already in use')
        else:
            _set(accepted, field, wanted.get(field))
    _set(accepted, "categories", wanted.get("categories"))
    return accepted, refusal


def _set(accepted: Names, field: str, value: Any) -> None:
    if value:
        accepted[field] = value
    else:
        accepted.pop(field, None)


def _resource_names(definition: Obj) -> Iterator[str]:
    names = (definition.get("status") or {}).get("acceptedNames") or {}
    yield from (names[field] for field in ("plural", "singular") if names.get(field))
    yield from names.get("shortNames") or ()


def _kind_names(definition: Obj) -> Iterator[str]:
    names = (definition.get("status") or {}).get("acceptedNames") or {}
    yield from (names[field] for field in ("kind", "listKind") if names.get(field))


def _put(
    conditions: list[dict[str, Any]], kind: str, value: str, reason: str, message: str, now: str
) -> list[dict[str, Any]]:
    """The conditions with one of them set; its time moves when its status does."""
    made = {"type": kind, "status": value, "lastTransitionTime": now, "reason": reason, "message": message}
    for index, one in enumerate(conditions):
        if one["type"] == kind:
            if one["status"] == value:
                made["lastTransitionTime"] = one.get("lastTransitionTime", now)
            return [*conditions[:index], made, *conditions[index + 1 :]]
    return [*conditions, made]
