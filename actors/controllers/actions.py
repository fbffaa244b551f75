"""What a decision asks for, as values, and the one place that carries it out."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from oarlock.actors.controllers.view import resource_of
from oarlock.cluster.client.cache import STEP_OBJECTS
from oarlock.cluster.client.events import Recorder
from oarlock.cluster.client.http import JSON_PATCH, MERGE_PATCH, ApiClient
from oarlock.cluster.objects.status import ApiError

Object = dict[str, Any]

_SLOW_START = 1
_BURST_MAX = 64
_NOT_FOUND = 404

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RecordEvent:
    """Tell about `on`. `{name}` and `{error}` in the message stand for the written object's name and the failure."""

    on: Mapping[str, Any]
    reason: str
    message: str
    kind: str = "Normal"


@dataclass(frozen=True)
class Create:
    """Create `obj`; `done` is recorded when it was made, `failed` when it was refused.

    `then(made)` says what is to be written once the object has its uid.
    """

    obj: Object
    done: RecordEvent | None = None
    failed: RecordEvent | None = None
    then: Callable[[Object], Sequence[UpdateStatus]] | None = None


@dataclass(frozen=True)
class Update:
    """Replace `obj`, which carries the resourceVersion that the decision was made on."""

    obj: Object
    done: RecordEvent | None = None
    failed: RecordEvent | None = None


@dataclass(frozen=True)
class UpdateStatus:
    """Replace the status of `obj`, on the resourceVersion that the decision was made on.

    One that `stands` holds whatever else of the object has changed meanwhile: it says which generation it was made of,
    and nobody but its controller writes it. So a user who changes the object faster than a controller can read and
    write never keeps its status from being told.
    """

    obj: Object
    done: RecordEvent | None = None
    failed: RecordEvent | None = None
    stands: bool = False


@dataclass(frozen=True)
class Patch:
    """Patch the object that `obj` names; an object that is gone is not an error."""

    obj: Mapping[str, Any]
    patch: object
    content_type: str = MERGE_PATCH
    subresource: str = ""
    done: RecordEvent | None = None
    failed: RecordEvent | None = None


@dataclass(frozen=True)
class Delete:
    """Delete exactly this `obj` (by uid); one that is gone or was replaced is not an error."""

    obj: Mapping[str, Any]
    propagation: str | None = None
    grace_s: int | None = None
    done: RecordEvent | None = None
    failed: RecordEvent | None = None


@dataclass(frozen=True)
class ScaleTo:
    """Replace the scale at `path`, which may be of a kind that no cache has."""

    path: str
    obj: Object
    done: RecordEvent | None = None
    failed: RecordEvent | None = None


@dataclass(frozen=True)
class Requeue:
    """Look at the key again after `after_s`."""

    after_s: float


@dataclass(frozen=True)
class CatchUp:
    """Look at the key again at once when the caches of `plurals` show everything up to `revision`."""

    plurals: Sequence[str]
    revision: int


@dataclass(frozen=True)
class GiveWay:
    """Let others have their turn: deciding what follows takes its time. Of use where actions are made one by one."""


def in_steps(found: Iterable[Object], look: Callable[[Object], None]) -> Iterator[GiveWay]:
    """Look at each of many objects, giving way after every `STEP_OBJECTS`."""
    for number, one in enumerate(found, start=1):
        look(one)
        if number % STEP_OBJECTS == 0:
            yield GiveWay()


Write = Create | Update | UpdateStatus | Patch | Delete | ScaleTo


@dataclass(frozen=True)
class Burst:
    """Independent writes, carried out in batches of 1, 2, 4, … so that a refusal common to all costs few requests.

    The first batch with a failure is the last; `refused(message)` is then carried out before the failure is raised.
    Source: upstream's slowStartBatch.
    """

    writes: Sequence[Write]
    refused: Callable[[str], Sequence[UpdateStatus]] | None = None


@dataclass(frozen=True)
class Question:
    """A read that no cache answers: of another group's scale, of a metric."""

    path: str
    params: Mapping[str, str] = field(default_factory=dict)


Answer = Object | ApiError
"""What a question was answered: the object, or the refusal."""


@dataclass(frozen=True)
class Ask:
    """Ask the API server, all at once, and go on with what `then(answers)` decides, in the questions' order.

    So that a decision which needs more than the caches stays a function of values.
    """

    questions: Sequence[Question]
    then: Callable[[Sequence[Answer]], Iterable[Action]]


Action = Write | Burst | RecordEvent | Requeue | CatchUp | GiveWay | Ask


@dataclass
class Outcome:
    """What came of the actions: the revision to wait for per plural name, and when to look again."""

    revisions: dict[str, int] = field(default_factory=dict)
    requeue_s: float | None = None
    writes: int = 0


