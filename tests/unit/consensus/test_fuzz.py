"""Any bytes at all decode to a value or to the one malformed error, and a replica under garbage goes on serving."""

from __future__ import annotations

import asyncio
import contextlib
import random
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from harness.store import client, endpoint, everything, put, replica, run
from hypothesis import given, settings
from hypothesis import strategies as st

from oarlock.consensus import encoding, messages, wire
from oarlock.consensus.commands import Command, Compact, Grant, Revoke
from oarlock.consensus.encoding import decode_command, decode_error, encode, encode_command, encode_error
from oarlock.consensus.model import Compare, InvalidRequest, Put, Range, Transaction
from oarlock.consensus.wire import PROTOCOL, Hello, Kind, WatchRequest

Decode = Callable[[bytes], object]
# What the readers of these turn into a refusal: the decoders of single values are used by those alone.
MALFORMED = (InvalidRequest, messages.MalformedFrame, *encoding.MALFORMED)
BYTES_MAX = 1 << 20
"""What decoding a few hundred bytes may take."""

PEER = [
    messages.frame([messages.Append(3, 7, 2, 5, 11, [(3, b"data"), (3, bytes(100))])]),
    messages.frame([messages.AppendReply(3, True, 9, 7, 11), messages.VoteReply(4, True, False)]),
    messages.frame([messages.VoteRequest(4, 9, 3, True), messages.SnapshotReply(4, 9, -1)]),
    messages.frame([messages.SnapshotPiece(4, 9, 3, 0, bytes(64), False)]),
    messages.frame(messages.Hello(messages.PROTOCOL, "oarlock", "b", "a")),
]
COMMANDS = [
    encode_command(Command(action, 7, 1, 0))
    for action in (
        Transaction((Compare(b"k", "mod", "==", 3),), (Put(b"k", b"v", 5, True), Range(b"a", b"b", 9))),
        Transaction((Compare(b"k", "value", "!=", b"x"),)),
        Grant(5, 1000),
        Revoke(5),
        Compact(9),
    )
]  # fmt: skip
CLIENT = [
    wire.frame(Kind.HELLO, 0, encode(Hello(PROTOCOL, 7, "oarlock"))),
    *(wire.frame(Kind.COMMAND, 1, command) for command in COMMANDS),
    wire.frame(Kind.RANGE, 2, encode((Range(b"k", b"\0"), False))),
    wire.frame(Kind.KEEP_ALIVE, 3, encode(5)),
    wire.frame(Kind.WATCH, 4, encode(WatchRequest(b"k", b"\0", 2, True, 16))),
    wire.frame(Kind.CREDIT, 4, encode(3)),
    wire.frame(Kind.CANCEL, 4),
    wire.frame(Kind.STATUS, 5),
]


def read_peer(data: bytes) -> object:
    return [messages.decode_messages(body) for body in messages.FrameReader().feed(data)]


def read_client(data: bytes) -> object:
    joiner = wire.Joiner()
    return [joiner.join(piece) for piece in wire.FrameReader().feed(data)]


DECODERS: dict[str, tuple[Decode, list[bytes]]] = {
    "peers' stream": (read_peer, PEER),
    "peers' messages": (messages.decode_messages, [whole[messages.LENGTH.size :] for whole in PEER]),
    "peers' hello": (messages.decode_hello, [PEER[-1][messages.LENGTH.size :]]),
    "clients' stream": (read_client, CLIENT),
    "commands": (decode_command, COMMANDS),
    "errors": (decode_error, [encode_error(InvalidRequest("no"))]),
    "hellos": (msgspec.msgpack.Decoder(Hello).decode, [CLIENT[0][wire.HEADER.size :]]),
    "watches": (msgspec.msgpack.Decoder(WatchRequest).decode, [encode(WatchRequest(b"k", b"", 2, True, 16))]),
    "ranges": (msgspec.msgpack.Decoder(tuple[Range, bool]).decode, [encode((Range(b"k"), False))]),
}


def survives(decode: Decode, data: bytes) -> None:
    """Decode; any exception but the malformed ones comes through."""
    with contextlib.suppress(*MALFORMED):
        decode(data)


