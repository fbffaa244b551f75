"""Events for a client that would rather have them together: none late without need, none lost, none out of order."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from oarlock.cluster.apiserver.gathering import GATHER_MS_MAX, HELD_BYTES_MAX, GatheringWire, gather_s
from oarlock.cluster.objects.status import ApiError

MAPS = "/api/v1/namespaces/default/configmaps"


class Wire:
    """Keeps what is sent, each sending apart."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.sending = asyncio.Event()
        self.aborted = False

    def write(self, data: bytes) -> None:
        self.write_chunks(data)

    def write_chunks(self, chunks: bytes) -> None:
        self.sent.append(chunks)
        self.sending.set()

    def push(self, chunks: bytes, unsent_max: int) -> bool:
        raise NotImplementedError

    async def drain(self) -> None: ...

    def unsent(self) -> int:
        return 7

    def abort(self) -> None:
        self.aborted = True

    async def next(self) -> None:
        self.sending.clear()
        async with asyncio.timeout(10):
            await self.sending.wait()


def test_who_leaves_too_much_unsent_is_cut_off() -> None:
    async def scenario() -> None:
        wire = Wire()
        gathering = GatheringWire(wire, 10.0)
        assert [gathering.push(chunk, 8) for chunk in (b"a", b"b", b"c", b"d")] == [True, True, True, False]
        assert (wire.sent, wire.aborted) == ([b"a"], True)

    asyncio.run(scenario())


def test_the_first_event_goes_at_once_and_those_that_follow_go_together() -> None:
    async def scenario() -> None:
        wire = Wire()
        gathering = GatheringWire(wire, 0.01)
        for chunk in (b"a", b"b", b"c"):
            gathering.write_chunks(chunk)
        assert wire.sent == [b"a"]
        assert gathering.unsent() == 7 + 2
        await wire.next()
        assert wire.sent == [b"a", b"bc"]
        gathering.write_chunks(b"d")
        assert wire.sent == [b"a", b"bc"], "it follows a sending"
        await wire.next()
        assert wire.sent[2:] == [b"d"]

    asyncio.run(scenario())


def test_after_a_quiet_pause_an_event_goes_at_once_again() -> None:
    async def scenario() -> None:
        wire = Wire()
        gathering = GatheringWire(wire, 0.0)
        gathering.write_chunks(b"a")
        over = asyncio.Event()
        asyncio.get_running_loop().call_later(0.001, over.set)
        await over.wait()
        gathering.write_chunks(b"b")
        assert wire.sent == [b"a", b"b"]

    asyncio.run(scenario())


@pytest.mark.parametrize("last", ["write", "end"])
def test_what_is_held_goes_before_anything_else_and_before_the_end(last: str) -> None:
    async def scenario() -> None:
        wire = Wire()
        gathering = GatheringWire(wire, 600)
        for chunk in (b"a", b"b", b"c"):
            gathering.write_chunks(chunk)
        if last == "write":
            gathering.write(b"z")
        else:
            gathering.end()
        assert wire.sent == ([b"a", b"bc", b"z"] if last == "write" else [b"a", b"bc"])

    asyncio.run(scenario())


def test_much_is_not_held() -> None:
    async def scenario() -> None:
        wire = Wire()
        gathering = GatheringWire(wire, 600)
        gathering.write_chunks(b"a")
        gathering.write_chunks(b"b" * HELD_BYTES_MAX)
        assert len(wire.sent) == 1
        gathering.write_chunks(b"c")
        assert wire.sent[1:] == [b"b" * HELD_BYTES_MAX + b"c"]
        gathering.end()

    asyncio.run(scenario())


def test_what_is_held_is_dropped_with_the_connection() -> None:
    async def scenario() -> None:
        wire = Wire()
        gathering = GatheringWire(wire, 600)
        gathering.write_chunks(b"a")
        gathering.write_chunks(b"b")
        gathering.abort()
        gathering.end()
        assert (wire.sent, wire.aborted) == ([b"a"], True)

    asyncio.run(scenario())


def test_the_header() -> None:
    assert (gather_s(""), gather_s("0"), gather_s("5")) == (0.0, 0.0, 0.005)
    for wrong in ("soon", "-1", "1.5", str(GATHER_MS_MAX + 1)):
        with pytest.raises(ApiError) as refused:
            gather_s(wrong)
        assert refused.value.code == 400


def test_a_gathered_watch_has_every_event_in_order_and_its_last_bookmark_behind_them(
    with_api: Any, objects: Any
) -> None:
    async def scenario(api: Any) -> None:
        made = await api.made(MAPS, objects.configmap("m"))
        since = made["metadata"]["resourceVersion"]
        path = f"{MAPS}?watch=1&timeoutSeconds=2&allowWatchBookmarks=true&resourceVersion={since}"
        async with api.session.get(api.server.url + path, headers={"Oarlock-Gather": "1000"}) as answer:
            for number in range(20):
                await api.made(MAPS, objects.configmap(f"m{number}"))
            other = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "other"}}
            await api.made("/api/v1/namespaces/default/secrets", other)
            async with asyncio.timeout(20):
                lines = (await answer.text()).splitlines()
        names = [f'"name":"m{number}"' for number in range(20)]
        assert len(lines) == 21
        assert all(name in line for name, line in zip(names, lines, strict=False))
        assert '"BOOKMARK"' in lines[-1]
        code, refused = await api("GET", f"{MAPS}?watch=1", Oarlock_Gather="soon")
        assert (code, refused["reason"]) == (400, "BadRequest")

    with_api(scenario)