class Performer:
    """Carries actions out in order, as one controller named `source`. The first failure ends it and is raised."""

    def __init__(self, client: ApiClient, recorder: Recorder, source: str) -> None:
        self._client, self._recorder, self._source = client, recorder, source

    async def perform(self, actions: Iterable[Action], outcome: Outcome) -> None:
        """Carry out `actions`, noting in `outcome` what was written, also when this raises ApiError or Unreachable."""
        for action in actions:
            match action:
                case RecordEvent():
                    self.record(action)
                case Requeue(after_s):
                    outcome.requeue_s = after_s if outcome.requeue_s is None else min(after_s, outcome.requeue_s)
                case CatchUp(plurals, revision):
                    outcome.revisions.update({one: max(outcome.revisions.get(one, 0), revision) for one in plurals})
                    outcome.requeue_s = 0.0
                case GiveWay():
                    await asyncio.sleep(0)
                case Ask(questions, then):
                    answers = await asyncio.gather(*map(self._answer, questions))
                    await self.perform(then(answers), outcome)
                case Burst(writes, refused):
                    try:
                        await self._burst(writes, outcome)
                    except ApiError as error:
                        if refused is not None and not is_terminating(error):
                            await self.perform(refused(error.message), outcome)
                        raise
                case _:
                    await self._write(action, outcome)

    def record(self, event: RecordEvent, **words: str) -> None:
        """Record an Event with `words` put into its message."""
        message = event.message.format(**words) if words else event.message
        self._recorder.record(event.on, event.kind, event.reason, message, component=self._source)

    async def _answer(self, question: Question) -> Answer:
        try:
            return await self._client.get(question.path, dict(question.params))
        except ApiError as error:
            return error

    async def _burst(self, writes: Sequence[Write], outcome: Outcome) -> None:
        start, size = 0, _SLOW_START
        while start < len(writes):
            batch = writes[start : start + size]
            results = await asyncio.gather(*(self._write(one, outcome) for one in batch), return_exceptions=True)
            for result in results:
                if isinstance(result, BaseException):
                    raise result
            start += len(batch)
            size = min(size * 2, _BURST_MAX)

    async def _write(self, action: Write, outcome: Outcome) -> None:
        name = action.obj["metadata"]["name"]
        try:
            answer = await self._send(action)
        except ApiError as error:
            if isinstance(action, Delete | Patch) and _is_gone(error, action):
                return
            if action.failed is not None and not is_terminating(error):
                self.record(action.failed, name=name, error=error.message)
            raise
        outcome.writes += 1
        revision = (answer.get("metadata") or {}).get("resourceVersion")
        if revision and not isinstance(action, ScaleTo):
            plural = resource_of(action.obj).plural
            outcome.revisions[plural] = max(outcome.revisions.get(plural, 0), int(revision))
        if action.done is not None:
            self.record(action.done, name=name)
        if isinstance(action, Create) and action.then is not None:
            await self.perform(action.then(answer), outcome)

    def _send(self, action: Write) -> Awaitable[Object]:
        if isinstance(action, ScaleTo):
            return self._client.update(action.path, action.obj)
        metadata = action.obj["metadata"]
        resource = resource_of(action.obj)
        path: Callable[..., str] = resource.path
        namespace, name = metadata.get("namespace", ""), metadata["name"]
        match action:
            case Create(obj):
                return self._client.create(path(namespace), obj)
            case Update(obj):
                return self._client.update(path(namespace, name), obj)
            case UpdateStatus(obj, stands=True):
                same = {"op": "test", "path": "/metadata/uid", "value": metadata["uid"]}
                told = {"op": "add", "path": "/status", "value": obj["status"]}
                return self._client.patch(path(namespace, name, "status"), [same, told], JSON_PATCH)
            case UpdateStatus(obj):
                return self._client.update(path(namespace, name, "status"), obj)
            case Patch(_, patch, content_type, subresource):
                return self._client.patch(path(namespace, name, subresource), patch, content_type)
            case Delete(_, propagation, grace_s):
                options: dict[str, Any] = {"preconditions": {"uid": metadata["uid"]}}
                if propagation:
                    options["propagationPolicy"] = propagation
                if grace_s is not None:
                    options["gracePeriodSeconds"] = grace_s
                return self._client.delete(path(namespace, name), options)


def _is_gone(error: ApiError, action: Delete | Patch) -> bool:
    """Whether the object meant is no more, so that there is nothing left to do to it."""
    if error.code == _NOT_FOUND:
        return True
    return isinstance(action, Delete) and error.reason == "Conflict" and "UID in precondition" in error.message


def is_terminating(error: ApiError) -> bool:
    """Whether a create was refused because its namespace is being deleted: no retry can help."""
    causes = (error.details or {}).get("causes") or ()
    return any(cause.get("reason") == "NamespaceTerminating" for cause in causes)
