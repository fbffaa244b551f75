"""A client that knows several API servers: it stays with one until that fails or hangs, and goes on at the next."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from oarlock.cluster.client import ClientSettings, Unreachable, silence
from oarlock.cluster.client.http import ApiClient
from oarlock.cluster.client.leases import LeaseHolder
from oarlock.cluster.client.servers import Servers


class Server:
    """Answers `{"server": NAME}`; a watch says so once and stays open. Held requests wait until they are let go."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.ready_status, self.ready_text = 200, "ok"
        self.status = 200
        self.is_leaving = False
        self.asked: list[tuple[str, str]] = []
        self.port = 0
        self.going_on = asyncio.Event()
        self.going_on.set()
        self._runner: web.ServerRunner | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        self._runner = web.ServerRunner(web.Server(self._answer), shutdown_timeout=0.01)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port)
        await site.start()
        self.port = int(self._runner.addresses[0][1])

    async def stop(self) -> None:
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        self.asked.append((request.method, request.path))
        await self.going_on.wait()
        if request.path == "/readyz":
            return web.Response(status=self.ready_status, text=self.ready_text)
        if "watch" in request.query:
            return await self._stream(request)
        if request.path.endswith("/renew"):
            return web.json_response({"epoch": 1})
        if request.path.endswith("/acquire"):
            return web.json_response({"epoch": 1, "revision": 1})
        answer = web.json_response({"server": self.name}, status=self.status)
        if self.is_leaving:
            answer.force_close()
        return answer

    async def _stream(self, request: web.BaseRequest) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        await answer.write(b'{"type":"ADDED","object":{"server":"%b"}}\n' % self.name.encode())
        await asyncio.Event().wait()
        return answer


@asynccontextmanager
async def servers(count: int = 2) -> AsyncIterator[list[Server]]:
    made = [Server("abc"[number]) for number in range(count)]
    try:
        for server in made:
            await server.start()
        yield made
    finally:
        for server in made:
            server.going_on.set()
            await server.stop()


def run(scenario: Callable[[ApiClient, Server, Server], Awaitable[None]]) -> None:
    """Run with a client and two servers, the one that it asks first and the other."""

    async def inside() -> None:
        async with asyncio.timeout(30), servers() as made, ApiClient(settings(made)) as client:
            first = made[client._servers.current != made[0].url]
            await scenario(client, first, made[1 - made.index(first)])

    asyncio.run(inside())


def settings(made: list[Server]) -> ClientSettings:
    return ClientSettings(",".join(server.url for server in made))


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in (("DOUBT_S", 0.1), ("SILENCE_S", 0.3), ("PATIENCE_MIN_S", 0.05)):
        monkeypatch.setattr(silence, name, seconds)
    monkeypatch.setattr("oarlock.cluster.client.http.SILENCE_S", 0.3)


def test_one_server_is_asked_until_it_fails_and_then_the_next() -> None:
    async def scenario(client: ApiClient, first: Server, second: Server) -> None:
        for _ in range(3):
            assert await client.get("/x") == {"server": first.name}
        await first.stop()
        assert await client.get("/x") == {"server": second.name}
        await first.start()
        assert await client.create("/x", {}) == {"server": second.name}, "it stays with who serves it"

    run(scenario)


