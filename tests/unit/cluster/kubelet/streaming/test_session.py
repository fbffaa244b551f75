"""A SPDY connection from its server's side, with a client that speaks frames."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from oarlock.cluster.kubelet.streaming import spdy
from oarlock.cluster.kubelet.streaming.inbox import BYTES_MAX
from oarlock.cluster.kubelet.streaming.session import Session, SpdyStream


class Pipe:
    """Both ends of a connection: the session reads what the test sends and the test what the session writes."""

    def __init__(self) -> None:
        self.encoder, self.decoder = spdy.Encoder(), spdy.Decoder()
        self.up: asyncio.Queue[bytes] = asyncio.Queue()
        self.down: asyncio.Queue[spdy.Frame] = asyncio.Queue()

    def send(self, *frames: spdy.Frame) -> None:
        self.up.put_nowait(b"".join(map(self.encoder.encode, frames)))

    async def read(self) -> bytes:
        return await self.up.get()

    async def write(self, data: bytes) -> None:
        for frame in self.decoder.feed(data):
            self.down.put_nowait(frame)

    async def close(self) -> None:
        """Nothing is open."""


class Rig:
    def __init__(self, **limits: int) -> None:
        self.pipe = Pipe()
        self.accepted: asyncio.Queue[SpdyStream] = asyncio.Queue()
        self.refuse = False
        self.session = Session(self.pipe, self._accept, **limits)
        self.run = asyncio.create_task(self.session.run())

    def _accept(self, stream: SpdyStream) -> bool:
        if not self.refuse:
            self.accepted.put_nowait(stream)
        return not self.refuse

    async def opened(self, number: int = 1, **fields: Any) -> SpdyStream:
        self.pipe.send(spdy.SynStream(number, {"streamtype": "x"}, **fields))
        assert await self.pipe.down.get() == spdy.SynReply(number)
        return await self.accepted.get()


@pytest.fixture
def play() -> Callable[..., None]:
    def run(scenario: Callable[[Rig], Coroutine[Any, Any, None]], **limits: int) -> None:
        async def inside() -> None:
            rig = Rig(**limits)
            async with asyncio.timeout(10):
                await scenario(rig)
            rig.run.cancel()

        asyncio.run(inside())

    return run


def test_a_stream_is_answered_and_carries_both_ways(play: Any) -> None:
    async def scenario(rig: Rig) -> None:
        stream = await rig.opened()
        assert stream.headers == {"streamtype": "x"}
        rig.pipe.send(spdy.Data(1, b"up"), spdy.Data(1, b"!", fin=True))
        assert await stream.read() + await stream.read() == b"up!"
        assert await stream.read() == b""
        await stream.write(b"down")
        await stream.close()
        await stream.close()
        assert [rig.pipe.down.get_nowait() for _ in range(2)] == [spdy.Data(1, b"down"), spdy.Data(1, b"", fin=True)]
        assert rig.pipe.down.empty()
        assert not rig.session.streams, "a stream that both sides have ended is forgotten"

    play(scenario)


def test_a_refused_stream_is_reset(play: Any) -> None:
    async def scenario(rig: Rig) -> None:
        rig.refuse = True
        rig.pipe.send(spdy.SynStream(1))
        assert await rig.pipe.down.get() == spdy.SynReply(1)
        assert await rig.pipe.down.get() == spdy.Reset(1, spdy.REFUSED_STREAM)
        assert not rig.session.streams

    play(scenario)


def test_streams_beyond_the_limit_are_refused_and_the_others_go_on(play: Any) -> None:
    async def scenario(rig: Rig) -> None:
        stream = await rig.opened(1)
        rig.pipe.send(spdy.SynStream(3), spdy.Data(1, b"still here"))
        assert await rig.pipe.down.get() == spdy.Reset(3, spdy.REFUSED_STREAM)
        assert await stream.read() == b"still here"

    play(scenario, streams_max=1)


def test_pings_come_back_and_unknown_streams_are_nobodys(play: Any) -> None:
    async def scenario(rig: Rig) -> None:
        rig.pipe.send(spdy.Data(9, b"?"), spdy.Reset(9, 1), spdy.Ping(2), spdy.Settings(((4, 100),)), spdy.Ping(7))
        assert await rig.pipe.down.get() == spdy.Ping(7), "2 would be an answer to a ping of ours"

    play(scenario)


@pytest.mark.parametrize("number", [2, 1])
def test_a_stream_number_out_of_order_ends_the_connection(play: Any, number: int) -> None:
    async def scenario(rig: Rig) -> None:
        stream = await rig.opened(1)
        rig.pipe.send(spdy.SynStream(number))
        assert await rig.pipe.down.get() == spdy.GoAway(1, spdy.PROTOCOL_ERROR)
        await rig.run
        with pytest.raises(ConnectionResetError):
            await stream.read()

    play(scenario)


def test_a_client_that_leaves_breaks_its_streams(play: Any) -> None:
    async def scenario(rig: Rig) -> None:
        stream = await rig.opened()
        rig.pipe.up.put_nowait(b"")
        await rig.run
        with pytest.raises(ConnectionResetError):
            await stream.read()
        with pytest.raises(ConnectionResetError):
            await stream.write(b"x")

    play(scenario)


def test_a_reset_breaks_one_stream(play: Any) -> None:
    async def scenario(rig: Rig) -> None:
        first, second = await rig.opened(1), await rig.opened(3)
        rig.pipe.send(spdy.Reset(1, spdy.CANCEL), spdy.Data(3, b"on"))
        assert await second.read() == b"on"
        with pytest.raises(ConnectionResetError):
            await first.read()

    play(scenario)


def test_what_nobody_reads_holds_the_client_up(play: Any) -> None:
    async def scenario(rig: Rig) -> None:
        stream = await rig.opened()
        piece = bytes(BYTES_MAX // 2)
        rig.pipe.send(spdy.Data(1, piece), spdy.Data(1, piece), spdy.Data(1, b"later"), spdy.Ping(1))
        for _ in range(20):
            await asyncio.sleep(0)
        assert rig.pipe.down.empty(), "the ping waits behind what can't be kept"
        assert len(await stream.read()) == BYTES_MAX
        assert await rig.pipe.down.get() == spdy.WindowUpdate(1, BYTES_MAX)
        assert await rig.pipe.down.get() == spdy.Ping(1)
        assert await stream.read() == b"later"

    play(scenario)


def test_a_discarded_stream_holds_nobody_up(play: Any) -> None:
    async def scenario(rig: Rig) -> None:
        stream = await rig.opened()
        stream.discard()
        rig.pipe.send(*[spdy.Data(1, bytes(BYTES_MAX))] * 3, spdy.Ping(1))
        assert await rig.pipe.down.get() == spdy.Ping(1)

    play(scenario)


def test_leaving_says_so_and_refuses_what_still_comes(play: Any) -> None:
    async def scenario(rig: Rig) -> None:
        await rig.opened(1)
        await rig.session.leave()
        assert await rig.pipe.down.get() == spdy.GoAway(1, 0)
        rig.pipe.send(spdy.SynStream(3))
        assert await rig.pipe.down.get() == spdy.Reset(3, spdy.REFUSED_STREAM)

    play(scenario)


def test_large_writes_are_cut(play: Any) -> None:
    async def scenario(rig: Rig) -> None:
        stream = await rig.opened()
        await stream.write(bytes(100_000))
        frames = [rig.pipe.down.get_nowait() for _ in range(rig.pipe.down.qsize())]
        assert all(isinstance(frame, spdy.Data) and len(frame.data) <= 32 << 10 for frame in frames)
        assert b"".join(frame.data for frame in frames if isinstance(frame, spdy.Data)) == bytes(100_000)

    play(scenario)
