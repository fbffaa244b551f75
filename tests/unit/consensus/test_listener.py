"""Strangers are bounded in number, time and bytes, and never keep a good client or peer out."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
from pathlib import Path

import pytest
from harness.authority import Authority
from harness.store import client, endpoint, everything, put, replica, run

from oarlock.consensus import connection, listener, servedwatches, server
from oarlock.consensus.certificates import NAME_PREFIX, Tls, tls_context
from oarlock.consensus.client import StoreClient
from oarlock.consensus.connection import Connection
from oarlock.consensus.encoding import encode
from oarlock.consensus.listener import REFUSED, Limits, Listener
from oarlock.consensus.messages import LENGTH
from oarlock.consensus.messages import PROTOCOL as PEER_PROTOCOL
from oarlock.consensus.messages import Hello as PeerHello
from oarlock.consensus.messages import frame as peer_frame
from oarlock.consensus.model import InvalidRequest, Unavailable
from oarlock.consensus.server import StoreServer
from oarlock.consensus.transport import PeerTransport
from oarlock.consensus.wire import FRAME_BYTES_MAX, HEADER, HELLO_BYTES_MAX, PROTOCOL, Hello, Kind, frame

BOTH = pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
SHORT = Limits(strangers_max=8, patience_s=0.3)


@pytest.fixture
def files(tmp_path: Path) -> tuple[Tls, Tls]:
    """The certificates of the replica and of a good client."""
    authority = Authority(tmp_path / "ca")
    return authority.issue(NAME_PREFIX + "a", ["stores"]), authority.issue("api", ["system:masters"])


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have listeners lose patience soon."""
    monkeypatch.setattr(listener, "Limits", lambda: SHORT)


def peer_address(store: StoreServer) -> tuple[str, int]:
    return store.settings.members["a"]


async def ended(reader: asyncio.StreamReader) -> bytes:
    """Return all that comes until the other side closes or resets."""
    got = b""
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(1 << 16):
            got += data
    return got


@BOTH
@pytest.mark.parametrize("encrypted", [True, False])
@pytest.mark.parametrize("sent", [b"", b"\x16\x03\x01", b"\0\0"])
def test_who_says_nothing_is_cut_off(
    tmp_path: Path, files: tuple[Tls, Tls], loop: str, encrypted: bool, sent: bytes
) -> None:
    async def scenario() -> None:
        tls, api = files if encrypted else (None, None)
        async with replica(tmp_path, tls) as store, client(endpoint(store), tls=api) as good:
            refused = REFUSED.labels("clients")._value.get()
            for address in (peer_address(store), ("127.0.0.1", store.port)):
                reader, writer = await asyncio.open_connection(*address)
                writer.write(sent)
                await ended(reader)
                writer.close()
            assert REFUSED.labels("clients")._value.get() == refused + 1
            assert (await good.transact(put(b"k"))).succeeded

    run(scenario, loop)


@BOTH
def test_who_only_shakes_hands_is_cut_off(tmp_path: Path, files: tuple[Tls, Tls], loop: str) -> None:
    async def scenario() -> None:
        tls, api = files
        async with replica(tmp_path, tls) as store:
            context = tls_context(api, server=False)
            for address in (peer_address(store), ("127.0.0.1", store.port)):
                reader, writer = await asyncio.open_connection(*address, ssl=context)
                await ended(reader)
                writer.transport.abort()

    run(scenario, loop)


@BOTH
@pytest.mark.parametrize("encrypted", [True, False])
def test_a_hundred_silent_connections_keep_nobody_out(
    tmp_path: Path, files: tuple[Tls, Tls], loop: str, encrypted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener, "Limits", lambda: Limits(strangers_max=8, patience_s=60))

    async def scenario() -> None:
        tls, api = files if encrypted else (None, None)
        async with replica(tmp_path, tls) as store:
            silent = [await asyncio.open_connection("127.0.0.1", store.port) for _ in range(100)]
            async with client(endpoint(store), tls=api) as good:
                assert (await good.transact(put(b"k"))).succeeded
                assert store._listeners[0].strangers <= 8
                again = [await asyncio.open_connection("127.0.0.1", store.port) for _ in range(50)]
                assert (await good.transact(put(b"k"))).succeeded
            for reader, _ in silent[:90]:
                assert await ended(reader) == b""
            for _, writer in silent + again:
                writer.transport.abort()

    run(scenario, loop)


@BOTH
def test_a_hello_is_short(tmp_path: Path, loop: str) -> None:
    """A stranger's length prefix is never believed."""

    async def scenario() -> None:
        async with replica(tmp_path) as store:
            for size in (HELLO_BYTES_MAX + 1, FRAME_BYTES_MAX, (1 << 32) - 1):
                reader, writer = await asyncio.open_connection("127.0.0.1", store.port)
                writer.write(HEADER.pack(size, Kind.HELLO, 0))
                assert b"malformed frame" in await ended(reader)
                writer.close()
            for size in (HELLO_BYTES_MAX + 1, 32 << 20, (1 << 32) - 1):
                reader, writer = await asyncio.open_connection(*peer_address(store))
                writer.write(LENGTH.pack(size))
                assert b"malformed frame" in await ended(reader)
                writer.close()

    run(scenario, loop)


