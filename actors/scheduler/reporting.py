"""Tells the API server what was decided: the binding, the pod's condition, Events."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from oarlock.actors.scheduler.facts import PodFacts
from oarlock.cluster.client.events import Recorder
from oarlock.cluster.client.http import STRATEGIC_PATCH, ApiClient


class Reporter:
    """Writes for one scheduler. Raises what ApiClient raises; Events are sent in the background."""

    def __init__(self, client: ApiClient, recorder: Recorder, *, clock: Callable[[], float]) -> None:
        self._client, self._recorder, self._clock = client, recorder, clock

    async def bind(self, pod: PodFacts, node: str) -> None:
        """Bind the pod, if it is still the same one and unbound."""
        await self._client.create(
            f"{_path(pod)}/binding",
            {
                "apiVersion": "v1",
                "kind": "Binding",
                "metadata": {"name": pod.name, "namespace": pod.namespace, "uid": pod.uid},
                "target": {"kind": "Node", "name": node},
            },
        )
        self._say(pod, "Normal", "Scheduled", f"Successfully assigned {pod.key} to {node}")

    async def refuse(self, pod: PodFacts, reason: str, message: str) -> None:
        """Say why the pod has no node: as an Event and as its PodScheduled condition."""
        self._say(pod, "Warning", "FailedScheduling", message)
        condition = {
            "type": "PodScheduled",
            "status": "False",
            "reason": reason,
            "message": message,
            "lastProbeTime": None,
            "lastTransitionTime": datetime.fromtimestamp(self._clock(), UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
        await self._client.patch(f"{_path(pod)}/status", {"status": {"conditions": [condition]}}, STRATEGIC_PATCH)

    def _say(self, pod: PodFacts, kind: str, reason: str, message: str) -> None:
        reference: dict[str, Any] = {
            "apiVersion": "v1",
            "kind": "Pod",
            "namespace": pod.namespace,
            "name": pod.name,
            "uid": pod.uid,
        }
        self._recorder.record(reference, kind, reason, message)


def _path(pod: PodFacts) -> str:
    return f"/api/v1/namespaces/{pod.namespace}/pods/{pod.name}"
