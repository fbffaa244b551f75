"""The last attempt of each pod: what filters said, what scores gave, how it ended. In memory, and bounded.

Only what a decision finds anyway is kept, in the form in which it takes the least: names and refusals are shared,
grades are bytes. Of a large cluster the nodes beyond `NODES_MAX` are counted only. See decision 0029.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from heapq import nlargest

from oarlock.actors.scheduler.decision import NOTHING_ASKED, Diagnosis, Placement, Unschedulable
from oarlock.actors.scheduler.examination import Refusal
from oarlock.actors.scheduler.facts import PodFacts

NODES_MAX = 1_000
"""Nodes of one attempt that are kept: the best of those that will do, and as many of those that won't."""
PODS_MAX = 5_000
BYTES_MAX = 16 << 20
"""Of nodes in all attempts together. An attempt beyond it keeps its outcome and loses its nodes."""
_MESSAGE_MAX = 4_096
_ATTEMPT_BYTES, _REFUSAL_BYTES, _REFERENCE_BYTES = 400, 300, 8

BINDING, BOUND, UNSCHEDULABLE, FAILED = "binding", "bound", "unschedulable", "failed"


@dataclass(frozen=True, slots=True)
class Details:
    """What came up about nodes. `refusals` belong to `refused`, each score's grades to `fitting`, place by place.

    Filters are asked in the order of `filters` until one refuses. A node that a filter of `only` has ruled out wasn't
    asked about at all. `fitting_beyond` and `refused_beyond` are the numbers of nodes that are left out.
    """

    filters: tuple[str, ...]
    fitting: Sequence[str]
    scores: Sequence[tuple[str, int, Sequence[int]]]
    refused: Sequence[str]
    refusals: Sequence[Refusal]
    kinds: int
    only: tuple[str, ...]
    impossible: str
    fitting_beyond: int
    refused_beyond: int

    def size_bytes(self) -> int:
        """Return about how much memory this takes. A refusal is mostly that of many nodes."""
        references = len(self.fitting) + 2 * len(self.refused)
        grades = sum([len(grades) for _, _, grades in self.scores])
        return _ATTEMPT_BYTES + _REFUSAL_BYTES * self.kinds + _REFERENCE_BYTES * references + grades


@dataclass(slots=True)
class Attempt:
    """One attempt. `at` is in seconds since 1970; `victims` are the keys of pods that make room on `nominated`."""

    key: str
    uid: str
    number: int
    profile: str
    at: float
    outcome: str
    node: str = ""
    message: str = ""
    nominated: str = ""
    victims: tuple[str, ...] = ()


@dataclass(slots=True)
class _Shelf:
    """Attempts by the pod's key, oldest first, and the details of as many of them as there is room for."""

    attempts: OrderedDict[str, Attempt] = field(default_factory=OrderedDict[str, Attempt])
    details: OrderedDict[str, tuple[Details, int]] = field(default_factory=OrderedDict[str, tuple[Details, int]])
    """With their sizes in bytes."""


