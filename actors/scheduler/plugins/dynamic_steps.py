"""Writes down which devices a pod's claims have got, and that it uses them, before the pod is bound.

Source: kube-scheduler's DynamicResources, Reserve to PreBind. Beyond it: a write whose outcome is unknown is repeated
until that is known, so that no device is decided on again meanwhile.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, cast

from oarlock.actors.scheduler.devices.allocator import Unfit, allocate
from oarlock.actors.scheduler.devices.claimed import EXTENDED, FINALIZER, Claim, claim_of
from oarlock.actors.scheduler.devices.extended import Wanted
from oarlock.actors.scheduler.devices.matching import Unanswerable
from oarlock.actors.scheduler.devices.results import allocation
from oarlock.actors.scheduler.devices.wanting import Waits
from oarlock.actors.scheduler.facts import PodFacts
from oarlock.actors.scheduler.framework import Handle, StepDefaults, StepFailed
from oarlock.actors.scheduler.plugins.dynamic_resources import NAME, claimed
from oarlock.actors.scheduler.snapshot import Snapshot
from oarlock.cluster.client.errors import Unreachable
from oarlock.cluster.client.http import STRATEGIC_PATCH, ApiClient
from oarlock.cluster.objects.status import ApiError

Object = dict[str, Any]
BIND_TIMEOUT_S = 600.0
_CONFLICT = 409
_TRIES_MAX = 5
"""How often a claim that somebody else changes is read again."""
_PAUSE_S, _PAUSE_MAX_S = 0.1, 5.0
"""Between repetitions of a write whose outcome is unknown, doubling; the scheduler's lease ends them at the latest."""


@dataclass(frozen=True, slots=True)
class Reserved:
    """The pod's claims, and by key what those get that had nothing; `more` is the claim that is still to be made."""

    claims: tuple[Claim, ...]
    allocations: Mapping[str, Object]
    more: Wanted | None


