"""The process runtime and its shim with real processes."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from oarlock.cluster.kubelet import leftovers
from oarlock.cluster.kubelet.process import ProcessRuntime, kill_all
from oarlock.cluster.kubelet.runtime import (
    ConfigFailure,
    ContainerConfig,
    ContainerStatus,
    ImageFailure,
    Mount,
    SandboxConfig,
    StartFailure,
    State,
)

LOG = "{root}/pods/u/logs/c/0.log"


class Rig:
    def __init__(self, root: Path, log_bytes_max: int) -> None:
        self.root = root
        self.changes: asyncio.Queue[ContainerStatus] = asyncio.Queue()
        self.runtime = ProcessRuntime(root, allow_host_images=True, log_bytes_max=log_bytes_max)

    async def create(self, script: str, **fields: Any) -> str:
        config = {
            "name": "c",
            "attempt": 0,
            "image": "host/sh",
            "command": [],
            "args": ["-c", script],
            "environment": {"PATH": os.environ["PATH"]},
            "working_dir": "",
            "log_path": LOG.format(root=self.root),
        }
        return await self.runtime.create_container("u", ContainerConfig(**{**config, **fields}))

    async def run(self, script: str, **fields: Any) -> ContainerStatus:
        await self.runtime.start_container(await self.create(script, **fields))
        return await self.changes.get()

    def log(self) -> list[str]:
        path = Path(LOG.format(root=self.root))
        lines = path.read_text().splitlines() if path.exists() else []
        return [line.split(" ", 1)[1] for line in lines]

    async def logged(self, line: str) -> None:
        """Return once the log ends with the line."""
        while self.log()[-1:] != [line]:  # noqa: ASYNC110 - written by another process
            await asyncio.sleep(0.01)


Scenario = Callable[[Rig], Coroutine[Any, Any, None]]


@pytest.fixture
def play(root: Path) -> Callable[..., None]:
    def run(scenario: Scenario, log_bytes_max: int = 1 << 20) -> None:
        async def inside() -> None:
            rig = Rig(root, log_bytes_max)
            await rig.runtime.start(rig.changes.put_nowait)
            await rig.runtime.run_pod_sandbox(SandboxConfig("u", "default", "p", "127.0.0.1"))
            try:
                async with asyncio.timeout(20):
                    await scenario(rig)
            finally:
                await rig.runtime.stop()
                kill_all(root, 0.1)

        asyncio.run(inside())

    return run


@pytest.mark.parametrize(("script", "code", "number"), [("exit 0", 0, 0), ("exit 42", 42, 0), ("kill -9 $$", 137, 9)])
def test_the_exit_code_is_the_true_one(play: Any, script: str, code: int, number: int) -> None:
    async def scenario(rig: Rig) -> None:
        ended = await rig.run(script)
        assert (ended.state, ended.exit_code, ended.signal) == (State.EXITED, code, number)
        assert ended.reason == ("Completed" if code == 0 else "Error")
        assert ended.created_ns <= ended.started_ns <= ended.finished_ns

    play(scenario)


def test_the_log_has_both_streams_and_the_last_line_without_its_end(play: Any) -> None:
    async def scenario(rig: Rig) -> None:
        await rig.run("echo out; sleep 0.05; echo err >&2; sleep 0.05; printf rest")
        assert rig.log() == ["stdout F out", "stderr F err", "stdout F rest"]

    play(scenario)


def test_a_very_long_line_is_written_in_parts(play: Any) -> None:
    async def scenario(rig: Rig) -> None:
        await rig.run("head -c 40000 /dev/zero | tr '\\0' x; echo")
        tags = [line.split(" ")[1] for line in rig.log()]
        assert tags[-1] == "F"
        assert set(tags[:-1]) == {"P"}
        assert sum(len(line.split(" ", 2)[2]) for line in rig.log()) == 40000

    play(scenario)


def test_logs_are_rotated_and_bounded(play: Any) -> None:
    async def scenario(rig: Rig) -> None:
        await rig.run("i=0; while [ $i -lt 400 ]; do echo line $i; i=$((i+1)); sleep 0; done")
        files = sorted(Path(LOG.format(root=rig.root)).parent.iterdir())
        assert len(files) <= 5
        assert all(file.stat().st_size <= 1000 + (64 << 10) for file in files)

    play(scenario, 1000)


def test_a_container_leads_its_own_session_and_gets_only_its_environment(play: Any) -> None:
    async def scenario(rig: Rig) -> None:
        await rig.run("ps -o sid= -p $$ | tr -d ' '; echo $$; env | cut -d= -f1 | sort | tr '\\n' ' '")
        session, pid, names = (line.split(" ", 2)[2] for line in rig.log())
        assert session == pid
        assert set(names.split()) <= {"OARLOCK_CONTAINER_ID", "OARLOCK_ROOT", "PATH", "PWD", "SHLVL", "_", "OLDPWD"}

    play(scenario)


def test_stopping_asks_first_and_kills_what_does_not_listen_with_all_its_offspring(play: Any) -> None:
    async def scenario(rig: Rig) -> None:
        polite = await rig.create("trap 'exit 9' TERM; echo up; while :; do sleep 0.02; done")
        await rig.runtime.start_container(polite)
        await rig.logged("stdout F up")
        await rig.runtime.stop_container(polite, 10)
        assert (await rig.changes.get()).exit_code == 9
        deaf = await rig.create("trap '' TERM; setsid sleep 876 & sleep 876 & echo deaf; wait; sleep 876", attempt=1)
        await rig.runtime.start_container(deaf)
        await rig.logged("stdout F deaf")
        await rig.runtime.stop_container(deaf, 0.1)
        assert (await rig.changes.get()).exit_code == 137
        assert leftovers.kill([deaf]) == 0

    play(scenario)


def test_a_memory_limit_bounds_the_address_space(play: Any) -> None:
    async def scenario(rig: Rig) -> None:
        ended = await rig.run("ulimit -v", memory_bytes=512 << 20)
        assert ended.exit_code == 0
        assert rig.log() == [f"stdout F {512 << 10}"]

    play(scenario)


def test_what_cannot_start_says_why(play: Any) -> None:
    async def scenario(rig: Rig) -> None:
        container_id = await rig.create("", image="host/no-such-program")
        with pytest.raises(StartFailure, match=r'exec: "no-such-program": executable file not found in \$PATH'):
            await rig.runtime.start_container(container_id)
        with pytest.raises(ConfigFailure, match="use the relative mountPath etc/x"):
            await rig.create("", mounts=[Mount("v", "/tmp", "/etc/x")])
        with pytest.raises(ConfigFailure, match="leaves the pod's folder"):
            await rig.create("", mounts=[Mount("v", "/tmp", "../../x")])
        with pytest.raises(ImageFailure, match="only images named host/"):
            await rig.runtime.pull_image("nginx")
        with pytest.raises(ImageFailure, match="does not allow"):
            await ProcessRuntime(rig.root).pull_image("host/sh")

    play(scenario)


def test_a_container_whose_shim_was_killed_is_ended_as_unknown(play: Any) -> None:
    async def scenario(rig: Rig) -> None:
        container_id = await rig.create("exec sleep 876")
        await rig.runtime.start_container(container_id)
        started = leftovers.read_started(rig.root / "pods" / "u" / "containers" / container_id)
        assert started is not None
        os.kill(started.shim_pid, signal.SIGKILL)
        ended = await rig.changes.get()
        assert (ended.exit_code, ended.reason) == (137, "ContainerStatusUnknown")
        assert not started.alive

    play(scenario)


def test_kill_all_ends_everything_without_an_agent(play: Any) -> None:
    async def scenario(rig: Rig) -> None:
        container_id = await rig.create("trap '' TERM; (setsid sleep 876 &); echo deaf; sleep 876; sleep 876")
        await rig.runtime.start_container(container_id)
        await rig.logged("stdout F deaf")
        await rig.runtime.stop()
        assert await asyncio.to_thread(kill_all, rig.root, 0.1) == 1
        assert leftovers.kill([container_id]) == 0
        assert kill_all(rig.root, 0.1) == 0

    play(scenario)
