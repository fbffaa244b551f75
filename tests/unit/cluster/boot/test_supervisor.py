import asyncio
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from oarlock.cluster.boot import supervisor as module
from oarlock.cluster.boot.child import LISTEN, ChildFailed
from oarlock.cluster.boot.parts import Part
from oarlock.cluster.boot.state import StateFolder
from oarlock.cluster.boot.supervisor import Supervisor


class FakeChild:
    """A process that the test makes ready and ends."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.readiness: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self.ending: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.stopped = False
        self.in_vain = False
        self.going = asyncio.Event()
        self.going.set()

    async def ready(self, within_s: float) -> dict[str, Any]:
        return await asyncio.shield(self.readiness)

    async def wait(self) -> str:
        return await asyncio.shield(self.ending)

    async def stop(self, within_s: float) -> None:
        self.stopped = True
        await self.going.wait()

    def serve(self, address: str = "127.0.0.1:1") -> None:
        self.readiness.set_result({"address": address, "metrics": ""})


class Stage:
    """Hands out fake children and lets the test await each start."""

    def __init__(self, folder: StateFolder, parts: list[Part]) -> None:
        self.started: asyncio.Queue[tuple[str, FakeChild]] = asyncio.Queue()
        self.children: list[FakeChild] = []
        self.listeners: list[str] = []
        self.supervisor = Supervisor(parts, folder, self._spawn)

    async def _spawn(self, role: str, settings: Path, log: Path, environment: Mapping[str, str]) -> FakeChild:
        child = FakeChild(1000 + len(self.children))
        self.listeners.append(environment.get(LISTEN, ""))
        self.children.append(child)
        self.started.put_nowait((settings.stem, child))
        return child

    async def next(self) -> tuple[str, FakeChild]:
        async with asyncio.timeout(5):
            return await self.started.get()

    async def state(self, name: str, wanted: str) -> None:
        async with asyncio.timeout(5):
            async for answer in self.supervisor.board.watch():
                if any(part["name"] == name and part["state"] == wanted for part in answer["parts"]):
                    return


@pytest.fixture
def folder(tmp_path: Path) -> StateFolder:
    folder = StateFolder(tmp_path / "state")
    folder.create()
    return folder


def part(name: str, *after: str) -> Part:
    return Part(name, "kind", "role", {"name": name}, after)


async def started_one(stage: Stage) -> FakeChild:
    await stage.supervisor.start()
    _, child = await stage.next()
    child.serve()
    await stage.state("a", "ready")
    return child


def test_a_part_waits_for_what_it_needs(folder: StateFolder) -> None:
    async def scenario() -> None:
        stage = Stage(folder, [part("a"), part("b", "a")])
        await stage.supervisor.start()
        name, first = await stage.next()
        assert name == "a"
        assert stage.supervisor.board.statuses["b"].state == "waiting"
        first.serve("127.0.0.1:7")
        name, _ = await stage.next()
        assert name == "b"
        assert stage.supervisor.board.statuses["a"].address == "127.0.0.1:7"
        await stage.supervisor.stop()

    asyncio.run(scenario())


def test_a_part_that_ends_is_started_again(folder: StateFolder) -> None:
    async def scenario() -> None:
        stage = Stage(folder, [part("a")])
        first = await started_one(stage)
        first.ending.set_result("killed by signal 9")
        _, second = await stage.next()
        assert first.stopped, "what is left of its group is ended first"
        second.serve()
        await stage.state("a", "ready")
        status = stage.supervisor.board.statuses["a"]
        assert (status.pid, status.restarts, status.error) == (1001, 1, "")
        await stage.supervisor.stop()

    asyncio.run(scenario())


def test_a_part_that_fails_says_why_and_is_tried_again(folder: StateFolder) -> None:
    async def scenario() -> None:
        stage = Stage(folder, [part("a")])
        await stage.supervisor.start()
        _, child = await stage.next()
        child.readiness.set_exception(ChildFailed("port 7 is in use"))
        await stage.state("a", "failed")
        assert stage.supervisor.board.statuses["a"].error == "port 7 is in use"
        await stage.next()
        await stage.supervisor.stop()

    asyncio.run(scenario())


def test_a_part_that_would_end_in_vain_is_refused_and_not_started_again(folder: StateFolder) -> None:
    async def scenario() -> None:
        stage = Stage(folder, [part("a")])
        child = await started_one(stage)
        child.in_vain = True
        child.ending.set_result("its seat is another's")
        await stage.state("a", "refused")
        status = stage.supervisor.board.statuses["a"]
        assert (status.error, status.pid, status.restarts) == ("its seat is another's", 0, 0)
        assert await stage.supervisor.restart("a") == "a is refused: its seat is another's"
        assert stage.supervisor._keepers["a"].done(), "nobody would start it"
        assert child.stopped
        await stage.supervisor.stop()

    asyncio.run(scenario())


def test_restarts_back_off_up_to_a_bound(folder: StateFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> list[float]:
        slept: list[float] = []
        real_sleep = asyncio.sleep

        async def sleep(seconds: float) -> None:
            slept.append(seconds)
            await real_sleep(0)

        monkeypatch.setattr(module.asyncio, "sleep", sleep)
        stage = Stage(folder, [part("a")])
        await stage.supervisor.start()
        for _ in range(10):
            _, child = await stage.next()
            child.readiness.set_exception(ChildFailed("no"))
        await stage.next()
        await stage.supervisor.stop()
        return slept

    slept = asyncio.run(scenario())
    assert slept[:4] == [0.1, 0.2, 0.4, 0.8]
    assert max(slept) == module.BACKOFF_MAX_S


def test_a_part_that_was_healthy_is_started_again_at_once(folder: StateFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HEALTHY_AFTER_S", 0.0)
    monkeypatch.setattr(module, "BACKOFF_FIRST_S", 600.0)

    async def scenario() -> None:
        stage = Stage(folder, [part("a")])
        (await started_one(stage)).ending.set_result("killed by signal 9")
        await stage.next()
        await stage.supervisor.stop()

    asyncio.run(scenario())


def test_stopping_ends_the_last_started_first(folder: StateFolder) -> None:
    groups = module._stop_order([part("store"), part("api", "store"), part("agent", "api"), part("ray", "api")])
    assert groups == [["agent", "ray"], ["api"], ["store"]]


def test_processes_are_on_record_while_they_run(folder: StateFolder) -> None:
    async def scenario() -> None:
        stage = Stage(folder, [part("a")])
        await started_one(stage)
        recorded = json.loads(folder.processes_file.read_bytes())
        assert recorded["a"][0] == 1000
        assert "supervisor" in recorded
        await stage.supervisor.stop()
        assert "a" not in json.loads(folder.processes_file.read_bytes())

    asyncio.run(scenario())


def test_a_restart_waits_for_the_old_process_and_then_for_the_new_one(folder: StateFolder) -> None:
    async def scenario() -> None:
        stage = Stage(folder, [part("a")])
        first = await started_one(stage)
        first.going.clear()
        restarting = asyncio.create_task(stage.supervisor.restart("a"))
        while not first.stopped:  # noqa: ASYNC110 - a state of the loop itself
            await asyncio.sleep(0)
        assert len(stage.children) == 1
        first.going.set()
        _, second = await stage.next()
        assert not restarting.done()
        second.serve("127.0.0.1:8")
        assert await restarting == ""
        status = stage.supervisor.board.statuses["a"]
        assert (status.pid, status.address, status.restarts) == (1001, "127.0.0.1:8", 0), "nothing has failed"
        await stage.supervisor.stop()

    asyncio.run(scenario())


def test_a_part_with_a_listener_is_never_without_a_process(folder: StateFolder) -> None:
    async def scenario() -> None:
        stage = Stage(folder, [replace(part("a"), listens=(("127.0.0.1", 0),))])
        first = await started_one(stage)
        restarting = asyncio.create_task(stage.supervisor.restart("a"))
        _, second = await stage.next()
        assert not first.stopped
        assert "a (old)" in json.loads(folder.processes_file.read_bytes()), "a down must find both"
        second.serve()
        assert await restarting == ""
        assert first.stopped
        assert stage.listeners[0] == stage.listeners[1] != ""
        await stage.supervisor.stop()

    asyncio.run(scenario())


def test_a_successor_that_fails_leaves_the_old_process_serving(folder: StateFolder) -> None:
    async def scenario() -> None:
        stage = Stage(folder, [replace(part("a"), listens=(("127.0.0.1", 0),))])
        first = await started_one(stage)
        restarting = asyncio.create_task(stage.supervisor.restart("a"))
        _, second = await stage.next()
        second.readiness.set_exception(ChildFailed("no"))
        assert await restarting == "no"
        assert second.stopped
        assert not first.stopped
        status = stage.supervisor.board.statuses["a"]
        assert (status.state, status.pid) == ("ready", 1000)
        first.ending.set_result("killed by signal 9")
        await stage.next()
        await stage.supervisor.stop()

    asyncio.run(scenario())


def test_a_restart_that_fails_says_why_and_is_tried_again(folder: StateFolder) -> None:
    async def scenario() -> None:
        stage = Stage(folder, [part("a")])
        await started_one(stage)
        restarting = asyncio.create_task(stage.supervisor.restart("a"))
        _, second = await stage.next()
        second.readiness.set_exception(ChildFailed("no"))
        assert await restarting == "no"
        await stage.next()
        assert await stage.supervisor.restart("a") == "a is starting"
        assert await stage.supervisor.restart("b") == "there is no part b"
        await stage.supervisor.stop()

    asyncio.run(scenario())


def test_a_stop_during_a_restart_leaves_no_process(folder: StateFolder) -> None:
    async def scenario() -> None:
        stage = Stage(folder, [part("a")])
        first = await started_one(stage)
        first.going.clear()
        restarting = asyncio.create_task(stage.supervisor.restart("a"))
        while not first.stopped:  # noqa: ASYNC110 - a state of the loop itself
            await asyncio.sleep(0)
        first.stopped = False
        asyncio.get_running_loop().call_later(0.01, first.going.set)
        await stage.supervisor.stop()
        assert first.stopped, "it was ended for good, although somebody else was about it"
        assert "a" not in json.loads(folder.processes_file.read_bytes())
        restarting.cancel()

    asyncio.run(scenario())
