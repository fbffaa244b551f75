import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from oarlock.cluster.boot.control import Answer, ControlServer, ask


async def count(operation: str, part: str) -> AsyncIterator[Answer]:
    for number in range(3):
        yield {"operation": operation, "part": part, "number": number}


def test_every_answer_arrives(tmp_path: Path) -> None:
    async def scenario() -> list[Answer]:
        server = ControlServer(tmp_path / "control", count)
        await server.start()
        answers = await asyncio.to_thread(lambda: list(ask(tmp_path / "control", "restart", 5, "a")))
        await server.stop()
        return answers

    assert asyncio.run(scenario()) == [{"operation": "restart", "part": "a", "number": number} for number in range(3)]
    assert not (tmp_path / "control").exists()


def test_nobody_listening_is_an_oserror(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        next(ask(tmp_path / "control", "status"))


def test_noise_does_not_harm_the_server(tmp_path: Path) -> None:
    async def scenario() -> list[Answer]:
        server = ControlServer(tmp_path / "control", count)
        await server.start()
        _, writer = await asyncio.open_unix_connection(tmp_path / "control")
        writer.write(b"\xff\xff not json\n")
        await writer.drain()
        writer.close()
        answers = await asyncio.to_thread(lambda: list(ask(tmp_path / "control", "x", 5)))
        await server.stop()
        return answers

    assert len(asyncio.run(scenario())) == 3


def test_the_socket_appears_only_once_it_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "control.sock"
    listen = asyncio.start_unix_server
    there_before: list[bool] = []

    async def slow(*arguments: Any) -> asyncio.Server:
        server = await listen(*arguments)
        there_before.append(path.exists())
        return server

    async def scenario() -> None:
        async def handler(_: str, __: str) -> AsyncIterator[dict[str, Any]]:
            yield {"answer": 1}

        server = ControlServer(path, handler)
        monkeypatch.setattr(asyncio, "start_unix_server", slow)
        await server.start()
        assert await asyncio.to_thread(lambda: list(ask(path, "x", 5))) == [{"answer": 1}]
        assert path.stat().st_mode & 0o777 == 0o600
        await server.stop()

    asyncio.run(scenario())
    assert there_before == [False]
    assert list(tmp_path.iterdir()) == []
