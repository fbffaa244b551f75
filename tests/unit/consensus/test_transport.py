"""Only members of the same cluster, by certificate, can speak to a replica; whatever else comes is refused."""

from __future__ import annotations

import asyncio
import random
import socket
import ssl
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from harness.authority import Authority

from oarlock.consensus.certificates import NAME_PREFIX, Tls, tls_context
from oarlock.consensus.messages import (
    FRAME_BYTES_MAX,
    LENGTH,
    PROTOCOL,
    Append,
    FrameReader,
    Hello,
    MalformedFrame,
    RaftMessage,
    VoteReply,
    decode_messages,
    frame,
)
from oarlock.consensus.transport import PeerTransport

APPEND = Append(3, 7, 2, 5, 11, [(3, b"data")])


class Peer:
    """A transport that records what it is told."""

    def __init__(self, name: str, members: dict[str, tuple[str, int]], tls: Tls | None, cluster: str = "one") -> None:
        self.messages: asyncio.Queue[tuple[str, RaftMessage]] = asyncio.Queue()
        self.up: asyncio.Queue[str] = asyncio.Queue()
        self.down: asyncio.Queue[str] = asyncio.Queue()
        self.transport = PeerTransport(
            name, cluster, members, tls,
            on_message=lambda peer, message: self.messages.put_nowait((peer, message)),
            on_turn=lambda: None, on_up=self.up.put_nowait, on_down=self.down.put_nowait, rng=random.Random(1),
        )  # fmt: skip


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(20):
            await test()

    asyncio.run(limited())


def listeners(*names: str) -> tuple[dict[str, tuple[str, int]], dict[str, socket.socket]]:
    sockets = {name: socket.create_server(("127.0.0.1", 0)) for name in names}
    return {name: listener.getsockname() for name, listener in sockets.items()}, sockets


@pytest.mark.parametrize("encrypted", [True, False])
def test_members_exchange_messages_and_notice_a_loss(tmp_path: Path, encrypted: bool) -> None:
    authority = Authority(tmp_path)

    async def test() -> None:
        members, sockets = listeners("a", "b")
        a, b = (Peer(name, members, authority.issue(NAME_PREFIX + name) if encrypted else None) for name in ("a", "b"))
        await a.transport.start(sockets["a"])
        await b.transport.start(sockets["b"])
        assert await a.up.get() == "b"
        a.transport.send("b", APPEND)
        a.transport.send("b", VoteReply(4, granted=True, trial=False))
        a.transport.flush()
        assert await b.messages.get() == ("a", APPEND)
        assert await b.messages.get() == ("a", VoteReply(4, granted=True, trial=False))
        await a.transport.stop()
        assert await b.down.get() == "a"
        await b.transport.stop()

    run(test)


async def refusal_of(member: Peer, address: tuple[str, int], hello: bytes, context: ssl.SSLContext | None) -> bytes:
    """Return what a stranger is told before the connection ends; nothing may have reached the member."""
    reader, writer = await asyncio.open_connection(*address, ssl=context)
    writer.write(hello)
    writer.write(frame([APPEND]))
    try:
        answer = await reader.read()
    except ConnectionError:
        answer = b""
    writer.close()
    assert member.messages.empty()
    return answer


def stranger_test(tls: Tls | None, attempt: Callable[[Peer, tuple[str, int]], Awaitable[None]]) -> None:
    async def test() -> None:
        members, sockets = listeners("a", "b")
        sockets["b"].close()
        member = Peer("a", members, tls)
        await member.transport.start(sockets["a"])
        try:
            await attempt(member, members["a"])
        finally:
            await member.transport.stop()

    run(test)


@pytest.mark.parametrize(
    ("hello", "reason"),
    [
        (Hello("oarlock-raft/0", "one", "b", "a"), b"speaks"),
        (Hello(PROTOCOL, "two", "b", "a"), b"another cluster"),
        (Hello(PROTOCOL, "one", "b", "c"), b"this is member a"),
        (Hello(PROTOCOL, "one", "z", "a"), b"no member"),
        (Hello(PROTOCOL, "one", "a", "a"), b"no member"),
    ],
)
def test_a_stranger_is_told_why(hello: Hello, reason: bytes) -> None:
    async def attempt(member: Peer, address: tuple[str, int]) -> None:
        assert reason in await refusal_of(member, address, frame(hello), None)

    stranger_test(None, attempt)


@pytest.mark.parametrize("name", ["system:oarlock:store:c", "system:kube-scheduler", "b"])
def test_a_certificate_speaks_for_its_own_name_only(tmp_path: Path, name: str) -> None:
    authority = Authority(tmp_path)

    async def attempt(member: Peer, address: tuple[str, int]) -> None:
        context = tls_context(authority.issue(name), server=False)
        hello = frame(Hello(PROTOCOL, "one", "b", "a"))
        assert b"doesn't make it member b" in await refusal_of(member, address, hello, context)

    stranger_test(authority.issue(NAME_PREFIX + "a"), attempt)


def test_another_authority_is_nobody(tmp_path: Path) -> None:
    ours, theirs = Authority(tmp_path / "ours"), Authority(tmp_path / "theirs")

    async def attempt(member: Peer, address: tuple[str, int]) -> None:
        tls = theirs.issue(NAME_PREFIX + "b")
        context = tls_context(Tls(tmp_path / "ours" / "ca.crt", tls.cert_file, tls.key_file), server=False)
        with pytest.raises((OSError, AssertionError)):
            assert await refusal_of(member, address, frame(Hello(PROTOCOL, "one", "b", "a")), context)

    stranger_test(ours.issue(NAME_PREFIX + "a"), attempt)


@pytest.mark.parametrize(
    "data",
    [b"GET / HTTP/1.1\r\n\r\n", LENGTH.pack(2**31), LENGTH.pack(4) + b"\xc1\xc1\xc1\xc1", LENGTH.pack(1) + b"\x80"],
)
def test_garbage_is_refused(data: bytes) -> None:
    async def attempt(member: Peer, address: tuple[str, int]) -> None:
        assert b"malformed frame" in await refusal_of(member, address, data, None)

    stranger_test(None, attempt)


def test_frames_are_cut_from_any_pieces() -> None:
    stream = frame([APPEND]) + frame([APPEND, VoteReply(1, granted=False, trial=True)])
    for size in (1, 3, 7, len(stream)):
        reader = FrameReader()
        pieces = [stream[start : start + size] for start in range(0, len(stream), size)]
        bodies = [body for piece in pieces for body in reader.feed(piece)]
        assert [message for body in bodies for message in decode_messages(body)] == [
            APPEND, APPEND, VoteReply(1, granted=False, trial=True),
        ]  # fmt: skip


def test_a_frame_that_is_too_long_is_refused_before_it_is_read() -> None:
    with pytest.raises(MalformedFrame, match="at most"):
        list(FrameReader().feed(LENGTH.pack(FRAME_BYTES_MAX + 1)))
