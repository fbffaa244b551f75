"""Holding a lease: acquire, renew, lose, hand over."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Any

import orjson
from aiohttp import web

from oarlock.cluster.client.http import ApiClient
from oarlock.cluster.client.leases import LeaseHolder


class Server:
    """One lease: held by the name in `holder`; `renewing` False refuses renewals."""

    def __init__(self) -> None:
        self.holder = ""
        self.epoch = 0
        self.renewals = 0
        self.renewing = True
        self.silent = False
        self.changed = asyncio.Event()
        self.renewed = asyncio.Event()
        self.attached: asyncio.Queue[dict[str, str]] = asyncio.Queue()
        self.breaking = asyncio.Event()
        self.acquiring_s = 0.0
        self.before_answer: Callable[[], Awaitable[object]] | None = None
        """What happens between a renewal and its answer."""

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        if request.method == "GET":
            return await self._watch(request)
        if self.silent:
            await asyncio.Event().wait()
        verb, body = request.path.rpartition("/")[2], await request.json()
        if verb == "acquire":
            await asyncio.sleep(self.acquiring_s)
        if verb == "acquire" and self.holder in ("", body["identity"]):
            self.holder, self.epoch = body["identity"], self.epoch or 41
            return web.json_response({"holder": self.holder, "epoch": self.epoch, "revision": self.epoch})
        if verb == "renew" and self.renewing and self.holder == body["identity"]:
            if self.before_answer is not None:
                await self.before_answer()
            self.renewals += 1
            if self.renewals == 3:
                self.renewed.set()
            return web.json_response({})
        if verb == "release" and self.holder == body["identity"]:
            self.free()
            return web.json_response({})
        return web.json_response({"code": 409, "reason": "Conflict", "message": f"held by {self.holder}"}, status=409)

    def free(self) -> None:
        self.holder, self.epoch = "", self.epoch + 1
        self.changed.set()

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        while True:
            self.changed.clear()
            held = {"type": "HELD", "holder": self.holder, "epoch": self.epoch}
            await answer.write(orjson.dumps(held if self.holder else {"type": "FREE"}) + b"\n")
            if "identity" not in request.query:
                await self.changed.wait()
                continue
            self.attached.put_nowait(dict(request.query))
            await self.breaking.wait()
            self.breaking.clear()
            request.transport.abort()
            return answer


def play(serve: Any, scenario: Any) -> None:
    async def run() -> None:
        server = Server()
        async with serve(server) as settings, ApiClient(settings) as client:
            await asyncio.wait_for(scenario(server, client), 20)

    asyncio.run(run())


def test_a_free_lease_is_taken_and_renewed(serve: Any) -> None:
    async def scenario(server: Server, client: ApiClient) -> None:
        holder = LeaseHolder(client, "scheduler", "me", ttl_s=0.15)
        holding = await holder.acquire()
        assert (holding.fence, holding.revision) == ("scheduler=41", 41)
        await server.renewed.wait()
        assert holder.held
        assert holder.fence == "scheduler=41"
        await holder.release()
        assert not holder.held
        assert server.holder == ""

    play(serve, scenario)


def test_a_refused_renewal_ends_the_term(serve: Any) -> None:
    async def scenario(server: Server, client: ApiClient) -> None:
        holder = LeaseHolder(client, "scheduler", "me", ttl_s=0.15)
        await holder.acquire()
        server.renewing = False
        await holder.lost()
        assert holder.fence is None

    play(serve, scenario)


def test_a_silent_server_ends_the_term_before_the_ttl(serve: Any) -> None:
    async def scenario(server: Server, client: ApiClient) -> None:
        now = [100.0]
        holder = LeaseHolder(client, "scheduler", "me", ttl_s=0.3, clock=lambda: now[0])
        await holder.acquire()
        server.silent = True
        assert holder.held
        now[0] += 0.28
        assert not holder.held, "a sleeping machine must not believe that it still holds the lease"
        await holder.lost()

    play(serve, scenario)


def test_what_a_sleeping_machine_asked_for_before_it_slept_gives_it_nothing(serve: Any) -> None:
    async def scenario(server: Server, client: ApiClient) -> None:
        now = [100.0]
        holder = LeaseHolder(client, "scheduler", "me", ttl_s=0.3, clock=lambda: now[0] + monotonic() - begun)
        begun = monotonic()
        await holder.acquire()

        async def sleep() -> None:
            """The server has renewed the lease and answers; before the answer is read the machine sleeps."""
            now[0] += 5

        server.before_answer = sleep
        await holder.lost()
        assert server.renewals == 1
        assert not holder.held

    play(serve, scenario)


def test_an_answer_that_is_late_counts_and_another_is_asked_for_meanwhile(serve: Any) -> None:
    async def scenario(server: Server, client: ApiClient) -> None:
        waiting: list[asyncio.Event] = []

        async def until_the_next_is_asked_for() -> None:
            """Each is answered when the one after it comes, as on a busy machine, or beside a server that is dying."""
            if waiting:
                waiting[-1].set()
            waiting.append(asyncio.Event())
            await waiting[-1].wait()

        server.before_answer = until_the_next_is_asked_for
        holder = LeaseHolder(client, "scheduler", "me", ttl_s=1.5)
        holding = await holder.acquire()
        await server.renewed.wait()
        assert holder.held
        assert holder.fence == holding.fence
        await holder.release()

    play(serve, scenario)


def test_a_lease_that_took_long_to_get_is_renewed_at_once(serve: Any) -> None:
    """Its term began with the question, and is half over when the answer comes."""

    async def scenario(server: Server, client: ApiClient) -> None:
        server.acquiring_s = 0.9
        holder = LeaseHolder(client, "scheduler", "me", ttl_s=1.5)
        await holder.acquire()
        await server.renewed.wait()
        assert holder.fence == "scheduler=41"
        await holder.release()

    play(serve, scenario)


def test_a_broken_connection_is_made_good_at_once(serve: Any) -> None:
    async def scenario(server: Server, client: ApiClient) -> None:
        holder = LeaseHolder(client, "scheduler", "me", ttl_s=3600)
        await holder.acquire()
        assert await server.attached.get() == {"watch": "1", "identity": "me", "epoch": "41"}
        for _ in range(3):
            server.breaking.set()
            await server.attached.get()
        assert holder.held
        await holder.release()

    play(serve, scenario)


def test_a_standby_takes_over_when_the_lease_falls_free(serve: Any) -> None:
    async def scenario(server: Server, client: ApiClient) -> None:
        server.holder, server.epoch = "other", 7
        holder = LeaseHolder(client, "scheduler", "me", ttl_s=0.5)
        taking = asyncio.ensure_future(holder.acquire())
        done, _ = await asyncio.wait((taking,), timeout=0.05)
        assert not done
        server.free()
        assert (await taking).epoch == 8
        await holder.release()

    play(serve, scenario)


def test_leading_stops_when_the_lease_is_lost_and_begins_anew(serve: Any) -> None:
    async def scenario(server: Server, client: ApiClient) -> None:
        terms: list[int] = []
        ended: list[int] = []
        begun, again = asyncio.Event(), asyncio.Event()

        async def act(holding: Any) -> None:
            terms.append(holding.epoch)
            (begun if len(terms) == 1 else again).set()
            try:
                await asyncio.Event().wait()
            finally:
                ended.append(holding.epoch)

        holder = LeaseHolder(client, "scheduler", "me", ttl_s=0.15)
        leading = asyncio.ensure_future(holder.lead(act))
        await begun.wait()
        server.holder, server.epoch = "", 90
        await again.wait()
        assert ended == [41]
        leading.cancel()
        await asyncio.wait((leading,))
        assert ended == terms == [41, 90]

    play(serve, scenario)
