"""A runtime that runs nothing: containers start at once and stay, so that thousands of nodes fit in one process.

A pod's annotation `oarlock.dev/hollow-exit-after: SECONDS` lets its containers end by themselves, with the exit code
in `oarlock.dev/hollow-exit-code` (0 by default). Nothing survives the agent: a restarted one starts pods anew.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from oarlock.cluster.kubelet.runtime import (
    ContainerConfig,
    ContainerStatus,
    ExecResult,
    Listener,
    RuntimeFailure,
    Sandbox,
    SandboxConfig,
    State,
    Streams,
)

EXIT_AFTER = "oarlock.dev/hollow-exit-after"
EXIT_CODE = "oarlock.dev/hollow-exit-code"
SIGKILL_CODE = 137


class HollowRuntime:
    """Keeps pods of any image in memory only."""

    scheme = "hollow"
    version = "hollow://0.1.0"

    def __init__(self, root: Path) -> None:
        self._root = root
        self._sandboxes: dict[str, Sandbox] = {}
        self._containers: dict[str, dict[str, ContainerStatus]] = {}
        self._uids: dict[str, str] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._listener: Listener = lambda _: None

    async def start(self, listener: Listener) -> None:
        self._listener = listener

    async def stop(self) -> None:
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    async def run_pod_sandbox(self, config: SandboxConfig) -> Sandbox:
        if config.uid not in self._sandboxes:
            self._sandboxes[config.uid] = Sandbox(config, time.time_ns(), self._root / "pods" / config.uid)
            self._containers[config.uid] = {}
        return self._sandboxes[config.uid]

    async def stop_pod_sandbox(self, uid: str) -> None:
        for container_id in list(self._containers.get(uid, {})):
            self._exit(container_id, SIGKILL_CODE)

    async def remove_pod_sandbox(self, uid: str) -> None:
        await self.stop_pod_sandbox(uid)
        self._sandboxes.pop(uid, None)
        for container_id in self._containers.pop(uid, {}):
            self._uids.pop(container_id, None)

    def list_pod_sandboxes(self) -> list[Sandbox]:
        return list(self._sandboxes.values())

    async def pull_image(self, image: str) -> str:
        return image

    async def create_container(self, uid: str, config: ContainerConfig) -> str:
        container_id = uuid.uuid4().hex * 2
        self._uids[container_id] = uid
        self._containers[uid][container_id] = ContainerStatus(
            container_id,
            uid,
            config.name,
            config.attempt,
            config.image,
            config.image,
            State.CREATED,
            created_ns=time.time_ns(),
            restarts_key=config.restarts_key,
        )
        return container_id

    async def start_container(self, container_id: str) -> None:
        uid = self._uids[container_id]
        status = self._containers[uid][container_id]
        self._containers[uid][container_id] = replace(status, state=State.RUNNING, started_ns=time.time_ns())
        annotations = self._sandboxes[uid].config.annotations
        after, code = annotations.get(EXIT_AFTER, ""), annotations.get(EXIT_CODE, "0")
        try:
            delay_s, exit_code = float(after), int(code)
        except ValueError:
            return
        loop = asyncio.get_running_loop()
        self._timers[container_id] = loop.call_later(max(0.0, delay_s), self._exit, container_id, exit_code)

    async def stop_container(self, container_id: str, grace_s: float) -> None:  # noqa: ARG002 - nothing to wait for
        self._exit(container_id, SIGKILL_CODE)

    async def remove_container(self, container_id: str) -> None:
        await self.stop_container(container_id, 0)
        uid = self._uids.pop(container_id, None)
        if uid is not None:
            self._containers[uid].pop(container_id, None)

    def list_containers(self, uid: str) -> list[ContainerStatus]:
        return list(self._containers.get(uid, {}).values())

    async def exec_sync(self, container_id: str, command: Sequence[str], timeout_s: float) -> ExecResult:  # noqa: ARG002
        raise RuntimeFailure("a hollow container runs no commands")

    async def exec(self, container_id: str, command: Sequence[str], *, stdin: bool, tty: bool) -> Streams:  # noqa: ARG002
        raise RuntimeFailure("a hollow container runs no commands")

    async def attach(self, container_id: str, *, stdin: bool) -> Streams:  # noqa: ARG002
        raise RuntimeFailure("a hollow container has no streams")

    def _exit(self, container_id: str, code: int) -> None:
        timer = self._timers.pop(container_id, None)
        if timer is not None:
            timer.cancel()
        containers = self._containers.get(self._uids.get(container_id, ""), {})
        status = containers.get(container_id)
        if status is None or status.state is State.EXITED:
            return
        reason = "Completed" if code == 0 else "Error"
        ended = replace(status, state=State.EXITED, finished_ns=time.time_ns(), exit_code=code, reason=reason)
        containers[container_id] = ended
        self._listener(ended)
