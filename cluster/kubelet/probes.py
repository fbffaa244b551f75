"""Probes: one task for each of a running container's probes, and what they have found so far.

Source: Kubernetes "Configure Liveness, Readiness and Startup Probes".
"""

from __future__ import annotations

import asyncio
import random
import ssl
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any

from oarlock.cluster.kubelet import podspec
from oarlock.cluster.kubelet.podspec import Container
from oarlock.cluster.kubelet.runtime import Runtime, RuntimeFailure

HEAD_BYTES_MAX = 64 << 10
BODY_BYTES_MAX = 10 << 10
FIRST_PAUSE_S = 0.1
USER_AGENT = "kube-probe/1.36"


class ProbeFailure(Exception):
    """The container did not pass; the message goes into an Event."""


@dataclass(frozen=True, slots=True)
class Target:
    """The container that is probed: its run, its spec, and the address that its pod has."""

    container_id: str
    container: Container
    address: str


async def attempt(probe: Mapping[str, Any], target: Target, runtime: Runtime) -> None:
    """Make one attempt. Raises ProbeFailure. Also serves as a lifecycle hook's handler."""
    timeout_s = float(probe.get("timeoutSeconds") or 1)
    try:
        async with asyncio.timeout(timeout_s):
            if "exec" in probe:
                await _exec(probe["exec"].get("command") or [], target, runtime, timeout_s)
            elif "httpGet" in probe:
                await http_get(probe["httpGet"], target)
            elif "tcpSocket" in probe:
                await _tcp(probe["tcpSocket"], target)
            else:
                raise ProbeFailure("this node supports exec, httpGet and tcpSocket probes only")
    except TimeoutError:
        raise ProbeFailure(f"timed out after {timeout_s:g}s") from None
    except (OSError, ValueError, EOFError) as error:
        raise ProbeFailure(str(error) or type(error).__name__) from None


async def _exec(command: list[str], target: Target, runtime: Runtime, timeout_s: float) -> None:
    try:
        result = await runtime.exec_sync(target.container_id, command, timeout_s)
    except RuntimeFailure as failure:
        raise ProbeFailure(str(failure)) from None
    if result.exit_code != 0:
        raise ProbeFailure(result.output[:1024].decode(errors="replace").strip() or f"exit code {result.exit_code}")


async def _tcp(action: Mapping[str, Any], target: Target) -> None:
    host = action.get("host") or target.address
    _, writer = await asyncio.open_connection(host, podspec.port_number(target.container, action["port"]))
    writer.close()


