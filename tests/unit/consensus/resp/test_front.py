"""Redis' commands on a real replica, under the lease that a session is bound to."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from harness.authority import Authority
from harness.redis import Redis, ReplyError, encoded
from harness.store import client, endpoint, free_ports, replica, run

from oarlock.consensus.certificates import Tls, tls_context
from oarlock.consensus.client import StoreClient
from oarlock.consensus.memory import MemoryStore
from oarlock.consensus.model import Delete, Put, Range, Transaction, TransactionResult, Unavailable, UnknownOutcome
from oarlock.consensus.resp.server import RespServer, RespSettings

PASSWORD = "secret"
LEASE = b"/leases/gcs"


@contextlib.asynccontextmanager
async def front(store: Any, tls: Tls | None = None) -> AsyncIterator[RespServer]:
    server = RespServer(RespSettings("127.0.0.1", 0, PASSWORD, "/resp/", "/leases/", tls), store)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


async def begin_term(store: Any) -> int:
    """Pass the lease on, and return its epoch."""
    await store.transact(Transaction(success=(Delete(LEASE),)))
    done: TransactionResult = await store.transact(Transaction(success=(Put(LEASE, b"holder"),)))
    return done.revision


async def bound(server: RespServer, store: Any) -> Redis:
    redis = await Redis.connect(server.port)
    assert await redis("AUTH", f"gcs={await begin_term(store)}", PASSWORD) == "OK"
    return redis


async def refused(redis: Redis, *words: bytes | str | int) -> str:
    with pytest.raises(ReplyError) as raised:
        await redis(*words)
    return str(raised.value)


SCRIPT: list[tuple[tuple[bytes | str | int, ...], Any]] = [
    (("PING",), "PONG"),
    (("ping", "hello"), b"hello"),
    (("HSET", "h", "a", "1"), 1),
    (("HSET", "h", "a", "2", "b", "3", "b", "4"), 1),
    (("HGET", "h", "a"), b"2"),
    (("HGET", "h", "b"), b"4"),
    (("HGET", "h", "z"), None),
    (("HGET", "nothing", "a"), None),
    (("HSETNX", "h", "a", "9"), 0),
    (("HSETNX", "h", "n", ""), 1),
    (("HMGET", "h", "b", "z", "a", "b", "n"), [b"4", None, b"2", b"4", b""]),
    (("HMGET", "nothing", "b", "a"), [None, None]),
    (("HEXISTS", "h", "n"), 1),
    (("HEXISTS", "h", "z"), 0),
    (("HSET", "h2", b"\0\r\n\xff", b"\0\xff"), 1),
    (("HGET", "h2", b"\0\r\n\xff"), b"\0\xff"),
    (("HDEL", "h", "a", "a", "z"), 1),
    (("HGET", "h", "a"), None),
    (("INCRBY", "n", 5), 5),
    (("INCRBY", "n", -7), -2),
    (("INCRBY", "n", "x"), "ERR value is not an integer or out of range"),
    (("INCRBY", "n", 9223372036854775807), 9223372036854775805),
    (("INCRBY", "n", 3), "ERR increment or decrement would overflow"),
    (("HSET", "n", "a", "1"), "WRONGTYPE Operation against a key holding the wrong kind of value"),
    (("INCRBY", "h", 1), "WRONGTYPE Operation against a key holding the wrong kind of value"),
    (("HSET", "h", "a"), "ERR wrong number of arguments for 'hset' command"),
    (("HSET", "h", "a", "b", "c"), "ERR wrong number of arguments for 'hset' command"),
    (("HSCAN", "h", "x"), "ERR invalid cursor"),
    (("HSCAN", "h", 0, "MATCH"), "ERR syntax error"),
    (("HSCAN", "h", 0, "COUNT", 0), "ERR syntax error"),
    (("HSCAN", "nothing", 0), [b"0", []]),
    (("DEL", "h", "n", "nothing", "h"), 2),
    (("HEXISTS", "h", "b"), 0),
    (("INCRBY", "n", 1), 1),
    (("UNLINK", "n"), 1),
    (("DEL", "DUMMY"), 0),
    (("FLUSHDB",), "OK"),
    (("HGET", "h2", b"\0\r\n\xff"), None),
]


async def play(redis: Redis) -> list[Any]:
    """Send the script in one go and return what was answered."""
    for words, _ in SCRIPT:
        redis.send(encoded(*words))
    replies = [await redis.receive() for _ in SCRIPT]
    return [str(reply) if isinstance(reply, ReplyError) else reply for reply in replies]


def test_commands_on_a_replica(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with replica(tmp_path) as server, client(endpoint(server)) as store, front(store) as resp:
            redis = await bound(resp, store)
            assert await play(redis) == [reply for _, reply in SCRIPT]
            assert (await store.range(Range(b"/resp/", b"/resp0"))).count == 0

    run(scenario)


def test_redis_itself_answers_the_same(tmp_path: Path, tool: Callable[[str], str]) -> None:
    program = tool("redis-server")
    port = free_ports(1)[0]
    command = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)

    async def scenario() -> None:
        while True:
            with contextlib.suppress(OSError):
                redis = await Redis.connect(port)
                break
            await asyncio.sleep(0.02)
        assert await play(redis) == [reply for _, reply in SCRIPT]

    try:
        run(scenario)
    finally:
        process.terminate()
        process.wait()


def test_a_scan_finds_every_field_once() -> None:
    async def scenario() -> None:
        store = MemoryStore()
        async with front(store) as resp:
            redis = await bound(resp, store)
            for number in range(250):
                await redis("HSET", "h", f"t:{number}", number)
            await redis("HSET", "h", "u:1", "x", "h2", "y")
            await redis("HSET", "h2", "t:1", "x")
            found, cursor = list[bytes](), b"0"
            while True:
                cursor, part = await redis("HSCAN", "h", cursor, "MATCH", "t:*", "COUNT", 100)
                found += part
                if cursor == b"0":
                    break
            assert len(found) == 500
            assert dict(zip(found[::2], found[1::2], strict=True)) == {b"t:%d" % n: b"%d" % n for n in range(250)}
            assert await redis("HDEL", "h", *(f"t:{number}" for number in range(300))) == 250
            assert await refused(redis, "HSCAN", "h2", 1) == "ERR invalid cursor"

    run(scenario)


def test_who_may_do_what() -> None:
    async def scenario() -> None:
        store = MemoryStore()
        async with front(store) as resp:
            epoch = await begin_term(store)
            redis = await Redis.connect(resp.port)
            assert await refused(redis, "HGET", "h", "a") == "NOAUTH Authentication required."
            assert await redis("AUTH", PASSWORD) == "OK"
            assert await redis("HGET", "h", "a") is None
            assert (await refused(redis, "HSET", "h", "a", "1")).startswith("NOPERM")
            assert await redis("AUTH", f"gcs={epoch}", PASSWORD) == "OK"
            assert await redis("HSET", "h", "a", "1") == 1
            assert await refused(redis, "CONFIG", "GET", "*") == "ERR unknown command 'CONFIG'"
            wrong = [(PASSWORD + "x",), (f"gcs={epoch}", "x"), (f"gcs={epoch + 1}", PASSWORD), ("gcs", PASSWORD)]
            for words in (*wrong, (f"../gcs={epoch}", PASSWORD)):
                stranger = await Redis.connect(resp.port)
                assert (await refused(stranger, "AUTH", *words)).startswith("WRONGPASS")
                assert await stranger.ended() == b"", "whoever guesses has to connect again"
            long = await Redis.connect(resp.port)
            long.send(b"*1\r\n$5000\r\n")
            assert b"Protocol error" in await long.ended()

    run(scenario)


def test_a_value_too_large_is_refused_with_the_reason() -> None:
    async def scenario() -> None:
        store = MemoryStore()
        async with front(store) as resp:
            redis = await bound(resp, store)
            assert "too large" in await refused(redis, "HSET", "h", "a", bytes(2_000_000))
            assert await redis("HSET", "h", "a", bytes(1_500_000)) == 1
            assert await redis("HGET", "h", "a") == bytes(1_500_000)
            assert "too many operations" in await refused(redis, "HSET", "h", *range(400))
            assert "zero byte" in await refused(redis, "HSET", b"h\0", "a", "b")

    run(scenario)


def test_a_deposed_session_is_cut_and_writes_nothing(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with replica(tmp_path) as server, client(endpoint(server)) as store, front(store) as resp:
            old = await bound(resp, store)
            assert await old("HSET", "h", "a", "old") == 1
            new = await bound(resp, store)
            assert await old.ended() == b""
            assert await new("HGET", "h", "a") == b"old"
            await store.transact(Transaction(success=(Delete(LEASE),)))
            assert await new.ended() == b""

    run(scenario)


class Interrupted:
    """A store whose transactions fail as told, behind that a real one."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self.failures: list[Exception] = []
        self.blind = asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def transact(self, transaction: Transaction) -> TransactionResult:
        if self.failures:
            raise self.failures.pop(0)
        return await self._store.transact(transaction)

    def watch(self, *arguments: Any) -> Any:
        """Show nothing: the guard of a write has to do without the watch."""

        class Blind:
            def __aiter__(self) -> Any:
                return self

            async def __anext__(self) -> Any:
                await asyncio.Event().wait()

            async def close(self) -> None: ...

        return Blind()


