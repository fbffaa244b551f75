"""The benchmarks' own client of etcd: what it puts on the wire, what it reads from it, and that a real etcd agrees."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
import uvloop
from hypothesis import given
from hypothesis import strategies as st

from bench.drivers import EtcdDriver
from bench.etcd_client import EtcdClient, event_value, put_request, revision_of, update_request
from bench.hpack import HeaderBlocks
from bench.http2 import FRAME, MESSAGE, Call, CallFailed, Http2Connection, Type, frame
from bench.protobuf import bytes_field, bytes_in, fields, number_field, number_in, read_varint, varint
from bench.trios import EtcdTrio, trio


@given(st.integers(0, (1 << 64) - 1))
def test_a_varint_is_read_as_it_was_written(number: int) -> None:
    assert read_varint(b"x" + varint(number) + b"y", 1) == (number, 1 + len(varint(number)))


@given(st.lists(st.tuples(st.integers(1, 1000), st.integers(0, (1 << 63) - 1) | st.binary(max_size=300))))
def test_fields_are_read_as_they_were_written(written: list[tuple[int, int | bytes]]) -> None:
    encoded = b"".join(
        number_field(field, value) if isinstance(value, int) else bytes_field(field, value) for field, value in written
    )
    assert list(fields(encoded)) == written


def test_a_message_that_is_cut_short_is_refused() -> None:
    with pytest.raises(ValueError, match="cut short"):
        list(fields(bytes_field(1, b"four")[:-1]))


def test_known_encodings() -> None:
    assert put_request(b"k", b"v") == b"\x0a\x01k\x12\x01v"
    compare, put, read = (value for _, value in fields(update_request(b"k", b"v", 7)))
    assert compare == b"\x10\x02\x1a\x01k\x30\x07", "target MOD, key, mod_revision"
    assert (put, read) == (b"\x12\x06" + put_request(b"k", b"v"), b"\x0a\x03\x0a\x01k")
    answer = bytes_field(1, number_field(1, 5) + number_field(3, 42))
    assert revision_of(answer) == 42
    assert (number_in(answer, 9), bytes_in(answer, 9)) == (0, b"")


def test_a_header_field_is_sent_once_and_then_named_by_its_index() -> None:
    """Decoded by hand after RFC 7541: 62 is the newest entry of the dynamic table."""
    blocks = HeaderBlocks("h:1")
    first = blocks.block(b"/a")
    assert first == b"\x83\x87\x44\x02/a\x41\x03h:1\x5f\x10application/grpc\x40\x02te\x08trailers"
    assert blocks.block(b"/a") == bytes((0x83, 0x87, 0x80 | 65, 0x80 | 64, 0x80 | 63, 0x80 | 62))
    assert blocks.block(b"/b") == b"\x83\x87\x44\x02/b" + bytes((0x80 | 65, 0x80 | 64, 0x80 | 63))
    assert blocks.block(b"/a") == bytes((0x83, 0x87, 0x80 | 66, 0x80 | 65, 0x80 | 64, 0x80 | 63))
    assert blocks.block(b"/b") == bytes((0x83, 0x87, 0x80 | 62, 0x80 | 65, 0x80 | 64, 0x80 | 63))


class FakeTransport(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = bytearray()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += data

    def abort(self) -> None:
        pass


def frames(data: bytes) -> list[tuple[int, int, int, bytes]]:
    found, at = [], 0
    while at < len(data):
        head, flags, stream = FRAME.unpack_from(data, at)
        end = at + FRAME.size + (head >> 8)
        found.append((head & 0xFF, flags, stream, data[at + FRAME.size : end]))
        at = end
    return found


async def connected() -> tuple[Http2Connection, FakeTransport]:
    connection, transport = Http2Connection("h:1"), FakeTransport()
    connection.connection_made(transport)
    await asyncio.sleep(0)
    transport.written.clear()
    return connection, transport


def answer(stream: int, body: bytes) -> bytes:
    headers, data = frame(Type.HEADERS, 4, stream, b"\x88"), frame(Type.DATA, 0, stream, MESSAGE.pack(0, len(body)))
    return headers + data + frame(Type.DATA, 0, stream, body) + frame(Type.HEADERS, 5, stream, b"\x40")


def test_answers_come_to_their_calls_however_the_bytes_are_cut() -> None:
    async def run() -> None:
        for size in (1, 7, 10_000):
            connection, _ = await connected()
            calls = [connection.unary(b"/a", b"one"), connection.unary(b"/a", b"two")]
            received = answer(3, b"second") + answer(1, b"first")
            for at in range(0, len(received), size):
                connection.data_received(received[at : at + size])
            assert [call.result() for call in calls] == [b"first", b"second"]

    asyncio.run(run())


def test_a_call_without_an_answer_has_failed_and_so_have_all_on_a_lost_connection() -> None:
    async def run() -> None:
        connection, _ = await connected()
        refused, cut = connection.unary(b"/a", b""), connection.unary(b"/a", b"")
        connection.data_received(frame(Type.HEADERS, 5, 1, b"\x88"))
        connection.connection_lost(None)
        for call in (refused, cut):
            with pytest.raises(CallFailed):
                call.result()
        with pytest.raises(CallFailed):
            connection.unary(b"/a", b"")

    asyncio.run(run())


def test_requests_wait_for_the_window_and_leave_in_order() -> None:
    async def run() -> None:
        connection, transport = await connected()
        sent = [bytes([number]) * 16_000 for number in range(6)]
        for body in sent:
            connection.unary(b"/a", body)
        await asyncio.sleep(0)
        assert [body[5:] for kind, _, _, body in frames(bytes(transport.written)) if kind == Type.DATA] == sent[:4]
        connection.data_received(frame(Type.WINDOW_UPDATE, 0, 0, (65_535).to_bytes(4, "big")))
        await asyncio.sleep(0)
        assert [body[5:] for kind, _, _, body in frames(bytes(transport.written)) if kind == Type.DATA] == sent

    asyncio.run(run())


def test_pings_and_settings_are_answered() -> None:
    async def run() -> None:
        connection, transport = await connected()
        connection.data_received(frame(Type.PING, 0, 0, b"12345678") + frame(Type.SETTINGS, 0, 0, b""))
        await asyncio.sleep(0)
        assert frames(bytes(transport.written)) == [(Type.PING, 1, 0, b"12345678"), (Type.SETTINGS, 1, 0, b"")]

    asyncio.run(run())


def test_messages_of_a_stream_come_one_by_one() -> None:
    async def run() -> None:
        seen: list[bytes] = []
        call = Call(asyncio.get_running_loop().create_future(), seen.append)
        joined = b"".join(MESSAGE.pack(0, len(body)) + body for body in (b"a", b"", b"ccc"))
        for byte in joined:
            call.data(bytes((byte,)))
        assert seen == [b"a", b"", b"ccc"]

    asyncio.run(run())


async def with_client(members: EtcdTrio, body: Callable[[EtcdClient], Awaitable[None]]) -> None:
    driver = EtcdDriver(list(members.endpoints.values()), members.client)
    await driver.start()
    try:
        await body(driver.client)
    finally:
        await driver.close()


@pytest.mark.thorough
@pytest.mark.e2e
def test_a_real_etcd_understands_every_call(tool: Callable[[str], str]) -> None:
    tool("etcd")

    async def calls(client: EtcdClient) -> None:
        values: list[bytes] = []
        arrived = asyncio.Event()

        def on_events(events: list[bytes]) -> None:
            values.extend(event_value(event) for event in events)
            if len(values) == 3 * 2:
                arrived.set()

        await client.watch(b"k/", b"k0", 3, on_events)
        await client.put(b"k/1", b"one")
        read = await client.range(b"k/1")
        assert (read.count, bytes_in(read.kvs[0], 5)) == (1, b"one")
        updated, revision = await client.update(b"k/1", b"two", read.revision)
        assert (updated, revision) == (True, read.revision + 1)
        assert not (await client.update(b"k/1", b"three", read.revision))[0]
        async with asyncio.timeout(10):
            await arrived.wait()
        assert sorted(values) == [b"one"] * 3 + [b"two"] * 3
        await asyncio.gather(*(client.put(b"m/%03d" % number, bytes(8_000)) for number in range(200)))
        assert await client.keys(b"m/", b"m0") == {b"m/%03d" % number for number in range(200)}
        lease = await client.grant(60)
        await client.keep_alive(lease)
        await client.keep_alive(lease)
        await client.revoke(lease)
        with pytest.raises(CallFailed):
            await client.revoke(lease)
        await client.compact(revision)
        status = await client.status()
        assert status.leads
        assert status.has_leader

    with trio(EtcdTrio) as members:
        assert isinstance(members, EtcdTrio)
        uvloop.run(with_client(members, calls))
