"""A world without a server: caches, a clock, and the actions applied to the caches as an API server would."""

from __future__ import annotations

import copy
import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from oarlock.actors.controllers.actions import (
    Ask,
    Burst,
    CatchUp,
    Create,
    Delete,
    GiveWay,
    Patch,
    RecordEvent,
    Requeue,
    ScaleTo,
    Update,
    UpdateStatus,
    Write,
)
from oarlock.actors.controllers.view import KINDS, View, resource_of
from oarlock.cluster.client.cache import Cache, key_of
from oarlock.cluster.objects.patches import merge_patch
from oarlock.cluster.objects.status import ApiError

Object = dict[str, Any]


class Stopped(Exception):
    """The controller was stopped here."""


class World:
    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)
        self.revision = 0
        self.events: list[tuple[str, str]] = []
        self.writes: list[str] = []
        self.requeues: list[float] = []
        self.answers: dict[str, Object] = {}
        self.left: int | None = None
        self.view = View({plural: Cache(plural) for plural in KINDS}, lambda: self.now, random.Random(1))

    def cache(self, obj: Object) -> Cache:
        return self.view.caches[resource_of(obj).plural]

    def put(self, obj: Object) -> Object:
        obj = copy.deepcopy(obj)
        metadata = obj["metadata"]
        if resource_of(obj).namespaced:
            metadata.setdefault("namespace", "default")
        old = self.cache(obj).get(key_of(obj))
        self.revision += 1
        metadata["resourceVersion"] = str(self.revision)
        if old is None:
            metadata.setdefault("uid", f"uid-{self.revision}")
            metadata.setdefault("creationTimestamp", self.stamp)
            metadata.setdefault("generation", 1)
        elif old.get("spec") != obj.get("spec"):
            metadata["generation"] = old["metadata"].get("generation", 1) + 1
        self.cache(obj).apply("ADDED" if old is None else "MODIFIED", obj)
        return obj

    def remove(self, obj: Object) -> None:
        self.revision += 1
        gone = {**obj, "metadata": {**obj["metadata"], "resourceVersion": str(self.revision)}}
        self.cache(obj).apply("DELETED", gone)

    @property
    def stamp(self) -> str:
        return self.now.strftime("%Y-%m-%dT%H:%M:%SZ")

    def pass_time(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    def act_until(self, actions: Any, writes: int) -> bool:
        """Apply actions, but stop before a write more than so many; returns whether all were applied."""
        self.left = writes
        try:
            self.act(actions)
        except Stopped:
            return False
        finally:
            self.left = None
        return True

    def act(self, actions: Any) -> int:
        """Apply actions; returns how many writes there were."""
        before = len(self.writes)
        for action in actions:
            if self.left is not None and isinstance(action, Write):
                if self.left == 0:
                    raise Stopped
                self.left -= 1
            match action:
                case Burst(writes):
                    self.act(writes)
                    continue
                case RecordEvent(_, reason, message):
                    self.events.append((reason, message))
                    continue
                case Ask(questions, then):
                    self.act(then([self.answers.get(one.path) or _unknown(one.path) for one in questions]))
                    continue
                case GiveWay():
                    continue
                case Requeue(after_s):
                    self.requeues.append(after_s)
                    continue
                case CatchUp(plurals, revision):
                    for plural in plurals:
                        self.view.caches[plural].advance(revision)
                    continue
                case ScaleTo(path, obj):
                    self.answers[path] = obj
                case Create(obj) | Update(obj):
                    self.put(obj)
                case UpdateStatus(obj):
                    live = self.cache(obj).get(key_of(obj))
                    if live is not None:
                        self.put({**live, "metadata": obj["metadata"], "status": obj["status"]})
                case Patch(obj, patch):
                    live = self.cache(obj).get(key_of(obj))
                    if live is not None:
                        self.put(merge_patch(copy.deepcopy(live), patch))
                case Delete(obj, _, grace_s):
                    live = self.cache(obj).get(key_of(obj))
                    is_running = obj["kind"] == "Pod" and grace_s != 0 and (live or {}).get("spec", {}).get("nodeName")
                    if live is not None and is_running:
                        self.put({**live, "metadata": {**live["metadata"], "deletionTimestamp": self.stamp}})
                    elif live is not None:
                        self.remove(live)
            self.writes.append(f"{type(action).__name__} {action.obj['kind']}")
            if action.done is not None:
                name = action.obj["metadata"]["name"]
                self.events.append((action.done.reason, action.done.message.format(name=name)))
            if isinstance(action, Create) and action.then is not None:
                self.act(action.then(self.cache(action.obj).get(key_of(action.obj))))
        return len(self.writes) - before

    def pods(self, *, active: bool = True) -> list[Object]:
        found = self.view.list("pods")
        return [pod for pod in found if not (active and pod["metadata"].get("deletionTimestamp"))]

    def reap(self) -> None:
        for pod in self.pods(active=False):
            if pod["metadata"].get("deletionTimestamp"):
                self.remove(pod)

    def set_phase(self, pod: Object, phase: str) -> None:
        ready = "True" if phase == "Running" else "False"
        status = {
            "phase": phase,
            "podIP": "10.0.0.1",
            "conditions": [{"type": "Ready", "status": ready, "lastTransitionTime": self.stamp}],
        }
        self.put({**pod, "spec": {**pod["spec"], "nodeName": "n1"}, "status": status})


def _unknown(path: str) -> ApiError:
    return ApiError(404, "NotFound", f"the server could not find the requested resource {path}")


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture(scope="session")
def world_type() -> type[World]:
    return World
