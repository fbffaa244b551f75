"""A server that is asked to stop: what its clients, and the balancers before it, see of that."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import orjson
import pytest
from harness.apiserver import start_api_server

from oarlock.cluster.apiserver import connection
from oarlock.cluster.apiserver.health import SERVING
from oarlock.cluster.apiserver.server import ApiServer
from oarlock.cluster.apiserver.settings import ApiServerSettings
from oarlock.cluster.client import ClientSettings
from oarlock.cluster.client.http import ApiClient
from oarlock.cluster.unread import unread_bytes
from oarlock.consensus.model import Range

MAPS = "/api/v1/namespaces/default/configmaps"


class Wire:
    """One kept connection, spoken to in bytes."""

    @classmethod
    async def to(cls, server: Any) -> Wire:
        made = cls()
        made.reader, made.writer = await asyncio.open_connection("127.0.0.1", server.port)
        return made

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def send(self, method: str, path: str, body: bytes = b"") -> None:
        head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
        self.writer.write(head.encode() + b"\r\n\r\n" + body)

    async def answer(self) -> tuple[int, str]:
        """Return the status and what the answer says of the connection."""
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode().lower().splitlines()
        fields = dict(line.split(": ", 1) for line in head[1:] if line)
        if "content-length" in fields:
            await self.reader.readexactly(int(fields["content-length"]))
        return int(head[0].split()[1]), fields.get("connection", "")

    async def asked(self, method: str, path: str, body: bytes = b"") -> tuple[int, str]:
        self.send(method, path, body)
        return await self.answer()

    async def ended(self) -> bool:
        return await self.reader.read(1) == b""


async def leaving(server: Any) -> None:
    """Return once each answer is a connection's last."""
    while not server._front._connections.leaving:  # noqa: ASYNC110 - a state of the loop itself
        await asyncio.sleep(0)


def configmap(name: str) -> bytes:
    return orjson.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}})


def test_it_serves_as_before_until_balancers_must_know(with_api: Any) -> None:
    async def scenario(api: Any) -> None:
        kept = await Wire.to(api.server)
        assert await kept.asked("GET", SERVING) == (200, "")
        stopping = asyncio.create_task(api.server.stop())
        await asyncio.sleep(0)
        assert await kept.asked("POST", MAPS, configmap("a")) == (201, "")
        assert await (await Wire.to(api.server)).asked("GET", f"{MAPS}/a") == (200, "")
        assert await kept.asked("GET", SERVING) == (404, "")
        code, text = await api("GET", "/readyz")
        assert code == 500
        assert [line for line in text.splitlines() if line.startswith("[-]")] == ["[-]shutdown failed: reason withheld"]
        assert (await api("GET", "/livez"))[0] == 200
        await stopping

    with_api(scenario, shutdown_delay_s=2.0)


def test_a_balancer_that_is_late_with_its_question_is_waited_for(with_api: Any) -> None:
    async def scenario(api: Any) -> None:
        kept = await Wire.to(api.server)
        assert await kept.asked("GET", SERVING) == (200, "")
        stopping = asyncio.create_task(api.server.stop())
        await asyncio.sleep(0.3)  # longer than the delay
        assert await kept.asked("GET", MAPS) == (200, ""), "nobody has been told yet"
        assert await kept.asked("GET", SERVING) == (404, "")
        await leaving(api.server)
        await stopping

    with_api(scenario, shutdown_delay_s=0.1)


def test_then_each_answer_is_the_last_on_its_connection(with_api: Any) -> None:
    async def scenario(api: Any) -> None:
        kept, quiet = await Wire.to(api.server), await Wire.to(api.server)
        for wire in (kept, quiet):
            await wire.asked("GET", MAPS)
        stopping = asyncio.create_task(api.server.stop())
        await leaving(api.server)
        assert await kept.asked("POST", MAPS, configmap("a")) == (201, "close")
        assert await kept.ended()
        assert await (await Wire.to(api.server)).asked("GET", SERVING) == (404, "close"), "it still listens"
        assert not quiet.reader.at_eof()
        assert await quiet.ended(), "nothing happened on it for long enough"
        await stopping
        with pytest.raises(ConnectionRefusedError):
            await Wire.to(api.server)

    with_api(scenario, shutdown_quiet_s=0.5, shutdown_grace_s=30.0)


def test_a_request_that_has_arrived_keeps_an_idle_connection_open(with_api: Any) -> None:
    async def scenario(api: Any) -> None:
        kept = await Wire.to(api.server)
        await kept.asked("GET", MAPS)
        (served,) = api.server._front._connections.connections
        wire = served.transport.get_extra_info("socket")
        kept.send("GET", MAPS)
        while not unread_bytes(served.transport):
            pass  # the loop must not read it: it is on its way when the server decides
        served.leave_if_quiet(asyncio.get_running_loop().time())
        assert wire.fileno() >= 0
        assert await kept.answer() == (200, "")

    with_api(scenario)


