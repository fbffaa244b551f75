"""Starting and stopping one pod's containers: image, configuration, process, hooks, and the Events of each step."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from oarlock.cluster.client.cache import Cache
from oarlock.cluster.client.events import Recorder
from oarlock.cluster.kubelet import environment, metrics, podspec, probes, references, servicelinks, volumes
from oarlock.cluster.kubelet.backoff import Backoff
from oarlock.cluster.kubelet.downward import Addresses
from oarlock.cluster.kubelet.podspec import Container, Pod
from oarlock.cluster.kubelet.probes import ProbeFailure, Target
from oarlock.cluster.kubelet.references import References
from oarlock.cluster.kubelet.runtime import (
    ConfigFailure,
    ContainerConfig,
    ContainerStatus,
    ImageFailure,
    Mount,
    Runtime,
    RuntimeFailure,
    Sandbox,
    State,
)
from oarlock.cluster.kubelet.status import Waiting

log = logging.getLogger(__name__)

RUNS_KEPT = 2
GRACE_MIN_S = 2.0
HOOK_TIMEOUT_S = 120.0
SERVICES_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Tools:
    """What every pod of a node shares. `starting` bounds how many containers start at once.

    `services` is None on simulated nodes, where nothing reads its environment.
    """

    runtime: Runtime
    recorder: Recorder
    starting: asyncio.Semaphore
    services: Cache | None = None
    clock: Callable[[], float] = time.time


class Containers:
    """One pod's containers. `waiting` says why a container that should run does not, by name."""

    def __init__(self, pod: Pod, tools: Tools, refs: References) -> None:
        self._tools = tools
        self._references = refs
        self._uid = pod["metadata"]["uid"]
        self._restarts = Backoff(tools.clock)
        self._images = Backoff(tools.clock)
        self._image_failed_at: dict[str, float] = {}
        self.waiting: dict[str, Waiting] = {}

    def runs(self) -> list[ContainerStatus]:
        return self._tools.runtime.list_containers(self._uid)

    async def volumes(self, pod: Pod, sandbox: Sandbox, addresses: Addresses) -> dict[str, str]:
        """Make the pod's volumes and return their paths by name. Raises ConfigFailure."""
        await self._references.read(references.of_volumes(pod["spec"]))
        return volumes.prepare(pod, sandbox.folder / "volumes", self._references, addresses)

    async def ensure(
        self, pod: Pod, container: Container, sandbox: Sandbox, paths: Mapping[str, str], addresses: Addresses
    ) -> float | None:
        """Start the container if it does not run and should.

        Returns None when there is nothing left to do, else the seconds after which to try again.
        """
        name = container["name"]
        run = podspec.latest(self.runs()).get(name)
        if run is not None and run.state is State.RUNNING:
            self.waiting.pop(name, None)
            return None
        if run is not None and run.state is State.CREATED:
            # An agent ended between creating and starting it: nothing of it ever ran.
            await self._tools.runtime.remove_container(run.id)
            run = podspec.latest(self.runs()).get(name)
        if run is not None and not podspec.should_restart(pod, container, run):
            self.waiting.pop(name, None)
            return None
        delay_s = self._restart_delay(pod, container, run)
        if delay_s > 0:
            return delay_s
        return await self._start(pod, container, run, sandbox, paths, addresses)

    async def stop(self, pod: Pod, run: ContainerStatus, grace_s: float, message: str) -> None:
        """Run the preStop hook and end the container within `grace_s` altogether."""
        container = _spec_of(pod, run.name)
        if run.state is not State.RUNNING:
            return
        self._event(pod, container, "Normal", "Killing", message)
        started_s = self._tools.clock()
        hook = ((container or {}).get("lifecycle") or {}).get("preStop")
        if hook and container and grace_s > 0:
            await self._hook(pod, container, run.id, hook, "PreStop", grace_s)
            grace_s = max(GRACE_MIN_S, grace_s - (self._tools.clock() - started_s))
        try:
            await self._tools.runtime.stop_container(run.id, grace_s)
        except RuntimeFailure as failure:
            self._event(pod, container, "Warning", "FailedKillPod", f"error killing pod: {failure}")

    def _restart_delay(self, pod: Pod, container: Container, run: ContainerStatus | None) -> float:
        if run is None:
            return 0.0
        name = container["name"]
        delay_s = self._restarts.remaining_s(name, run.finished_ns / 1e9)
        if delay_s > 0:
            full = podspec.full_name(pod)
            wait_s = int(self._restarts.delay_s(name))
            words = f"{wait_s // 60}m{wait_s % 60}s" if wait_s >= 60 else f"{wait_s}s"
            message = f"back-off {words} restarting failed container={name} pod={full}"
            if self._set_waiting(name, Waiting("CrashLoopBackOff", message)):
                words = f"Back-off restarting failed container {name} in pod {full}"
                self._event(pod, container, "Warning", "BackOff", words)
        return delay_s

    async def _start(
        self,
        pod: Pod,
        container: Container,
        run: ContainerStatus | None,
        sandbox: Sandbox,
        paths: Mapping[str, str],
        addresses: Addresses,
    ) -> float | None:
        name, runtime = container["name"], self._tools.runtime
        retry_s = await self._pull(pod, container)
        if retry_s is not None:
            return retry_s
        if run is not None:
            self._restarts.attempt(name)
            metrics.RESTARTS_TOTAL.inc()
        async with self._tools.starting:
            begun_s = time.perf_counter()
            try:
                config = await self._config(pod, container, run, sandbox, paths, addresses)
                container_id = await runtime.create_container(self._uid, config)
            except ConfigFailure as failure:
                self._set_waiting(name, Waiting("CreateContainerConfigError", str(failure)))
                self._event(pod, container, "Warning", "Failed", f"Error: {failure}")
                return 10.0
            self._event(pod, container, "Normal", "Created", "Container created")
            try:
                await runtime.start_container(container_id)
            except RuntimeFailure as failure:
                self._event(pod, container, "Warning", "Failed", f"Error: {failure}")
                self.waiting.pop(name, None)
                return 0.0
            metrics.START_DURATION.observe(time.perf_counter() - begun_s)
        self._event(pod, container, "Normal", "Started", "Container started")
        self.waiting.pop(name, None)
        await self._forget_old_runs(name)
        hook = (container.get("lifecycle") or {}).get("postStart")
        if hook and not await self._hook(pod, container, container_id, hook, "PostStart", HOOK_TIMEOUT_S):
            started = podspec.latest(self.runs())[name]
            await self.stop(pod, started, GRACE_MIN_S, "FailedPostStartHook")
        return None

    async def _pull(self, pod: Pod, container: Container) -> float | None:
        """Have the image. Returns None when it is there, else the seconds after which to try again."""
        name, image = container["name"], container.get("image", "")
        remaining_s = self._images.remaining_s(image, self._image_failed_at.get(image, 0.0))
        if remaining_s > 0:
            reason = f'Back-off pulling image "{image}"'
            if self._set_waiting(name, Waiting("ImagePullBackOff", f"{reason}: {self._pull_message(name)}")):
                self._event(pod, container, "Normal", "BackOff", reason)
                self._event(pod, container, "Warning", "Failed", "Error: ImagePullBackOff")
            return remaining_s
        try:
            await self._tools.runtime.pull_image(image)
        except ImageFailure as failure:
            self._image_failed_at[image] = self._tools.clock()
            self._images.attempt(image)
            self.waiting[name] = Waiting(failure.reason, str(failure))
            self._event(pod, container, "Warning", "Failed", f'Failed to pull image "{image}": {failure}')
            self._event(pod, container, "Warning", "Failed", f"Error: {failure.reason}")
            # Long enough for the first reason to be seen in the status before the back-off replaces it.
            return 1.0
        self._event(pod, container, "Normal", "Pulled", f'Container image "{image}" already present on machine')
        return None

    def _pull_message(self, name: str) -> str:
        known = self.waiting.get(name)
        return known.message.partition(": ErrImagePull: ")[2] or f"ErrImagePull: {known.message}" if known else ""

    async def _config(
        self,
        pod: Pod,
        container: Container,
        run: ContainerStatus | None,
        sandbox: Sandbox,
        paths: Mapping[str, str],
        addresses: Addresses,
    ) -> ContainerConfig:
        await self._references.read(references.of_environment(container))
        links = servicelinks.variables(await self._services(), pod)
        variables = environment.build(pod, container, self._references, addresses, links)
        attempt = run.attempt + 1 if run else 0
        mounts = []
        for mount in container.get("volumeMounts") or []:
            host_path = paths[mount["name"]]
            inner = mount.get("subPath") or environment.expand(mount.get("subPathExpr") or "", variables)
            host_path = f"{host_path}/{inner}" if inner else host_path
            mounts.append(Mount(mount["name"], host_path, mount["mountPath"], bool(mount.get("readOnly"))))
        return ContainerConfig(
            name=container["name"],
            attempt=attempt,
            image=container.get("image", ""),
            command=environment.expand_all(container.get("command"), variables),
            args=environment.expand_all(container.get("args"), variables),
            environment=variables,
            working_dir=container.get("workingDir") or "",
            log_path=str(sandbox.folder / "logs" / container["name"] / f"{attempt}.log"),
            mounts=mounts,
            memory_bytes=podspec.memory_limit_bytes(container),
            nice=podspec.nice(container),
            restarts_key=podspec.fingerprint(container),
            stdin=bool(container.get("stdin")),
            stdin_once=bool(container.get("stdinOnce")),
            tty=bool(container.get("tty")),
        )

    async def _services(self) -> Iterable[Mapping[str, Any]]:
        """Return all Services, once they were read. Raises ConfigFailure where they can't be."""
        services = self._tools.services
        if services is None:
            return ()
        try:
            async with asyncio.timeout(SERVICES_TIMEOUT_S):
                await services.synced.wait()
        except TimeoutError:
            message = "services have not yet been read at least once, cannot construct envvars"
            raise ConfigFailure(message) from None
        return services

    async def _hook(
        self, pod: Pod, container: Container, container_id: str, hook: Mapping[str, object], kind: str, timeout_s: float
    ) -> bool:
        """Run a lifecycle hook and tell whether it passed."""
        if "sleep" in hook:
            await asyncio.sleep(min(timeout_s, float(hook["sleep"].get("seconds") or 0)))  # type: ignore[attr-defined]
            return True
        sandboxes = self._tools.runtime.list_pod_sandboxes()
        address = next((one.config.ip for one in sandboxes if one.config.uid == self._uid), "127.0.0.1")
        target = Target(container_id, container, address)
        try:
            await probes.attempt({**hook, "timeoutSeconds": timeout_s}, target, self._tools.runtime)
        except ProbeFailure as failure:
            self._event(pod, container, "Warning", f"Failed{kind}Hook", f"{kind}Hook failed: {failure}")
            return False
        return True

    async def _forget_old_runs(self, name: str) -> None:
        runs = sorted((run for run in self.runs() if run.name == name), key=lambda run: run.attempt)
        for run in runs[:-RUNS_KEPT]:
            await self._tools.runtime.remove_container(run.id)

    def _set_waiting(self, name: str, waiting: Waiting) -> bool:
        """Note why the container waits and tell whether its reason is new."""
        known = self.waiting.get(name)
        self.waiting[name] = waiting
        return known is None or known.reason != waiting.reason

    def _event(self, pod: Pod, container: Container | None, kind: str, reason: str, message: str) -> None:
        self._tools.recorder.record(reference(pod, container), kind, reason, message)


def reference(pod: Pod, container: Container | None = None) -> dict[str, str]:
    """Return the ObjectReference of a pod or one of its containers."""
    metadata = pod["metadata"]
    found = {
        "apiVersion": "v1",
        "kind": "Pod",
        "namespace": metadata["namespace"],
        "name": metadata["name"],
        "uid": metadata["uid"],
        "resourceVersion": metadata.get("resourceVersion", ""),
    }
    if container is not None:
        field = "initContainers" if any(container is one for one in podspec.init_containers(pod)) else "containers"
        found["fieldPath"] = f"spec.{field}{{{container['name']}}}"
    return found


def _spec_of(pod: Pod, name: str) -> Container | None:
    for container in [*podspec.init_containers(pod), *podspec.main_containers(pod)]:
        if container["name"] == name:
            return container
    return None