def damaged(rng: random.Random, whole: bytes) -> bytes:
    """Return what a hostile or broken sender makes of a valid frame."""
    data = bytearray(whole)
    for _ in range(rng.randrange(1, 4)):
        at = rng.randrange(len(data)) if data else 0
        kind = rng.randrange(6)
        if kind == 0:
            del data[at:]
        elif kind == 1 and data:
            data[at] ^= 1 << rng.randrange(8)
        elif kind == 2:
            data[at:at] = rng.randbytes(rng.randrange(1, 9))
        elif kind == 3:
            data[at : at + 4] = rng.choice([b"\xff\xff\xff\xff", b"\xdd\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff"])
        elif kind == 4:
            del data[at : at + rng.randrange(1, 9)]
        else:
            data += data[at:]
    return bytes(data)


@pytest.mark.parametrize("name", DECODERS)
@settings(max_examples=200, deadline=None)
@given(data=st.binary(max_size=300))
def test_arbitrary_bytes(name: str, data: bytes) -> None:
    survives(DECODERS[name][0], data)


@pytest.mark.parametrize("name", DECODERS)
def test_damaged_frames_in_bounded_memory(name: str) -> None:
    decode, valid = DECODERS[name]
    rng = random.Random(name)
    tracemalloc.start()
    try:
        for whole in valid:
            survives(decode, whole)
            for end in range(len(whole)):
                survives(decode, whole[:end])
            for _ in range(400):
                survives(decode, damaged(rng, whole))
        assert tracemalloc.get_traced_memory()[1] < BYTES_MAX
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", ["peers' messages", "commands", "watches", "ranges", "hellos", "peers' hello"])
@pytest.mark.parametrize("prefix", [b"\xdd", b"\xdf", b"\xc6", b"\xdb", b"\xc9"], ids=bytes.hex)
def test_a_length_of_4_gib_is_not_believed(name: str, prefix: bytes) -> None:
    head = COMMANDS[0][:25] if name == "commands" else b""
    tracemalloc.start()
    try:
        for body in (b"", b"\x93", b"\x90" * 64):
            with pytest.raises(MALFORMED):
                DECODERS[name][0](head + prefix + b"\xff\xff\xff\xff" + body)
        assert tracemalloc.get_traced_memory()[1] < BYTES_MAX
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("nested", [b"\x91" * 10_000, b"\x81\xa1k" * 10_000], ids=["arrays", "maps"])
@pytest.mark.parametrize("name", DECODERS)
def test_deep_nesting(name: str, nested: bytes) -> None:
    head = COMMANDS[0][:25] if name == "commands" else b""
    survives(DECODERS[name][0], head + nested)


async def send(address: tuple[str, int], data: bytes) -> None:
    """Send and read until the other side closes, or says nothing for a moment."""
    with contextlib.suppress(OSError, TimeoutError):
        reader, writer = await asyncio.open_connection(*address)
        try:
            writer.write(data)
            if writer.can_write_eof():
                writer.write_eof()
            async with asyncio.timeout(2):
                while await reader.read(1 << 16):
                    pass
        finally:
            writer.transport.abort()


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_replica_under_garbage_serves_on_undamaged(
    tmp_path: Path, loop: str, caplog: pytest.LogCaptureFixture
) -> None:
    rng = random.Random(1)
    hello = CLIENT[0]
    peer_hello = messages.frame(messages.Hello(messages.PROTOCOL, "oarlock", "b", "a"))

    def garbage(valid: list[bytes], greeting: bytes) -> bytes:
        parts = [rng.choice(valid) for _ in range(rng.randrange(4))]
        return rng.choice([b"", greeting]) + b"".join(parts) + damaged(rng, rng.choice(valid)) + rng.randbytes(40)

    async def scenario() -> None:
        async with replica(tmp_path) as server, client(endpoint(server)) as store:
            for n in range(20):
                await store.transact(put(b"good/%d" % n))
            before = await store.range(Range(b"good/", b"good0"))
            reads = [
                garbage([wire.frame(Kind.RANGE, 2, encode((Range(b"k"), False))), CLIENT[-1]], hello)
                for _ in range(150)
            ]
            peer = [garbage(PEER, peer_hello) for _ in range(150)]
            for one, other in zip(reads, peer, strict=True):
                await asyncio.gather(
                    send(("127.0.0.1", server.port or 0), one), send(server.settings.members["a"], other)
                )
            after = await store.range(Range(b"good/", b"good0"))
            assert (after.kvs, after.revision) == (before.kvs, before.revision)
            assert (await store.transact(put(b"more"))).succeeded
            assert not server._listeners[0].strangers
            whole = await everything(store)
        async with replica(tmp_path) as server, client(endpoint(server)) as store:
            assert await everything(store) == whole

    run(scenario, loop)
    assert not [record for record in caplog.records if record.exc_info]
