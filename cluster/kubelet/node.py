"""The Node object of one node: registration, status and the lease that says it is alive."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from typing import Any

from oarlock.cluster.client import Unreachable
from oarlock.cluster.client.http import STRATEGIC_PATCH, ApiClient
from oarlock.cluster.kubelet import machine, timestamps
from oarlock.cluster.kubelet.network.state import NetworkState
from oarlock.cluster.kubelet.settings import AgentSettings
from oarlock.cluster.objects.status import ApiError

log = logging.getLogger(__name__)

LEASE_NAMESPACE = "kube-node-lease"
RETRY_S = 1.0
PRESSURES = (
    ("MemoryPressure", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
    ("DiskPressure", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
    ("PIDPressure", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
)
READY = ("Ready", "True", "KubeletReady", "kubelet is posting ready status")


class NodeReporter:
    """Keeps one node registered and its lease fresh, until cancelled. `port` is where the node's own server listens.

    `pod_cidr` is the range that the Node comes with, "" if it is given one. `network` says how the network is, where
    that is more than a matter of course.
    """

    def __init__(
        self,
        name: str,
        settings: AgentSettings,
        client: ApiClient,
        *,
        port: int,
        runtime_version: str,
        pod_cidr: str,
        clock: Callable[[], float] = time.time,
        network: Callable[[], NetworkState] | None = None,
    ) -> None:
        self._name, self._settings, self._client, self._clock = name, settings, client, clock
        self._port, self._runtime_version, self._pod_cidr = port, runtime_version, pod_cidr
        self._network = network
        self._news = asyncio.Event()
        self._lease: dict[str, Any] | None = None
        self._uid = ""
        self.registered = asyncio.Event()

    async def run(self) -> None:
        """Register, then renew; never raises for what the API answers."""
        status_due_s = 0.0
        while True:
            try:
                if self._news.is_set() or time.monotonic() >= status_due_s:
                    self._news.clear()
                    await self._report()
                    status_due_s = time.monotonic() + self._settings.heartbeat.status_interval_s
                async with asyncio.timeout(self._settings.heartbeat.lease_duration_s / 2):
                    await self._renew()
                pause_s = self._settings.heartbeat.lease_interval_s
            except (ApiError, Unreachable, TimeoutError) as error:
                log.info("node=%s retry_s=%.0f error=%r", self._name, RETRY_S, str(error))
                self._lease, status_due_s, pause_s = None, 0.0, RETRY_S
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._news.wait()

    def report_soon(self) -> None:
        """Tell the status anew: something of it has changed."""
        self._news.set()

    async def _report(self) -> None:
        """Make the Node if it is not there, and bring its status up to date."""
        path = f"/api/v1/nodes/{self._name}"
        try:
            node = await self._client.get(path)
        except ApiError as error:
            if error.code != 404:
                raise
            node = await self._client.create("/api/v1/nodes", self._node())
        self._uid = node["metadata"]["uid"]
        missing = {k: v for k, v in self._labels().items() if (node["metadata"].get("labels") or {}).get(k) != v}
        if missing:
            await self._client.patch(path, {"metadata": {"labels": missing}}, STRATEGIC_PATCH)
        before = {c["type"]: c for c in (node.get("status") or {}).get("conditions") or []}
        await self._client.patch(path + "/status", {"status": self._status(before)}, STRATEGIC_PATCH)
        self.registered.set()

    async def _renew(self) -> None:
        path = f"/apis/coordination.k8s.io/v1/namespaces/{LEASE_NAMESPACE}/leases"
        spec = {
            "holderIdentity": self._name,
            "leaseDurationSeconds": self._settings.heartbeat.lease_duration_s,
            "renewTime": timestamps.micros(self._clock()),
        }
        if self._lease is None:
            self._lease = await self._find_lease(path)
        if self._lease is None:
            self._lease = await self._client.create(path, self._new_lease(spec))
            return
        self._lease = await self._client.update(f"{path}/{self._name}", {**self._lease, "spec": spec})

    async def _find_lease(self, path: str) -> dict[str, Any] | None:
        try:
            return await self._client.get(f"{path}/{self._name}")
        except ApiError as error:
            if error.code != 404:
                raise
            return None

    def _new_lease(self, spec: dict[str, Any]) -> dict[str, Any]:
        owner = {"apiVersion": "v1", "kind": "Node", "name": self._name, "uid": self._uid}
        return {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": self._name, "namespace": LEASE_NAMESPACE, "ownerReferences": [owner]},
            "spec": spec,
        }

    def _node(self) -> dict[str, Any]:
        return {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": self._name, "labels": self._labels()},
            "spec": {"podCIDR": self._pod_cidr, "podCIDRs": [self._pod_cidr]} if self._pod_cidr else {},
        }

    def _labels(self) -> dict[str, str]:
        return {
            "kubernetes.io/hostname": self._name,
            "kubernetes.io/os": "linux",
            "kubernetes.io/arch": machine.architecture(),
            "beta.kubernetes.io/os": "linux",
            "beta.kubernetes.io/arch": machine.architecture(),
            "oarlock.dev/runtime": self._settings.runtime,
            **self._settings.labels,
        }

    def _status(self, before: dict[str, Any]) -> dict[str, Any]:
        capacity = machine.capacity(self._settings.root, self._settings.pods_max)
        now = timestamps.seconds(self._clock())
        verdicts = [(kind, "False", reason, message) for kind, reason, message in PRESSURES]
        verdicts += _network_verdicts(self._network()) if self._network is not None else [READY]
        return {
            "capacity": capacity,
            "allocatable": capacity,
            "conditions": [_condition(before.get(verdict[0]), verdict, now) for verdict in verdicts],
            "addresses": [
                {"type": "InternalIP", "address": self._settings.internal_ip},
                {"type": "Hostname", "address": self._name},
            ],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": self._port}},
            "nodeInfo": machine.node_info(self._runtime_version),
        }


def _network_verdicts(state: NetworkState) -> list[tuple[str, str, str, str]]:
    """Return whether the node's pods can be reached, and so whether it is ready.

    Source: the words of the kubelet and of upstream's route controller.
    """
    if state.is_ready:
        return [("NetworkUnavailable", "False", "RouteCreated", "pods of this node have their routes"), READY]
    plugin = f"NetworkReady=false reason:{state.reason} message:{state.message}"
    unready = ("Ready", "False", "KubeletNotReady", f"container runtime network not ready: {plugin}")
    return [("NetworkUnavailable", "True", state.reason, state.message), unready]


def _condition(before: dict[str, Any] | None, verdict: tuple[str, str, str, str], now: str) -> dict[str, Any]:
    kind, truth, reason, message = verdict
    since = before["lastTransitionTime"] if before and before.get("status") == truth else now
    return {
        "type": kind,
        "status": truth,
        "reason": reason,
        "message": message,
        "lastHeartbeatTime": now,
        "lastTransitionTime": since,
    }