@BOTH
def test_a_client_s_frame_is_bounded_after_the_hello_too(tmp_path: Path, loop: str) -> None:
    async def scenario() -> None:
        async with replica(tmp_path) as store:
            reader, writer = await asyncio.open_connection("127.0.0.1", store.port)
            writer.write(frame(Kind.HELLO, 0, encode(Hello(PROTOCOL, 7, ""))))
            await reader.readexactly(HEADER.size)
            writer.write(HEADER.pack(FRAME_BYTES_MAX + 1, Kind.COMMAND, 1))
            assert b"malformed frame" in await ended(reader)
            writer.close()

    run(scenario, loop)


def test_connections_of_clients_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "CONNECTIONS_MAX", 2)

    async def scenario() -> None:
        async with replica(tmp_path) as store, client(endpoint(store)) as one:
            async with client(endpoint(store)):
                with pytest.raises(Unavailable, match="serves 2 connections already"):
                    await StoreClient([endpoint(store)], wait_s=0.3).start()
                assert (await one.transact(put(b"k"))).succeeded
            async with client(endpoint(store)) as next_one:
                assert (await next_one.transact(put(b"k"))).succeeded

    run(scenario)


def test_a_peer_has_one_connection_to_send_on(tmp_path: Path) -> None:
    """However often it dials: the newest counts, those before are closed."""

    async def scenario() -> None:
        listening = socket.create_server(("127.0.0.1", 0))
        members = {"a": listening.getsockname(), "b": ("127.0.0.1", 1)}
        downs: list[str] = []
        peers = PeerTransport(
            "a", "one", members, None, on_message=lambda *_: None, on_turn=lambda: None, on_up=lambda _: None,
            on_down=downs.append, rng=random.Random(1),
        )  # fmt: skip
        await peers.start(listening)
        opened: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        for _ in range(20):
            reader, writer = await asyncio.open_connection(*members["a"])
            writer.write(peer_frame(PeerHello(PEER_PROTOCOL, "one", "b", "a")))
            if opened:
                assert await ended(opened[-1][0]) == b""
            opened.append((reader, writer))
        assert downs == []
        await peers.stop()
        for _, writer in opened:
            writer.close()

    run(scenario)


def test_requests_in_progress_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that asks faster than it is answered isn't read from."""
    monkeypatch.setattr(connection, "REQUESTS_MAX", 16)
    paused = []
    done = Connection._done

    def watched(self: Connection, *arguments: object) -> None:
        paused.append(not self._reading)
        done(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Connection, "_done", watched)

    async def scenario() -> None:
        async with replica(tmp_path) as store, client(endpoint(store)) as good:
            results = await asyncio.gather(*(good.transact(put(b"%d" % n)) for n in range(500)))
            assert len({result.revision for result in results}) == 500
            assert (await everything(good))[0] == 501
            assert next(iter(store._connections))._reading

    run(scenario)
    assert any(paused)


def test_watches_of_a_connection_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servedwatches, "WATCHES_MAX", 3)

    async def scenario() -> None:
        async with replica(tmp_path) as store, client(endpoint(store)) as good:
            watches = [good.watch(b"%d" % n, b"", 0) for n in range(3)]
            with pytest.raises(InvalidRequest, match="more than 3 watches"):
                await anext(aiter(good.watch(b"one more", b"", 0)))
            await watches[0].close()
            await good.transact(put(b"1", b"seen"))
            batch = await anext(aiter(watches[1]))
            while not batch.events:
                batch = await anext(aiter(watches[1]))
            assert batch.events[0].kv.value == b"seen"

    run(scenario)


@BOTH
def test_a_stopping_listener_waits_for_nobody(tmp_path: Path, files: tuple[Tls, Tls], loop: str) -> None:
    async def scenario() -> None:
        async with replica(tmp_path, files[0]) as store:
            reader, writer = await asyncio.open_connection("127.0.0.1", store.port)
            writer.write(b"\x16")
            while not store._listeners[0].strangers:  # noqa: ASYNC110 - it comes with the kernel's accept
                await asyncio.sleep(0)
            await store.stop()
            assert await ended(reader) == b""
            writer.close()
            assert not [task for task in asyncio.all_tasks() if "_shake_hands" in repr(task) and not task.cancelling()]

    run(scenario, loop)


def test_reports_are_bounded(caplog: pytest.LogCaptureFixture) -> None:
    """Whoever knocks a thousand times fills no log and no memory."""

    async def scenario() -> None:
        door = Listener("test", lambda _: asyncio.Protocol(), None)
        for n in range(1000):
            door.report(f"10.0.{n >> 8}.{n & 255}", "reason")
            door.report("127.0.0.1", "reason")
        assert len(door._reported) <= listener.REPORTS_MAX
        assert 1 <= caplog.text.count("address=127.0.0.1") <= 8

    run(scenario)


@pytest.mark.parametrize("ttl_ms", [0, -1, 9_000_000_000_001, 1 << 70])
def test_a_lease_s_life_is_bounded(tmp_path: Path, ttl_ms: int) -> None:
    async def scenario() -> None:
        async with replica(tmp_path) as store, client(endpoint(store)) as good:
            with pytest.raises(InvalidRequest):
                await good.lease_grant(ttl_ms)

    run(scenario)