def test_requests_under_way_are_finished(with_api: Any) -> None:
    async def scenario(api: Any) -> None:
        kept = await Wire.to(api.server)
        body = configmap("slow")
        head = (
            f"POST {MAPS} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        kept.writer.write(head.encode() + body[:10])
        await kept.writer.drain()
        while not any(one._request_in_progress for one in api.server._front._connections.connections):  # noqa: ASYNC110
            await asyncio.sleep(0)
        stopping = asyncio.create_task(api.server.stop())
        await leaving(api.server)
        kept.writer.write(body[10:])
        assert await kept.answer() == (201, "close")
        await stopping

    with_api(scenario, shutdown_grace_s=30.0)


def test_a_watch_goes_on_until_then_and_ends_in_order_where_it_can_be_resumed(with_api: Any) -> None:
    async def scenario(api: Any) -> None:
        async with api.session.get(f"{api.server.url}{MAPS}?watch=1&allowWatchBookmarks=true") as answer:
            stopping = asyncio.create_task(api.server.stop())
            await asyncio.sleep(0)
            await api.made(MAPS, orjson.loads(configmap("late")))
            lines = [orjson.loads(line) async for line in answer.content]
        assert [line["object"]["metadata"]["name"] for line in lines if line["type"] == "ADDED"][-1] == "late"
        await stopping

    with_api(scenario, shutdown_delay_s=0.5, shutdown_grace_s=30.0)


def test_a_stream_without_an_end_holds_nobody_up(with_api: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "LASTING_S", 0.1)

    async def scenario(api: Any) -> None:
        kept = await Wire.to(api.server)
        await kept.asked("GET", MAPS)
        (served,) = api.server._front._connections.connections
        served.is_lasting, served._request_in_progress = True, True
        async with asyncio.timeout(10):
            await api.server.stop()

    with_api(scenario, shutdown_grace_s=60.0)


def test_our_own_clients_fail_no_request_while_the_servers_of_their_list_are_restarted(tmp_path: Any) -> None:
    """Several servers over one store, restarted in turn; the client knows all of them."""

    async def scenario() -> None:
        async with start_api_server(tmp_path) as first:
            shared: dict[str, Any] = {"tls": first.server._settings.tls, "loopback_network": True}
            leaves = {"shutdown_delay_s": 0.2, "shutdown_quiet_s": 0.5, "shutdown_grace_s": 10.0}

            async def serve(port: int) -> ApiServer:
                server = ApiServer(ApiServerSettings("x", "127.0.0.1", port, **shared, **leaves), first.store)
                await server.start()
                return server

            servers = [await serve(0), await serve(0)]
            files = {name: getattr(first.admin, name) for name in ("ca_file", "cert_file", "key_file")}
            settings = ClientSettings(",".join(server.url for server in servers), **files)
            done, ending = 0, asyncio.Event()

            async def write(client: ApiClient, worker: int) -> None:
                nonlocal done
                number = 0
                while not ending.is_set():
                    name = f"{worker}-{number}"
                    await client.create(MAPS, orjson.loads(configmap(name)))
                    assert (await client.get(f"{MAPS}/{name}"))["metadata"]["name"] == name
                    await client.patch(f"{MAPS}/{name}", {"data": {"x": "1"}})
                    number, done = number + 1, done + 1

            async with ApiClient(settings) as client, asyncio.TaskGroup() as group:
                for worker in range(4):
                    group.create_task(write(client, worker))
                for at in (0, 1):
                    before = done
                    port = servers[at].port
                    await servers[at].stop()
                    servers[at] = await serve(port)
                    while done < before + 20:  # noqa: ASYNC110 - what the workers did
                        await asyncio.sleep(0.01)
                ending.set()
            for server in servers:
                await server.stop()

    asyncio.run(scenario())


def test_watches_that_come_back_to_a_server_that_leaves_hold_it_up_no_longer(with_api: Any) -> None:
    async def scenario(api: Any) -> None:
        _, held = await api("POST", "/oarlock/v1/leases/x/acquire", {"identity": "a", "ttlMillis": 60000})
        own = f"/oarlock/v1/leases/x?watch=1&identity=a&epoch={held['epoch']}"
        stopping = asyncio.create_task(api.server.stop())
        await leaving(api.server)
        for path in (own, "/oarlock/v1/leases/x?watch=1", f"{MAPS}?watch=1&resourceVersion=1"):
            async with api.watch(path) as event:
                assert await event() is None
        await stopping
        kept = await api.store.range(Range(b"/oarlock/leases/x"))
        assert kept.kvs, "its holder has only to renew it elsewhere"

    with_api(scenario, shutdown_grace_s=60.0, shutdown_quiet_s=1.0)


def test_new_connections_of_a_client_without_a_choice_are_served_to_the_end(with_api: Any) -> None:
    async def scenario(api: Any) -> None:
        stopping = asyncio.create_task(api.server.stop())
        await leaving(api.server)
        async with aiohttp.ClientSession() as fresh, fresh.get(api.server.url + MAPS) as answer:
            assert answer.status == 200
        await stopping

    with_api(scenario, shutdown_grace_s=30.0, shutdown_quiet_s=0.3)