class DynamicSteps(StepDefaults):
    """Handles what happens after the decision; `dynamic_resources` judges nodes."""

    name = NAME

    def __init__(self, timeout_s: float = BIND_TIMEOUT_S, clock: Callable[[], float] = time.time) -> None:
        self._timeout_s, self._clock = timeout_s, clock

    def reserve(self, pod: PodFacts, node: str, snapshot: Snapshot) -> object | None:
        devices, state = snapshot.devices, snapshot.nodes[node]
        try:
            found = claimed(pod, devices)
            if found is None:
                return None
            lacking, more = found.for_node(pod, state, devices)
            given = allocate(devices, lacking, node, state.labels) if lacking else []
        except (Waits, Unfit, Unanswerable) as error:
            raise StepFailed(f'running Reserve plugin "{NAME}": {error}') from None
        made = {
            claim.key: allocation(claim, some, devices.classes, node)
            for claim, some in zip(lacking, given, strict=True)
        }
        for claim in lacking:
            devices.assume(claim, made[claim.key])
        return Reserved(found.claims, made, more)

    def unreserve(self, pod: PodFacts, node: str, reserved: object, snapshot: Snapshot) -> None:  # noqa: ARG002
        for key in cast(Reserved, reserved).allocations:
            snapshot.devices.forget(key)

    async def pre_bind(self, pod: PodFacts, node: str, reserved: object, handle: Handle) -> None:
        kept = cast(Reserved, reserved)
        try:
            claims = [await self._write(pod, claim, kept, handle) for claim in kept.claims]
            if kept.more is not None:
                claims.append(await self._make(pod, kept.more, kept.allocations[kept.more.claim.key], handle))
            await self._ready(pod, node, claims, handle)
        except StepFailed as failure:
            raise StepFailed(f'running PreBind plugin "{NAME}": {failure}') from None

    async def _write(self, pod: PodFacts, claim: Claim, kept: Reserved, handle: Handle) -> Claim:
        """Have the claim say what it has and that the pod uses it."""
        if pod.uid in claim.reserved:
            return claim
        obj = await handle.client.get(_path(claim))
        written = await self._bound(pod, obj, claim, kept.allocations.get(claim.key), handle.client)
        return _learnt(written, handle, claim.key)

    async def _bound(self, pod: PodFacts, obj: Object, claim: Claim, made: Object | None, client: ApiClient) -> Object:
        key, path = claim.key, _path(claim)
        doing = ""
        for _ in range(_TRIES_MAX):
            if obj["metadata"].get("deletionTimestamp") or obj["metadata"]["uid"] != claim.uid:
                raise StepFailed(f"claim {key} got deleted in the meantime")
            status = obj.setdefault("status", {})
            present = status.get("allocation")
            if any(one["uid"] == pod.uid for one in status.get("reservedFor") or ()) and present is not None:
                # An earlier try has arrived although its answer has not.
                return obj
            if made is not None and present is not None:
                raise StepFailed(f"claim {key} got allocated elsewhere in the meantime")
            if made is None and present is None:
                raise StepFailed(f"claim {key} got deallocated in the meantime")
            try:
                if made is not None and FINALIZER not in (obj["metadata"].get("finalizers") or ()):
                    doing = f"add finalizer to claim {key}"
                    obj["metadata"].setdefault("finalizers", []).append(FINALIZER)
                    obj = await _settled(client, path, obj)
                    status = obj.setdefault("status", {})
                doing = f"add {'allocation and reservation' if made is not None else 'reservation'} to claim {key}"
                if made is not None:
                    stamp = datetime.fromtimestamp(self._clock(), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
                    status["allocation"] = {**made, "allocationTimestamp": stamp}
                mine = {"resource": "pods", "name": pod.name, "uid": pod.uid}
                status["reservedFor"] = [*(status.get("reservedFor") or ()), mine]
                return await _settled(client, f"{path}/status", obj)
            except ApiError as error:
                if error.code != _CONFLICT:
                    raise StepFailed(f"{doing}: {error.message}") from None
                obj = await client.get(path)
        raise StepFailed(f"{doing}: the claim doesn't cease to change")

    async def _make(self, pod: PodFacts, more: Wanted, made: Object, handle: Handle) -> Claim:
        """Make the claim for the pod's extended resources, and tell the pod of it."""
        owner = {"apiVersion": "v1", "kind": "Pod", "name": pod.name, "uid": pod.uid, "controller": True}
        obj: Object = {
            "apiVersion": "resource.k8s.io/v1",
            "kind": "ResourceClaim",
            "metadata": {
                "namespace": pod.namespace,
                "generateName": f"{pod.name}-extended-resources-",
                "ownerReferences": [owner],
                "annotations": {EXTENDED: "true"},
            },
            "spec": {"devices": {"requests": list(more.requests)}},
        }
        try:
            obj = await handle.client.create(_CLAIMS.format(pod.namespace), obj)
        except ApiError as error:
            raise StepFailed(f"create claim for extended resources {pod.namespace}/: {error.message}") from None
        written = await self._bound(pod, obj, claim_of(obj), made, handle.client)
        claim = _learnt(written, handle, more.claim.key)
        told = {"requestMappings": list(more.mappings), "resourceClaimName": claim.name}
        change = {"metadata": {"uid": pod.uid}, "status": {"extendedResourceClaimStatus": told}}
        path = f"/api/v1/namespaces/{pod.namespace}/pods/{pod.name}/status"
        await handle.client.patch(path, change, STRATEGIC_PATCH)
        return claim

    async def _ready(self, pod: PodFacts, node: str, claims: list[Claim], handle: Handle) -> None:
        """Wait until drivers have made ready what must be."""
        devices = handle.snapshot.devices
        waiting = [claim.key for claim in claims if not claim.ready or claim.failures]
        if not waiting:
            return
        message = f"waiting for binding conditions for device on node {node}"
        handle.tell(pod, "BindingConditionsPending", message)
        try:
            async with asyncio.timeout(self._timeout_s):
                while waiting:
                    waiting = [key for key in waiting if not _is_ready(devices.claim(key), key)]
                    if waiting:
                        await handle.changed()
        except TimeoutError:
            devices.late.update(claim.uid for claim in claims if claim.key in waiting)
            raise StepFailed("device binding timeout") from None


def _is_ready(claim: Claim | None, key: str) -> bool:
    if claim is None:
        raise StepFailed(f'could not find ResourceClaim "{key}"')
    if claim.failures:
        raise StepFailed(claim.failures[0])
    return claim.ready


def _learnt(obj: Object, handle: Handle, assumed: str) -> Claim:
    """Take over what the API server has answered: it holds from now on, in place of what was assumed."""
    claim, devices = claim_of(obj), handle.snapshot.devices
    devices.put_claim(claim.key, claim)
    devices.forget(assumed, written=True)
    return claim


_CLAIMS = "/apis/resource.k8s.io/v1/namespaces/{}/resourceclaims"


def _path(claim: Claim) -> str:
    return f"{_CLAIMS.format(claim.namespace)}/{claim.name}"


async def _settled(client: ApiClient, path: str, obj: Object) -> Object:
    """Replace the object, again and again until it is known whether that happened.

    The object carries its revision, so the write happens once at most, and not after a later answer. Raises ApiError.
    """
    pause_s = _PAUSE_S
    while True:
        try:
            return await client.update(path, obj)
        except Unreachable:
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _PAUSE_MAX_S)
