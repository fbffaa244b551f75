"""What the active scheduler answers about one pod: its last attempt, and what it waits for now. JSON values."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from oarlock.actors.scheduler.attempts import Attempt, Details
from oarlock.actors.scheduler.queue import Standing

Page = dict[str, Any]


def attempt(made: Attempt, details: Details | None) -> Page:
    """Return an attempt; without `nodes` if those had to make way for newer attempts'."""
    return {
        "uid": made.uid,
        "number": made.number,
        "profile": made.profile,
        "time": stamp(made.at),
        "outcome": made.outcome,
        "node": made.node,
        "message": made.message,
        "nominatedNode": made.nominated,
        "victims": list(made.victims),
        "nodes": None if details is None else _nodes(details),
    }


def _nodes(details: Details) -> Page:
    return {
        "filters": list(details.filters),
        "only": list(details.only),
        "impossible": details.impossible,
        "fitting": list(details.fitting),
        "fittingBeyond": details.fitting_beyond,
        "scores": [{"name": name, "weight": weight, "grades": list(grades)} for name, weight, grades in details.scores],
        "refused": _refused(details),
        "refusedBeyond": details.refused_beyond,
    }


def _refused(details: Details) -> list[Page]:
    """Return one entry for each kind of refusal, with its nodes."""
    found: dict[int, Page] = {}
    for name, refusal in zip(details.refused, details.refusals, strict=True):
        kind = found.setdefault(
            id(refusal), {"filter": refusal.filter, "reasons": list(refusal.failure.reasons), "nodes": []}
        )
        kind["nodes"].append(name)
    return list(found.values())


def waiting(standing: Standing | None, gates: tuple[str, ...], held: str) -> Page | None:
    """Return where in the queue a pod is; `gates` are those in its spec, `held` is why a plugin holds it back."""
    if standing is None:
        return None
    page: Page = {"place": standing.place, "attempts": standing.attempts, "filters": sorted(standing.filters)}
    if standing.due_s is not None:
        page["dueS"] = round(standing.due_s, 1)
    if standing.place == "gated":
        page["gates"], page["reason"] = list(gates), held
    return page


def stamp(at: float) -> str:
    """Return a moment as Kubernetes writes it."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def page(found: tuple[Attempt, Details | None] | None, waits: Page | None, acting_since: float, kept: int) -> Page:
    """Return the whole answer."""
    made = None if found is None else attempt(*found)
    return {"attempt": made, "waiting": waits, "actingSince": stamp(acting_since), "attemptsKept": kept}
