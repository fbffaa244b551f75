"""A pod's last attempt to be scheduled, asked of the active scheduler and told in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from oarlock.cluster.boot.components import SCHEDULER
from oarlock.cluster.client.http import ApiClient
from oarlock.cluster.objects.status import ApiError

PATH = f"/oarlock/v1/holders/{SCHEDULER[2]}/attempts"
SHOWN_MAX = 50
"""Nodes of each sort that are printed unless all are asked for."""
_FORBIDDEN, _NOT_FOUND = 403, 404

Object = Mapping[str, Any]


async def ask(client: ApiClient, pod: Object) -> tuple[Object | None, str]:
    """Return what the active scheduler knows of the pod, or None and why there is nothing to go by."""
    metadata = pod["metadata"]
    try:
        page = await client.get(f"{PATH}/{metadata['namespace']}/{metadata['name']}")
    except ApiError as error:
        if error.code == _NOT_FOUND:
            return None, "the API server knows of no scheduler that keeps attempts"
        if error.code == _FORBIDDEN:
            return None, f"you may not read the scheduler's attempts: {error.message}"
        return None, f"the scheduler can't be asked: {error.message}"
    attempt = page["attempt"]
    if attempt is not None and attempt["uid"] != metadata["uid"]:
        return {**page, "attempt": None}, ""
    return page, ""


def is_placed(attempt: Object) -> bool:
    """Whether the attempt found a node."""
    return attempt["outcome"] in ("bound", "binding")


def none(pod: Object, page: Object) -> Iterator[str]:
    """Yield why the pod has no attempt."""
    name, since = pod["spec"].get("schedulerName"), page["actingSince"]
    if (waits := page["waiting"]) is not None:
        if not waits["attempts"]:
            yield "was never tried"
        else:
            yield f"was tried {_times(waits['attempts'])}, but the last attempt is kept no more"
        yield from waiting(waits)
    elif not pod["spec"].get("nodeName"):
        yield f"was never tried: it asks for {name}, and this scheduler has another name or hasn't seen the pod yet"
    elif pod["metadata"]["creationTimestamp"] < since:
        yield f"was scheduled by a predecessor, or by nobody: this scheduler acts since {since} and knows what it did"
    else:
        yield (
            "was put on its node by somebody else than this scheduler, "
            f"or its attempt has made way for newer ones ({page['attemptsKept']} are kept)"
        )


def waiting(waits: Object) -> Iterator[str]:
    """Yield what the pod waits for."""
    match waits["place"]:
        case "gated":
            if waits["gates"]:
                yield f"is held back by its scheduling gates: {', '.join(waits['gates'])}"
            if waits["reason"]:
                yield f"is held back: {waits['reason']}"
        case "active":
            yield "waits for its turn"
        case "backoff":
            yield f"is tried again in {waits['dueS']:.0f} s"
        case _:
            helpful = ", ".join(waits["filters"])
            yield f"waits for a change that may help {helpful or 'it'}; is tried again in {waits['dueS']:.0f} s anyway"


def lines(page: Object, *, every: bool) -> Iterator[str]:
    """Yield the attempt: how it ended, then each node with each filter's verdict and each score."""
    attempt = page["attempt"]
    yield f"attempt {attempt['number']} by profile {attempt['profile']} at {attempt['time']}: {_outcome(attempt)}"
    if attempt["victims"]:
        yield f"is to take the place of {', '.join(attempt['victims'])} on {attempt['nominatedNode']}"
    elif attempt["nominatedNode"]:
        yield f"is to have room on {attempt['nominatedNode']}"
    if page["waiting"] is not None:
        yield from waiting(page["waiting"])
    nodes = attempt["nodes"]
    if nodes is None:
        yield "what was found about each node has made way for newer attempts"
        return
    if nodes["impossible"]:
        yield f"{nodes['impossible']} found that it can run nowhere, so no node was asked about"
    most = None if every else SHOWN_MAX
    yield from _fitting(nodes, most)
    yield from _refused(nodes, most)


def _outcome(attempt: Object) -> str:
    match attempt["outcome"]:
        case "bound":
            return f"bound to {attempt['node']}"
        case "binding":
            return f"chose {attempt['node']}; binding is under way"
        case "failed":
            return f"failed: {attempt['message']}"
        case _:
            return f"found no node: {attempt['message']}"


def _fitting(nodes: Object, most: int | None) -> Iterator[str]:
    names, scores = nodes["fitting"], nodes["scores"]
    totals = [sum(score["weight"] * score["grades"][place] for score in scores) for place in range(len(names))]
    best = sorted(range(len(names)), key=lambda place: -totals[place])[:most]
    for place in best:
        yield ""
        yield f"{names[place]}: {totals[place]} points" if scores else f"{names[place]}: not graded, as the only choice"
        yield from _words("passes", nodes["filters"])
        for score in scores:
            grade, weight = score["grades"][place], score["weight"]
            yield f"  {score['name']:32} {grade:3} x {weight} = {grade * weight}"
    yield from _rest(len(names) - len(best), nodes["fittingBeyond"], "passed every filter")


def _refused(nodes: Object, most: int | None) -> Iterator[str]:
    shown = 0
    for kind in nodes["refused"]:
        some = kind["nodes"] if most is None else kind["nodes"][: most - shown]
        shown += len(some)
        for name in some:
            yield ""
            yield name
            yield from _verdicts(kind, nodes["filters"], nodes["only"])
    yield from _rest(
        sum(len(kind["nodes"]) for kind in nodes["refused"]) - shown, nodes["refusedBeyond"], "were refused"
    )


def _verdicts(kind: Object, filters: Sequence[str], only: Sequence[str]) -> Iterator[str]:
    refusing = kind["filter"]
    place = filters.index(refusing) if refusing in filters else len(filters)
    if refusing in only:
        # Ruled out by name, before any filter was asked about the node.
        place = 0
    yield from _words("passes", filters[:place])
    yield f"  {refusing:32} {', '.join(kind['reasons']) or 'refused'}"
    yield from _words("not asked", [name for name in filters[place:] if name != refusing])


def _words(verdict: str, names: Sequence[str]) -> Iterator[str]:
    if names:
        yield f"  {verdict:32} {', '.join(names)}"


def _rest(unshown: int, beyond: int, what: str) -> Iterator[str]:
    if unshown or beyond:
        yield ""
    if unshown:
        yield f"{unshown} more nodes {what}: --all shows them"
    if beyond:
        yield f"{beyond} further nodes {what}, of which nothing more was kept"


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"
