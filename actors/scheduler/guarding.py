"""Keeps foreign code from taking the scheduler down: what it raises is named, and what takes too long is cut off."""

from __future__ import annotations

import ctypes
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from oarlock.actors.scheduler.facts import PodFacts
from oarlock.actors.scheduler.framework import Check, Failure, Grades, Impossible, PluginFailed
from oarlock.actors.scheduler.plugin import Plugin
from oarlock.actors.scheduler.snapshot import NodeState, Snapshot

LIMIT_S = 0.3
"""Well below a lease's time to live: while foreign code runs, nothing else of the scheduler does."""

T = TypeVar("T")

_log = logging.getLogger(__name__)


class _CutOff(BaseException):
    """Ends a thread from outside; nothing that a plugin catches."""


class Place:
    """A pod's place among those that wait, as a plugin sorts them; by priority where its answers don't compare."""

    __slots__ = ("_priority", "_value")

    def __init__(self, value: Any, priority: int) -> None:
        self._value, self._priority = value, priority

    def __lt__(self, other: Place) -> bool:
        try:
            return bool(self._value < other._value)
        except Exception:  # noqa: BLE001 - foreign code
            return self._priority > other._priority

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Place):
            return False
        try:
            return bool(self._value == other._value)
        except Exception:  # noqa: BLE001 - foreign code
            return False

    __hash__ = None  # type: ignore[assignment]


class Guarded:
    """A foreign plugin's filter and score: whatever they raise becomes PluginFailed with the plugin's name."""

    def __init__(self, plugin: Plugin) -> None:
        self._plugin = plugin
        self.name, self.events, self.local = plugin.name, plugin.events, plugin.local

    def gate(self, pod: PodFacts, snapshot: Snapshot) -> str | None:  # noqa: ARG002 - a gate's shape
        """Return why the pod is held back; a gate that fails or hangs doesn't open."""
        try:
            return limited(lambda: self._asked("pre-enqueue", lambda: self._plugin.pre_enqueue(pod)))
        except PluginFailed as failure:
            return str(failure)

    def order(self, pod: PodFacts) -> Place:
        """Return the pod's place in the queue; where the plugin fails or hangs, that of its priority."""
        try:
            return Place(limited(lambda: self._asked("queue sort", lambda: self._plugin.order(pod))), pod.priority)
        except PluginFailed as failure:
            _log.error("pod sorted by its priority pod=%s error=%r", pod.key, str(failure))
            return Place(None, pod.priority)

    def only(self, pod: PodFacts) -> frozenset[str] | None:
        return self._asked("filter", lambda: self._plugin.only(pod))

    def prepare(self, pod: PodFacts, snapshot: Snapshot) -> Check | None:
        made = self._asked("filter", lambda: self._plugin.prepare(pod, snapshot))
        if made is None:
            return None

        def check(node: NodeState) -> Failure | None:
            return self._asked("filter", lambda: made(node))

        return check

    def rescue(self, pod: PodFacts, snapshot: Snapshot, failures: Mapping[str, Failure]) -> str | None:
        node = self._asked("post filter", lambda: self._plugin.post_filter(pod, snapshot, failures))
        if node is not None and node not in snapshot.nodes:
            raise PluginFailed(f'running "{self.name}" post filter plugin: there is no node {node!r}')
        return node

    def grade(self, pod: PodFacts, snapshot: Snapshot, nodes: Sequence[NodeState]) -> Grades | None:
        grades = self._asked("score", lambda: self._plugin.grade(pod, snapshot, nodes))
        if grades is not None and not all(isinstance(one, int) and 0 <= one <= 100 for one in grades.values()):
            raise PluginFailed(f'running "{self.name}" score plugin: grades must be whole numbers from 0 to 100')
        known = {node.name for node in nodes}
        return None if grades is None else {name: grade for name, grade in grades.items() if name in known}

    def _asked(self, kind: str, call: Callable[[], T]) -> T:
        return named(self.name, kind, call)


def named(name: str, kind: str, call: Callable[[], T]) -> T:
    """Return what `call` returns. Whatever it raises, but Impossible, becomes PluginFailed with the plugin's name."""
    _running.name = name
    try:
        return call()
    except Impossible:
        raise
    except Exception as error:
        raise PluginFailed(f'running "{name}" {kind} plugin: {type(error).__name__}: {error}') from error


class _Running:
    """Which plugin a thread is in, for the message when it is cut off."""

    name = ""


_running = _Running()


def limited(call: Callable[[], T], limit_s: float = LIMIT_S) -> T:
    """Return what `call` returns or raises. Raises PluginFailed if it takes longer than the limit.

    It runs on a thread of its own while the caller waits, so it sees nothing change. One that doesn't end is ended at
    its next step; one stuck in a call outside Python is left behind and never heard again.
    """
    outcome: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            outcome.append(call())
        except BaseException as error:  # noqa: BLE001 - handed to the caller
            errors.append(error)

    thread = threading.Thread(target=run, name="scheduler-plugin", daemon=True)
    thread.start()
    thread.join(limit_s)
    if thread.is_alive():
        if thread.ident is not None:
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(_CutOff))
        raise PluginFailed(f'running "{_running.name}" plugin: cut off after {limit_s * 1000:.0f} ms')
    if errors:
        raise errors[0]
    return outcome[0]