async def http_get(action: Mapping[str, Any], target: Target) -> None:
    """GET the path; statuses from 200 to 399 pass. A certificate isn't verified, as the kubelet doesn't."""
    host = action.get("host") or target.address
    port = podspec.port_number(target.container, action["port"])
    context = _unverified() if str(action.get("scheme", "")).upper() == "HTTPS" else None
    path = action.get("path") or "/"
    headers = {"Host": f"{host}:{port}", "User-Agent": USER_AGENT, "Accept": "*/*", "Connection": "close"}
    headers |= {entry["name"]: entry["value"] for entry in action.get("httpHeaders") or []}
    lines = [f"GET {path if path.startswith('/') else '/' + path} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    reader, writer = await asyncio.open_connection(host, port, ssl=context, limit=HEAD_BYTES_MAX)
    try:
        writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
        status_line = await reader.readline()
        code = int(status_line.partition(b" ")[2][:3] or b"0")
    except ValueError:
        raise ProbeFailure("malformed HTTP response") from None
    finally:
        writer.transport.abort()
    if not 200 <= code < 400:
        raise ProbeFailure(f"HTTP probe failed with statuscode: {code}")


def _unverified() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class Prober:
    """Follows one run of a container. `changed` is called when `ready` or `started` change, `unhealthy` for the
    Event of each failed attempt, and `failed` once, when the container must be restarted. `was_started` and
    `was_ready` are what an earlier agent had found about the same run.
    """

    def __init__(
        self,
        target: Target,
        runtime: Runtime,
        *,
        changed: Callable[[], None],
        unhealthy: Callable[[str, str], None],
        failed: Callable[[str, str], None],
        was_started: bool = False,
        was_ready: bool = False,
    ) -> None:
        container = target.container
        self._target, self._runtime = target, runtime
        self._changed, self._unhealthy, self._failed = changed, unhealthy, failed
        self.started = was_started or "startupProbe" not in container
        self.ready = was_ready or "readinessProbe" not in container
        self._start_event = asyncio.Event()
        if self.started:
            self._start_event.set()
        loops: list[tuple[str, Callable[[Mapping[str, Any]], Coroutine[Any, Any, None]]]] = [
            ("startupProbe", self._startup),
            ("readinessProbe", self._readiness),
            ("livenessProbe", self._liveness),
        ]
        self._tasks = {
            name: asyncio.get_running_loop().create_task(loop(container[name]))
            for name, loop in loops
            if name in container and not (name == "startupProbe" and self.started)
        }

    @property
    def is_ready(self) -> bool:
        return self.started and self.ready

    def stop(self) -> None:
        for task in self._tasks.values():
            task.cancel()

    def judge_readiness_only(self) -> None:
        """Restart the container no more: it is being stopped."""
        for name, task in self._tasks.items():
            if name != "readinessProbe":
                task.cancel()

    async def _startup(self, probe: Mapping[str, Any]) -> None:
        failures = 0
        await asyncio.sleep(_delay_s(probe))
        while not self.started:
            if await self._try(probe, "Startup"):
                self.started = True
                self._start_event.set()
                self._changed()
                return
            failures += 1
            if failures >= int(probe.get("failureThreshold") or 3):
                self._failed("startup", self._target.container["name"])
                return
            await asyncio.sleep(_period_s(probe))

    async def _readiness(self, probe: Mapping[str, Any]) -> None:
        await self._start_event.wait()
        await asyncio.sleep(_delay_s(probe))
        await self._first_readiness(probe)
        streak, last = 0, self.ready
        while True:
            passed = await self._try(probe, "Readiness")
            streak = streak + 1 if passed is last else 1
            last = passed
            needed = int(probe.get("successThreshold") or 1) if passed else int(probe.get("failureThreshold") or 3)
            if streak >= needed and self.ready is not passed:
                self.ready = passed
                self._changed()
            await asyncio.sleep(_period_s(probe))

    async def _first_readiness(self, probe: Mapping[str, Any]) -> None:
        """Ask more often within the first period, without Events, so that a container serves soon after it can."""
        pause_s = FIRST_PAUSE_S
        while not self.ready and pause_s < _period_s(probe) and int(probe.get("successThreshold") or 1) == 1:
            try:
                await attempt(probe, self._target, self._runtime)
            except ProbeFailure:
                await asyncio.sleep(pause_s)
                pause_s *= 2
                continue
            self.ready = True
            self._changed()
            await asyncio.sleep(_period_s(probe))

    async def _liveness(self, probe: Mapping[str, Any]) -> None:
        await self._start_event.wait()
        await asyncio.sleep(_delay_s(probe) or random.random() * _period_s(probe))
        failures = 0
        while True:
            failures = 0 if await self._try(probe, "Liveness") else failures + 1
            if failures >= int(probe.get("failureThreshold") or 3):
                self._failed("liveness", self._target.container["name"])
                return
            await asyncio.sleep(_period_s(probe))

    async def _try(self, probe: Mapping[str, Any], kind: str) -> bool:
        try:
            await attempt(probe, self._target, self._runtime)
        except ProbeFailure as failure:
            self._unhealthy(kind, str(failure))
            return False
        return True


def _delay_s(probe: Mapping[str, Any]) -> float:
    return float(probe.get("initialDelaySeconds") or 0)


def _period_s(probe: Mapping[str, Any]) -> float:
    return float(probe.get("periodSeconds") or 10)