class Attempts:
    """Keeps one attempt for each pod. Those of bound pods make way first: who waits is asked about more."""

    def __init__(self, *, pods_max: int = PODS_MAX, bytes_max: int = BYTES_MAX) -> None:
        self._pods_max, self._bytes_max = pods_max, bytes_max
        self._waiting, self._bound = _Shelf(), _Shelf()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._waiting.attempts) + len(self._bound.attempts)

    @property
    def size_bytes(self) -> int:
        """About how much memory the details take."""
        return self._bytes

    def get(self, key: str) -> tuple[Attempt, Details | None] | None:
        """Return the pod's last attempt and what came up, None if there was none, or it had to make way."""
        for shelf in (self._waiting, self._bound):
            if (found := shelf.attempts.get(key)) is not None:
                return found, shelf.details.get(key, (None,))[0]
        return None

    def decide(self, pod: PodFacts, number: int, profile: str, at: float, decision: Placement | Unschedulable) -> None:
        """Keep a decision; of a placement it is to be told later how binding went."""
        if isinstance(decision, Placement):
            attempt = Attempt(pod.key, pod.uid, number, profile, at, BINDING, decision.node)
        else:
            attempt = Attempt(pod.key, pod.uid, number, profile, at, UNSCHEDULABLE, message=_cut(decision.message))
            if decision.nomination is not None:
                attempt.nominated = decision.nomination.node
                attempt.victims = tuple(victim.key for victim in decision.nomination.victims)
        self._keep(attempt, details_of(decision.diagnosis))

    def fail(self, pod: PodFacts, number: int, profile: str, at: float, message: str) -> None:
        """Keep that an attempt went wrong, before a decision or after it."""
        found = self._waiting.attempts.get(pod.key)
        if found is not None and (found.uid, found.number) == (pod.uid, number):
            found.outcome, found.message = FAILED, _cut(message)
        else:
            failed = Attempt(pod.key, pod.uid, number, profile, at, FAILED, message=_cut(message))
            self._keep(failed, details_of(NOTHING_ASKED))

    def bind(self, pod: PodFacts, number: int) -> None:
        """Keep that the pod was bound."""
        found = self._waiting.attempts.get(pod.key)
        if found is None or (found.uid, found.number) != (pod.uid, number):
            return
        found.outcome = BOUND
        self._bound.attempts[pod.key] = self._waiting.attempts.pop(pod.key)
        if (details := self._waiting.details.pop(pod.key, None)) is not None:
            self._bound.details[pod.key] = details

    def forget(self, key: str) -> None:
        """Drop what is known of a pod that is gone."""
        for shelf in (self._waiting, self._bound):
            shelf.attempts.pop(key, None)
            self._drop(shelf.details.pop(key, None))

    def clear(self) -> None:
        """Forget everything."""
        self._waiting, self._bound, self._bytes = _Shelf(), _Shelf(), 0

    def _keep(self, attempt: Attempt, details: Details) -> None:
        self.forget(attempt.key)
        self._waiting.attempts[attempt.key] = attempt
        size = details.size_bytes()
        self._waiting.details[attempt.key] = details, size
        self._bytes += size
        while len(self) > self._pods_max:
            shelf = self._bound if self._bound.attempts else self._waiting
            self.forget(next(iter(shelf.attempts)))
        while self._bytes > self._bytes_max:
            shelf = self._bound if self._bound.details else self._waiting
            self._drop(shelf.details.popitem(last=False)[1])

    def _drop(self, details: tuple[Details, int] | None) -> None:
        if details is not None:
            self._bytes -= details[1]


def details_of(diagnosis: Diagnosis) -> Details:
    """Return what is kept of a diagnosis. Runs in every attempt: lists are taken over, since nobody alters them.

    More than `NODES_MAX` nodes are cut, of those that will do to the best.
    """
    names, refused, refusals = diagnosis.fitting, diagnosis.refused, diagnosis.refusals
    columns: Iterable[tuple[str, int, Sequence[int]]] = diagnosis.grades
    if beyond := max(0, len(names) - NODES_MAX):
        totals = diagnosis.totals or [0] * len(names)
        places = nlargest(NODES_MAX, range(len(names)), key=totals.__getitem__)
        names = [names[place] for place in places]
        columns = [(score, weight, [column[place] for place in places]) for score, weight, column in columns]
    if refused_beyond := max(0, len(refused) - NODES_MAX):
        refused, refusals = refused[:NODES_MAX], refusals[:NODES_MAX]
    return Details(
        tuple([one.name for one in diagnosis.filters]),
        names,
        [(score, weight, _packed(column)) for score, weight, column in columns],
        refused,
        refusals,
        diagnosis.kinds,
        diagnosis.only,
        diagnosis.impossible,
        beyond,
        refused_beyond,
    )


def _packed(column: Sequence[int]) -> Sequence[int]:
    try:
        return bytes(column)
    except ValueError:
        # An extender's word may weigh more than a score's best grade.
        return column


def _cut(message: str) -> str:
    return message if len(message) <= _MESSAGE_MAX else f"{message[:_MESSAGE_MAX]}…"
