"""One pod on its node: a task that brings what runs to what the pod says, and the pod's status to what runs."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from oarlock.cluster.client import Unreachable
from oarlock.cluster.client.http import STRATEGIC_PATCH, ApiClient
from oarlock.cluster.kubelet import metrics, podspec, status, timestamps
from oarlock.cluster.kubelet.containers import GRACE_MIN_S, Containers, Tools, reference
from oarlock.cluster.kubelet.downward import Addresses
from oarlock.cluster.kubelet.podspec import Container, Pod
from oarlock.cluster.kubelet.probes import Prober, Target
from oarlock.cluster.kubelet.references import References
from oarlock.cluster.kubelet.runtime import (
    ConfigFailure,
    ContainerStatus,
    NetworkNotReady,
    RuntimeFailure,
    Sandbox,
    SandboxConfig,
    State,
)
from oarlock.cluster.kubelet.status import View
from oarlock.cluster.objects.status import ApiError

log = logging.getLogger(__name__)

RETRY_FIRST_S = 0.2
RETRY_MAX_S = 10.0
VOLUME_RETRY_S = 2.0
SOON_S = 0.05


@dataclass(frozen=True, slots=True)
class Place:
    """Where the pod runs. `take_ip` gives out a pod address and `free_ip` takes it back, by pod uid."""

    node_ip: str
    allocatable: dict[str, str]
    take_ip: Callable[[str], str]
    free_ip: Callable[[str], None]


@dataclass(slots=True)
class Ending:
    """The containers being stopped, within `grace_s` of seconds."""

    grace_s: float
    stopping: asyncio.Task[None]


class PodWorker:
    """Runs until the pod is gone from node and API; `finished` is called then.

    Told of news by `update` (from the API) and `wake` (from the runtime or a probe). Every pass looks at everything
    anew, so missed or repeated news do no harm.
    """

    def __init__(
        self, pod: Pod, client: ApiClient, tools: Tools, place: Place, finished: Callable[[str], None]
    ) -> None:
        self._pod = pod
        self._client, self._tools, self._place, self._finished = client, tools, place, finished
        self.uid: str = pod["metadata"]["uid"]
        self._containers = Containers(pod, tools, References(client, pod["metadata"]["namespace"]))
        self._probers: dict[str, tuple[str, Prober]] = {}
        self._must_restart: dict[str, str] = {}
        self._ending: Ending | None = None
        self._failure: tuple[str, str] | None = None
        self._gone = False
        self._sandbox = next((s for s in tools.runtime.list_pod_sandboxes() if s.config.uid == self.uid), None)
        self._paths: dict[str, str] = {}
        self._patched_revision = 0
        self._reported: dict[str, Any] = dict(pod.get("status") or {})
        self._retry_s = RETRY_FIRST_S
        self._wake = asyncio.Event()
        self._wake.set()
        self._seen_s = time.perf_counter()
        self._counted = "containerStatuses" in self._reported
        self._task = asyncio.get_running_loop().create_task(self._run())

    @property
    def pod(self) -> Pod:
        return self._pod

    def update(self, pod: Pod) -> None:
        """Take the pod's newest version from the API."""
        self._pod = pod
        if int(pod["metadata"].get("resourceVersion") or 0) >= self._patched_revision:
            # An event from before our own last patch must not bring the status of then back.
            self._reported = dict(pod.get("status") or {})
        self._wake.set()

    def remove(self) -> None:
        """The pod is gone from the API: end it, whatever its state."""
        self._gone = True
        self._wake.set()

    def wake(self) -> None:
        self._wake.set()

    async def stop(self) -> None:
        """Let go of the pod; its containers keep running."""
        tasks = [self._task, *([self._ending.stopping] if self._ending else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._stop_probers()

    async def _run(self) -> None:
        while True:
            self._wake.clear()
            try:
                delay_s = await self._pass()
                self._retry_s = RETRY_FIRST_S
            except (Unreachable, ApiError, RuntimeFailure, OSError) as error:
                log.info("pod=%s retry_s=%.1f error=%r", podspec.full_name(self._pod), self._retry_s, str(error))
                delay_s = self._next_retry()
            except Exception:
                log.exception("pod=%s retry_s=%.1f", podspec.full_name(self._pod), self._retry_s)
                delay_s = self._next_retry()
            if delay_s is not None and delay_s < 0:
                self._finished(self.uid)
                return
            try:
                async with asyncio.timeout(delay_s):
                    await self._wake.wait()
            except TimeoutError:
                continue

    def _next_retry(self) -> float:
        metrics.PASS_ERRORS_TOTAL.inc()
        delay_s, self._retry_s = self._retry_s, min(RETRY_MAX_S, self._retry_s * 2)
        return delay_s

    async def _pass(self) -> float | None:
        """Do what is to be done now. Returns when to look again, None for "when told", below 0 for "never"."""
        if self._gone or self._pod["metadata"].get("deletionTimestamp"):
            return await self._terminate()
        if self._reported.get("phase") in ("Succeeded", "Failed"):
            await self._stop_all("Stopping container {}", podspec.grace_s(self._pod))
            self._stop_probers()
            return None
        delay_s = await self._advance()
        await self._report()
        if self._reported.get("phase") in ("Succeeded", "Failed"):
            self._wake.set()
        return delay_s

    async def _advance(self) -> float | None:
        """Start, restart and probe containers as the spec wants."""
        pod = self._pod
        deadline_s = self._deadline_s()
        if deadline_s is not None and deadline_s <= 0:
            self._failure = ("DeadlineExceeded", "Pod was active on the node longer than the specified deadline")
            self._tools.recorder.record(reference(pod), "Normal", *self._failure)
            await self._stop_all("Stopping container {}", podspec.grace_s(self._pod))
            return None
        try:
            config = self._sandbox_config()
        except NetworkNotReady as failure:
            words = f"network is not ready: {failure}"
            self._tools.recorder.record(reference(pod), "Warning", "NetworkNotReady", words)
            raise
        await self._leave_address(config.ip)
        sandbox = self._sandbox = await self._tools.runtime.run_pod_sandbox(config)
        addresses = self._addresses(sandbox)
        if not self._reported.get("podIP"):
            await self._report()
        try:
            paths = self._paths = self._paths or await self._containers.volumes(pod, sandbox, addresses)
        except (ConfigFailure, OSError) as failure:
            message = f"MountVolume.SetUp failed: {failure}"
            self._tools.recorder.record(reference(pod), "Warning", "FailedMount", message)
            return VOLUME_RETRY_S
        await self._restart_unhealthy()
        delays = [deadline_s]
        for container in self._wanted():
            delay_s = await self._containers.ensure(pod, container, sandbox, paths, addresses)
            delays.append(delay_s)
            self._follow(container, sandbox)
        await self._end_sidecars()
        return min((delay_s for delay_s in delays if delay_s is not None), default=None)

    async def _leave_address(self, ip: str) -> None:
        """End the containers of a pod that has another address now: they listen on one that is no longer its own."""
        if self._sandbox is not None and self._sandbox.config.ip != ip:
            words = "Pod sandbox changed, it will be killed and re-created."
            self._tools.recorder.record(reference(self._pod), "Normal", "SandboxChanged", words)
            await self._stop_all("Stopping container {}", podspec.grace_s(self._pod))

    def _wanted(self) -> list[Container]:
        """Return the containers that may run now: init containers up to the first unfinished one, or all others."""
        pod = self._pod
        runs = podspec.latest(self._containers.runs())
        if podspec.initialized(pod, runs) and self._sidecars_started(runs):
            return [*self._live_sidecars(runs), *podspec.main_containers(pod)]
        wanted: list[Container] = []
        for container in podspec.init_containers(pod):
            run = runs.get(container["name"])
            if podspec.is_sidecar(container):
                wanted.append(container)
                if not self._has_started(container):
                    return wanted
            elif run is None or run.state is not State.EXITED or run.exit_code != 0:
                return [*wanted, container]
        return [*wanted, *podspec.main_containers(pod)]

    def _live_sidecars(self, runs: dict[str, ContainerStatus]) -> list[Container]:
        """Sidecars are restarted only while a main container runs or is still to run."""
        return [] if self._mains_done(runs) else podspec.sidecars(self._pod)

    def _sidecars_started(self, runs: dict[str, ContainerStatus]) -> bool:
        begun = any(container["name"] in runs for container in podspec.main_containers(self._pod))
        return begun or all(self._has_started(container) for container in podspec.sidecars(self._pod))

    def _has_started(self, container: Container) -> bool:
        known = self._probers.get(container["name"])
        return known is not None and known[1].started

    def _mains_done(self, runs: dict[str, ContainerStatus]) -> bool:
        for container in podspec.main_containers(self._pod):
            run = runs.get(container["name"])
            if run is None or run.state is not State.EXITED or podspec.should_restart(self._pod, container, run):
                return False
        return True

    async def _end_sidecars(self) -> None:
        runs = podspec.latest(self._containers.runs())
        if not self._mains_done(runs):
            return
        for container in reversed(podspec.sidecars(self._pod)):
            run = runs.get(container["name"])
            if run is not None:
                await self._containers.stop(
                    self._pod, run, podspec.grace_s(self._pod), f"Stopping container {run.name}"
                )

    def _follow(self, container: Container, sandbox: Sandbox) -> None:
        """Have a prober for exactly the present run of the container."""
        name = container["name"]
        run = podspec.latest(self._containers.runs()).get(name)
        known = self._probers.get(name)
        if known is not None and (run is None or run.state is not State.RUNNING or known[0] != run.id):
            known[1].stop()
            del self._probers[name]
        if run is None or run.state is not State.RUNNING or name in self._probers:
            return
        before = self._reported_container(run)
        prober = Prober(
            Target(run.id, container, sandbox.config.ip),
            self._tools.runtime,
            changed=self.wake,
            unhealthy=lambda kind, message: self._unhealthy(container, kind, message),
            failed=lambda kind, failed_name: self._probe_failed(container, kind, failed_name),
            was_started=bool(before.get("started")),
            was_ready=bool(before.get("ready")),
        )
        self._probers[name] = (run.id, prober)
        if prober.started and podspec.is_sidecar(container):
            self._wake.set()

    def _unhealthy(self, container: Container, kind: str, message: str) -> None:
        on = reference(self._pod, container)
        self._tools.recorder.record(on, "Warning", "Unhealthy", f"{kind} probe failed: {message}")

    def _probe_failed(self, container: Container, kind: str, name: str) -> None:
        on = reference(self._pod, container)
        message = f"Container {name} failed {kind} probe, will be restarted"
        self._tools.recorder.record(on, "Normal", "Killing", message)
        self._must_restart[name] = kind
        self._wake.set()

    async def _restart_unhealthy(self) -> None:
        runs = podspec.latest(self._containers.runs())
        for name, kind in list(self._must_restart.items()):
            del self._must_restart[name]
            if name in runs:
                grace_s = podspec.probe_grace_s(self._pod, name, kind)
                await self._containers.stop(self._pod, runs[name], grace_s, f"Stopping container {name}")

    async def _terminate(self) -> float | None:
        """End the containers; once they have ended say so, remove all traces from the node, then the pod from the API.

        Until then readiness goes on being probed and told, so that whoever has no other endpoint knows whether this one
        still serves. Source: the kubelet's SyncTerminatingPod; KEP-1669.
        """
        ending = self._end_containers()
        if ending is not self._ending:
            self._ending = ending
            await asyncio.wait([ending.stopping], timeout=SOON_S)  # what ends at once is told of once
        if not ending.stopping.done():
            if any(run.state is State.RUNNING for run in self._containers.runs()):
                await self._report()
            return None
        if ending.stopping.exception() is not None:
            self._ending = None
        ending.stopping.result()
        self._stop_probers()
        if not self._gone:
            await self._report(ending=True)
            await self._delete()
        await self._tools.runtime.remove_pod_sandbox(self.uid)
        self._place.free_ip(self.uid)
        return -1.0

    def _end_containers(self) -> Ending:
        """Return how the containers are being stopped; a shorter grace than before begins anew with it."""
        grace_s = GRACE_MIN_S if self._gone else float(self._pod["metadata"].get("deletionGracePeriodSeconds") or 0)
        known = self._ending
        if known is not None:
            if known.stopping.done() or known.grace_s <= grace_s:
                return known
            known.stopping.cancel()
        if self._sandbox is not None:
            for container in [*podspec.sidecars(self._pod), *podspec.main_containers(self._pod)]:
                self._follow(container, self._sandbox)
        for _, prober in self._probers.values():
            prober.judge_readiness_only()
        stopping = asyncio.get_running_loop().create_task(self._stop_all("Stopping container {}", grace_s))
        stopping.add_done_callback(lambda _: self._wake.set())
        return Ending(grace_s, stopping)

    async def _delete(self) -> None:
        metadata = self._pod["metadata"]
        try:
            await self._client.delete(
                f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}",
                {"gracePeriodSeconds": 0, "preconditions": {"uid": self.uid}},
            )
        except ApiError as error:
            # Gone, or another pod of the same name by now: either way this one is no more.
            if error.code not in (404, 409):
                raise

    async def _stop_all(self, message: str, grace_s: float) -> None:
        """Stop main containers together, then sidecars, last started first."""
        runs = podspec.latest(self._containers.runs())
        names = {container["name"] for container in podspec.sidecars(self._pod)}
        stop = self._containers.stop
        await asyncio.gather(
            *(stop(self._pod, run, grace_s, message.format(name)) for name, run in runs.items() if name not in names)
        )
        for container in reversed(podspec.sidecars(self._pod)):
            name = container["name"]
            if name in runs:
                await stop(self._pod, runs[name], grace_s, message.format(name))

    async def _report(self, *, ending: bool = False) -> None:
        """Patch what of the status is news; nothing is sent when nothing changed."""
        if self._gone:
            return
        view = self._view(ending=ending)
        made = status.build({**self._pod, "status": self._reported}, view, self._tools.clock())
        patch = status.difference(self._reported, made)
        if not patch:
            return
        metadata = self._pod["metadata"]
        try:
            answer = await self._client.patch(
                f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}/status",
                {"metadata": {"uid": self.uid}, "status": patch},
                STRATEGIC_PATCH,
            )
        except ApiError as error:
            if error.code not in (404, 409):
                raise
            return
        self._patched_revision = int(answer["metadata"].get("resourceVersion") or 0)
        self._reported = dict(answer.get("status") or {**self._reported, **made})
        if made["phase"] == "Running" and not self._counted:
            self._counted = True
            metrics.POD_START_DURATION.observe(time.perf_counter() - self._seen_s)

    def _view(self, *, ending: bool) -> View:
        return View(
            runs=self._containers.runs(),
            scheme=self._tools.runtime.scheme,
            waiting=dict(self._containers.waiting),
            ready={name: prober.is_ready and not ending for name, (_, prober) in self._probers.items()},
            started={name: prober.started for name, (_, prober) in self._probers.items()},
            pod_ip=self._sandbox.config.ip if self._sandbox else "",
            host_ip=self._place.node_ip,
            failure=self._failure,
            ending=ending,
        )

    def _sandbox_config(self) -> SandboxConfig:
        metadata, spec = self._pod["metadata"], self._pod["spec"]
        host_network = bool(spec.get("hostNetwork"))
        return SandboxConfig(
            uid=self.uid,
            namespace=metadata["namespace"],
            name=metadata["name"],
            ip=self._place.node_ip if host_network else self._place.take_ip(self.uid),
            host_network=host_network,
            annotations=metadata.get("annotations") or {},
        )

    def _addresses(self, sandbox: Sandbox) -> Addresses:
        return Addresses(sandbox.config.ip, self._place.node_ip, self._place.allocatable)

    def _reported_container(self, run: ContainerStatus) -> dict[str, Any]:
        container_id = f"{self._tools.runtime.scheme}://{run.id}"
        for field in ("containerStatuses", "initContainerStatuses"):
            for reported in self._reported.get(field) or []:
                if reported.get("containerID") == container_id:
                    return dict(reported)
        return {}

    def _deadline_s(self) -> float | None:
        """Return how long the pod may still be active; None for as long as it likes."""
        limit_s = self._pod["spec"].get("activeDeadlineSeconds")
        since = self._reported.get("startTime")
        if limit_s is None or since is None:
            return None
        return timestamps.parse(since) + float(limit_s) - self._tools.clock()

    def _stop_probers(self) -> None:
        for _, prober in self._probers.values():
            prober.stop()
        self._probers.clear()
