"""Tells the API server what was decided: the binding, the pod's condition, Events."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from oarlock.actors.scheduler.devices.claimed import FINALIZER
from oarlock.actors.scheduler.devices.releasing import Release
from oarlock.actors.scheduler.facts import PREEMPTION_REASON, PodFacts
from oarlock.cluster.client.events import Recorder
from oarlock.cluster.client.http import STRATEGIC_PATCH, ApiClient
from oarlock.cluster.objects.status import ApiError

_NOT_FOUND = 404
_ALLOCATED = frozenset(("allocation", "reservedFor", "devices"))
_GONE = frozenset((404, 409))
"""Not there, or another pod of the same name."""


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
        self.say_bound(pod, node)

    async def release(self, pod: PodFacts, release: Release) -> None:
        """Have an idle claim give back its devices, or go; one that is gone, or in use by others, is left alone."""
        namespace, _, name = release.key.partition("/")
        path = f"/apis/resource.k8s.io/v1/namespaces/{namespace}/resourceclaims/{name}"
        try:
            claim = await self._client.get(path)
            if claim["metadata"]["uid"] != release.uid or not _is_idle(claim, pod):
                return
            if release.delete:
                await self._delete_claim(path, claim)
            else:
                kept = {key: value for key, value in claim["status"].items() if key not in _ALLOCATED}
                await self._client.update(f"{path}/status", {**claim, "status": kept})
        except ApiError as error:
            if error.code != _NOT_FOUND:
                raise

    async def _delete_claim(self, path: str, claim: dict[str, Any]) -> None:
        """The finalizer only keeps devices with their users, of which there are none."""
        metadata = claim["metadata"]
        if FINALIZER in (metadata.get("finalizers") or ()):
            metadata["finalizers"].remove(FINALIZER)
            claim = await self._client.update(path, claim)
        await self._client.delete(path, {"preconditions": {"uid": claim["metadata"]["uid"]}})

    def tell(self, pod: PodFacts, reason: str, message: str) -> None:
        """Record what the pod's owner may want to know, though nothing is wrong."""
        self._say(pod, "Normal", reason, message)

    def say_bound(self, pod: PodFacts, node: str) -> None:
        self._say(pod, "Normal", "Scheduled", f"Successfully assigned {pod.key} to {node}")

    async def refuse(self, pod: PodFacts, reason: str, message: str, *, nominated: str = "") -> None:
        """Say why the pod has no node, as an Event and as its condition, and for which node it may hope."""
        self._say(pod, "Warning", "FailedScheduling", message)
        status: dict[str, Any] = {"conditions": [self._condition("PodScheduled", "False", reason, message)]}
        if nominated != pod.nominated_node:
            status["nominatedNodeName"] = nominated or None
        await self._patch_status(pod, status)

    async def nominate(self, pod: PodFacts) -> None:
        """Write down the pod's nominated node, which may be none."""
        await self._patch_status(pod, {"nominatedNodeName": pod.nominated_node or None})

    async def evict(self, victim: PodFacts, preemptor: PodFacts, node: str) -> None:
        """Delete a pod to make room for another, with its own grace period; one that is gone already is fine."""
        message = f"{preemptor.scheduler_name}: preempting to accommodate a higher priority pod"
        condition = self._condition("DisruptionTarget", "True", PREEMPTION_REASON, message)
        try:
            await self._patch_status(victim, {"conditions": [condition]})
            await self._client.delete(_path(victim), {"preconditions": {"uid": victim.uid}})
        except ApiError as error:
            if error.code not in _GONE:
                raise
            return
        self._say(victim, "Normal", "Preempted", f"Preempted by pod {preemptor.uid} on node {node}")

    def _condition(self, kind: str, status: str, reason: str, message: str) -> dict[str, Any]:
        return {
            "type": kind,
            "status": status,
            "reason": reason,
            "message": message,
            "lastProbeTime": None,
            "lastTransitionTime": datetime.fromtimestamp(self._clock(), UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        }

    async def _patch_status(self, pod: PodFacts, status: dict[str, Any]) -> None:
        change = {"metadata": {"uid": pod.uid}, "status": status}
        await self._client.patch(f"{_path(pod)}/status", change, STRATEGIC_PATCH)

    def _say(self, pod: PodFacts, kind: str, reason: str, message: str) -> None:
        reference: dict[str, Any] = {
            "apiVersion": "v1",
            "kind": "Pod",
            "namespace": pod.namespace,
            "name": pod.name,
            "uid": pod.uid,
        }
        self._recorder.record(reference, kind, reason, message)


def _is_idle(claim: dict[str, Any], pod: PodFacts) -> bool:
    return all(one["uid"] == pod.uid for one in (claim.get("status") or {}).get("reservedFor") or ())


def _path(pod: PodFacts) -> str:
    return f"/api/v1/namespaces/{pod.namespace}/pods/{pod.name}"