def test_a_write_of_the_deposed_fails_before_it_is_told() -> None:
    async def scenario() -> None:
        store = Interrupted(MemoryStore())
        async with front(store) as resp:
            redis = await bound(resp, store)
            await begin_term(store)
            redis.send(encoded("HSET", "h", "a", "late"))
            assert await redis.ended() == b""
            assert (await store.range(Range(b"/resp/", b"/resp0"))).count == 0

    run(scenario)


def test_no_leader_is_an_error_and_an_unknown_outcome_ends_the_session() -> None:
    async def scenario() -> None:
        store = Interrupted(MemoryStore())
        async with front(store) as resp:
            redis = await bound(resp, store)
            store.failures = [Unavailable("no leader within 10 s")]
            assert (await refused(redis, "INCRBY", "n", 1)).startswith("TRYAGAIN nothing was done")
            assert await redis("INCRBY", "n", 1) == 1
            store.failures = [UnknownOutcome("no answer")]
            redis.send(encoded("INCRBY", "n", 1) + encoded("PING"))
            assert await redis.ended() == b"", "no reply would be true"

    run(scenario)


def test_replies_wait_while_there_is_no_leader(tmp_path: Path) -> None:
    async def scenario() -> None:
        folder, port = tmp_path, free_ports(1)[0]
        async with contextlib.AsyncExitStack() as stack:
            async with replica(folder, port=port):
                store = StoreClient([f"127.0.0.1:{port}"])
                await store.start()
                stack.push_async_callback(store.close)
                resp = await stack.enter_async_context(front(store))
                redis = await bound(resp, store)
                assert await redis("HSET", "h", "a", "1") == 1
            redis.send(encoded("HSET", "h", "b", "2") + encoded("HGET", "h", "a"))
            waiting = asyncio.ensure_future(redis.receive())
            assert not (await asyncio.wait((waiting,), timeout=0.3))[0]
            async with replica(folder, port=port):
                assert await waiting == 1
                assert await redis.receive() == b"1"
                redis.close()
                await store.close()

    run(scenario)


def test_over_tls_a_certificate_is_wanted_beside_the_password(tmp_path: Path) -> None:
    async def scenario() -> None:
        ours, theirs = Authority(tmp_path / "ours"), Authority(tmp_path / "theirs")
        store = MemoryStore()
        async with front(store, ours.issue("front")) as resp:
            context = tls_context(ours.issue("gcs"), server=False)
            redis = await Redis.connect(resp.port, context=context)
            assert await redis("AUTH", PASSWORD) == "OK"
            plain = await Redis.connect(resp.port)
            plain.send(encoded("AUTH", PASSWORD))
            assert b"OK" not in await plain.ended()
            strange = tls_context(theirs.issue("gcs"), server=False)
            strange.load_verify_locations(cadata=ours.pem.decode())
            with pytest.raises((OSError, asyncio.IncompleteReadError)):
                await (await Redis.connect(resp.port, context=strange))("AUTH", PASSWORD)

    run(scenario)
