"""Validate what an update may change of a Pod that waits behind scheduling gates: where it may run, more exactly.

Source: upstream's `validateNodeSelectorMutation` and `validateNodeAffinityMutation`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from oarlock.cluster.objects.causes import invalid
from oarlock.cluster.objects.gostructs import Struct
from oarlock.cluster.objects.status import Cause

Obj = Mapping[str, Any]
_REQUIRED: Final = "requiredDuringSchedulingIgnoredDuringExecution"
_TERMS_PATH: Final = f"spec.affinity.nodeAffinity.{_REQUIRED}.nodeSelectorTerms"
_ADDITIONS: Final = "only additions {}are allowed (no mutations or deletions)"


def narrowing(wanted: Obj, present: Obj) -> list[Cause]:
    """What is wrong with a gated Pod's new node selector and node affinity: both may only become narrower."""
    causes: list[Cause] = []
    asked, had = wanted.get("nodeSelector"), present.get("nodeSelector", {})
    if any((asked or {}).get(key) != value for key, value in had.items()):
        causes.append(invalid("spec.nodeSelector", asked, _ADDITIONS.format("to spec.nodeSelector ")))
    old = _terms(present) or ()
    if not old:
        return causes
    new = _terms(wanted)
    if len(new or ()) != len(old):
        why = "no additions/deletions to non-empty NodeSelectorTerms list are allowed"
        return [*causes, invalid(_TERMS_PATH, Struct("[]core.v1.NodeSelectorTerm", new), why)]
    for index, (one, before) in enumerate(zip(new or (), old, strict=True)):
        if not _only_adds(one, before):
            shown = Struct("core.v1.NodeSelectorTerm", one)
            causes.append(invalid(f"{_TERMS_PATH}[{index}]", shown, _ADDITIONS.format("")))
    return causes


def _terms(spec: Obj) -> Sequence[Obj] | None:
    required = spec.get("affinity", {}).get("nodeAffinity", {}).get(_REQUIRED)
    return None if required is None else required.get("nodeSelectorTerms")


def _only_adds(term: Obj, before: Obj) -> bool:
    """Whether a term has all requirements that it had, in their places; an empty one selects nothing and stays so."""
    kinds = ("matchExpressions", "matchFields")
    if not any(before.get(kind) for kind in kinds):
        return not any(term.get(kind) for kind in kinds)
    return all((term.get(kind) or [])[: len(before.get(kind) or ())] == (before.get(kind) or []) for kind in kinds)


def frozen_affinity(wanted: Obj | None, present: Obj | None) -> Obj | None:
    """The wanted affinity with the present node affinity in it."""
    node = (present or {}).get("nodeAffinity")
    if node == (wanted or {}).get("nodeAffinity"):
        return wanted
    rest = {name: value for name, value in (wanted or {}).items() if name != "nodeAffinity"}
    if node is not None:
        return {**rest, "nodeAffinity": node}
    return rest if rest or present is not None else None
