"""Commands beside a container's process: their streams, terminals, ends."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from oarlock.cluster.kubelet import execution
from oarlock.cluster.kubelet.execution import Command
from oarlock.cluster.kubelet.runtime import RuntimeFailure, Source


def command(script: str, folder: Path, **fields: Any) -> Command:
    return Command("/bin/sh", ["sh", "-c", script], {"PATH": os.environ["PATH"], "A": "b"}, str(folder), **fields)


def descriptors() -> set[str]:
    return {entry.name for entry in Path("/proc/self/fd").iterdir()}


async def everything(source: Source | None) -> bytes:
    assert source is not None
    pieces = []
    while data := await source.read():
        pieces.append(data)
    return b"".join(pieces)


async def outcome(what: Command, given: bytes | None = None) -> tuple[int, bytes, bytes]:
    """Run a command to its end; return its exit code and both outputs."""

    async def feed() -> None:
        assert streams.stdin is not None
        await streams.stdin.write(given or b"")
        await streams.stdin.end()

    async with execution.start(what, stdin=given is not None, tty=False) as streams:
        outputs = asyncio.gather(everything(streams.stdout), everything(streams.stderr))
        feeding = asyncio.ensure_future(feed()) if given is not None else None
        code = await streams.wait()
        stdout, stderr = await outputs
        if feeding is not None:
            await asyncio.gather(feeding, return_exceptions=True)
        return code, stdout, stderr


@pytest.fixture
def play() -> Callable[[Callable[[], Coroutine[Any, Any, None]]], None]:
    def run(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
        async def inside() -> None:
            async with asyncio.timeout(20):
                await scenario()

        asyncio.run(inside())

    return run


def test_outputs_environment_folder_and_exit_code(play: Any, tmp_path: Path) -> None:
    async def scenario() -> None:
        code, stdout, stderr = await outcome(command("echo $A; pwd; echo bad >&2; exit 7", tmp_path))
        assert (code, stdout, stderr) == (7, f"b\n{tmp_path}\n".encode(), b"bad\n")

    play(scenario)


def test_a_signal_is_told_as_a_shell_tells_it(play: Any, tmp_path: Path) -> None:
    async def scenario() -> None:
        assert (await outcome(command("kill -TERM $$", tmp_path)))[0] == 128 + signal.SIGTERM

    play(scenario)


def test_megabytes_pass_in_both_directions_at_once(play: Any, tmp_path: Path) -> None:
    async def scenario() -> None:
        given = os.urandom(3 << 20)
        assert await outcome(command("cat", tmp_path), given) == (0, given, b"")

    play(scenario)


def test_without_input_there_is_an_end_to_read(play: Any, tmp_path: Path) -> None:
    async def scenario() -> None:
        assert await outcome(command("cat; echo over", tmp_path)) == (0, b"over\n", b"")

    play(scenario)


def test_input_that_nobody_reads_is_a_broken_pipe(play: Any, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with execution.start(command("exec <&-; read x", tmp_path), stdin=True, tty=False) as streams:
            assert streams.stdin is not None
            await streams.wait()
            with pytest.raises(BrokenPipeError):
                await streams.stdin.write(bytes(1 << 20))

    play(scenario)


def test_a_terminal_is_the_commands_own(play: Any, tmp_path: Path) -> None:
    async def scenario() -> None:
        script = "tty; stty size; read line; stty size; echo $TERM; read more"
        async with execution.start(command(script, tmp_path), stdin=True, tty=True) as streams:
            assert streams.stdin is not None
            assert streams.stderr is None
            shown = await streams.stdout.read()
            while b"0 0" not in shown:
                shown += await streams.stdout.read()
            assert shown.startswith(b"/dev/pts/")
            streams.resize(120, 40)
            await streams.stdin.write(b"go\n")
            shown = b""
            while b"xterm" not in shown:
                shown += await streams.stdout.read()
            assert b"40 120" in shown
            await streams.stdin.write(b"\x03")
            assert await streams.wait() == 128 + signal.SIGINT, "the terminal turns ^C into a signal"

    play(scenario)


def test_leaving_ends_the_command_and_its_children(play: Any, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with execution.start(command("sleep 600 & echo $!; wait", tmp_path), stdin=False, tty=False) as streams:
            child = int(await streams.stdout.read())
            pidfd = os.pidfd_open(child)
        ended = asyncio.Event()
        asyncio.get_running_loop().add_reader(pidfd, ended.set)
        await ended.wait()
        asyncio.get_running_loop().remove_reader(pidfd)
        os.close(pidfd)

    play(scenario)


def test_outputs_end_with_the_command_whoever_still_holds_them(play: Any, tmp_path: Path) -> None:
    async def scenario() -> None:
        code, stdout, _ = await outcome(command("sleep 600 & echo $!", tmp_path))
        os.kill(int(stdout), signal.SIGKILL)
        assert code == 0

    play(scenario)


def test_limits_are_the_containers(play: Any, tmp_path: Path) -> None:
    async def scenario() -> None:
        what = command("read go; ulimit -v; nice", tmp_path, nice=5, memory_bytes=1 << 30)
        code, stdout, _ = await outcome(what, b"go\n")
        assert (code, stdout.split()) == (0, [b"1048576", b"5"])

    play(scenario)


@pytest.mark.parametrize("tty", [False, True])
def test_a_folder_that_is_gone_is_told(play: Any, tmp_path: Path, tty: bool) -> None:
    async def scenario() -> None:
        before = descriptors()
        with pytest.raises(RuntimeFailure, match="No such file"):
            execution.start(command("true", tmp_path / "gone"), stdin=True, tty=tty)
        assert descriptors() == before, "no descriptor is left open"

    play(scenario)
