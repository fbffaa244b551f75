"""Keeps foreign code from taking the scheduler down: what it raises is named, and what takes too long is cut off."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from oarlock.actors.scheduler.facts import PodFacts
from oarlock.actors.scheduler.framework import Check, Failure, Grades, Impossible, PluginFailed
from oarlock.actors.scheduler.plugin import Plugin
from oarlock.actors.scheduler.snapshot import NodeState, Snapshot

LIMIT_S = 0.3
"""Well below a lease's time to live: while foreign code runs, nothing else of the scheduler does."""

T = TypeVar("T")


class _CutOff(BaseException):
    """Ends a thread from outside; nothing that a plugin catches."""


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
        _running.name = self.name
        try:
            return call()
        except Impossible:
            raise
        except Exception as error:
            raise PluginFailed(f'running "{self.name}" {kind} plugin: {type(error).__name__}: {error}') from error


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