def test_a_write_that_was_refused_a_connection_goes_to_the_next_server_without_a_pause(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def scenario(client: ApiClient, first: Server, second: Server) -> None:
        paused: list[float] = []
        sleep = asyncio.sleep

        async def note(delay_s: float) -> None:
            paused.append(delay_s)
            await sleep(delay_s)

        monkeypatch.setattr("oarlock.cluster.client.http.asyncio.sleep", note)
        await first.stop()
        assert await client.create("/x", {}) == {"server": second.name}
        assert not any(paused)

    run(scenario)


def test_attempts_are_bounded_when_no_server_answers() -> None:
    async def scenario(client: ApiClient, first: Server, second: Server) -> None:
        await first.stop()
        await second.stop()
        with pytest.raises(Unreachable) as failure:
            await client.create("/x", {})
        assert not failure.value.sent

    run(scenario)


def test_a_write_whose_connection_broke_is_not_repeated_but_the_next_goes_elsewhere() -> None:
    async def scenario(client: ApiClient, first: Server, second: Server) -> None:
        first.going_on.clear()
        writing = asyncio.create_task(client.create("/x", {}))
        while not first.asked:  # noqa: ASYNC110 - a state of the loop itself
            await asyncio.sleep(0)
        await first.stop()
        with pytest.raises(Unreachable) as failure:
            await writing
        assert failure.value.sent, "nobody knows whether it was carried out"
        assert ("POST", "/x") not in second.asked
        assert await client.create("/x", {}) == {"server": second.name}

    run(scenario)


@pytest.mark.usefixtures("impatient")
def test_requests_and_watches_leave_a_server_that_hangs() -> None:
    async def scenario(client: ApiClient, first: Server, second: Server) -> None:
        watch = client.watch("/x")
        assert (await anext(watch))["object"] == {"server": first.name}
        first.going_on.clear()
        assert await client.get("/x") == {"server": second.name}
        with pytest.raises(Unreachable):
            await anext(watch)
        resumed = client.watch("/x")
        assert (await anext(resumed))["object"] == {"server": second.name}
        await resumed.aclose()

    run(scenario)


@pytest.mark.usefixtures("impatient")
def test_a_server_that_lost_the_store_loses_its_watches_and_one_that_drains_keeps_them() -> None:
    async def scenario(client: ApiClient, first: Server, second: Server) -> None:
        watch = client.watch("/x")
        await anext(watch)
        following = asyncio.ensure_future(anext(watch))
        first.status = 503
        for text in ("[-]shutdown failed: reason withheld", "[-]etcd failed: reason withheld"):
            client._servers.failed(second.url)
            assert client._servers.current == first.url
            first.ready_status, first.ready_text = 500, text
            with pytest.raises(Exception, match="503"):
                await client.get("/x")
            while client._doubts._asking:
                await asyncio.gather(*client._doubts._asking.values())
            assert await client.get("/x") == {"server": second.name}
            assert following.done() == ("etcd" in text)
        with pytest.raises(Unreachable):
            await following

    run(scenario)


@pytest.mark.usefixtures("impatient")
def test_a_slow_answer_moves_nobody_while_its_server_is_ready() -> None:
    async def scenario(client: ApiClient, first: Server, second: Server) -> None:
        for _ in range(3):
            client._doubts.doubt(first.url, client._state)
            await asyncio.gather(*client._doubts._asking.values())
        assert await client.get("/x") == {"server": first.name}
        assert not second.asked

    run(scenario)


def test_a_lease_outlives_the_hang_of_the_server_that_renewed_it() -> None:
    async def scenario(client: ApiClient, first: Server, second: Server) -> None:
        holder = LeaseHolder(client, "x", "me", ttl_s=2.0)
        await holder.acquire()
        first.going_on.clear()
        while ("POST", "/oarlock/v1/leases/x/renew") not in second.asked:
            await asyncio.sleep(0.01)
            assert holder.held
        await holder.release()

    run(scenario)


def test_clients_are_spread_over_the_servers() -> None:
    urls = ["a", "b", "c"]
    assert {Servers(urls, random.Random(seed)).current for seed in range(20)} == set(urls)


def test_a_server_that_says_good_bye_is_asked_no_more() -> None:
    async def scenario(client: ApiClient, first: Server, second: Server) -> None:
        first.is_leaving = True
        assert await client.get("/x") == {"server": first.name}
        assert await client.get("/x") == {"server": second.name}

    run(scenario)


def test_many_failures_of_one_server_move_everybody_on_once() -> None:
    chosen = Servers(["a", "b", "c"], random.Random(1))
    first = chosen.current
    assert all(chosen.failed(first) for _ in range(5))
    second = chosen.current
    assert second != first
    chosen.failed(second)
    assert chosen.current not in (first, second)


def test_a_lone_server_stays_the_one() -> None:
    lone = Servers(["a"])
    assert not lone.failed("a")
    assert lone.current == "a"


def test_servers_that_do_not_go_together_are_refused() -> None:
    with pytest.raises(ValueError, match="all https or all http"):
        ClientSettings("https://a:1,http://b:1")
