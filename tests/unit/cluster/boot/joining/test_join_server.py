"""A real join server on loopback, asked by the real client: what is given, to whom, and what is refused."""

from __future__ import annotations

import asyncio
import http.client
import json
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from oarlock.cluster.apiserver.exchange import Request, Response
from oarlock.cluster.apiserver.http import HttpFront
from oarlock.cluster.apiserver.settings import Tls
from oarlock.cluster.boot import hoststate
from oarlock.cluster.boot.drafts import files
from oarlock.cluster.boot.errors import BootError
from oarlock.cluster.boot.hostlayout import JOIN_GROUP
from oarlock.cluster.boot.hosts import Cluster, HostRecord
from oarlock.cluster.boot.joining import client
from oarlock.cluster.boot.joining.attempts import FAILURES_MAX
from oarlock.cluster.boot.joining.client import Met, NotReached
from oarlock.cluster.boot.joining.judging import Asked
from oarlock.cluster.boot.joining.paths import NODE, OPEN, RENEW, SERVER, TOKENS
from oarlock.cluster.boot.joining.requests import new_request
from oarlock.cluster.boot.joining.server import BODY_BYTES_MAX, JoinServer, JoinSettings
from oarlock.cluster.boot.jointokens import Secrets, Token, ca_hash
from oarlock.cluster.boot.pki import MASTERS, Authority
from oarlock.cluster.boot.state import StateFolder
from oarlock.cluster.client.settings import ClientSettings

HOST = "127.0.0.1"
MEMBERS = {"a": "127.0.9.1", "b": "127.0.9.2", "c": "127.0.9.3"}
"""Nobody listens there: requests come from 127.0.0.1, and so from no server."""


class World:
    """A founder's folder with its join server; `nodes` is what the API says, None while there is none."""

    def __init__(self, path: Path) -> None:
        self.folder = StateFolder(path)
        self.folder.create()
        self.authority = Authority(self.folder.pki)
        self.authority.service_account_key()
        self.cluster = Cluster("oarlock", "0123", MEMBERS, "0.1.0")
        self.nodes: list[dict[str, Any]] | None = []
        self.port = 0

    @property
    def digest(self) -> str:
        return ca_hash((self.folder.pki / "ca.crt").read_text())

    @property
    def secrets(self) -> Secrets:
        return hoststate.load_secrets(self.folder)

    def token(self, secret: str) -> Token:
        return Token(self.digest, secret)

    def meet(self) -> Met:
        return client.meet(HOST, self.port, self.digest)

    def join_server(self, token: Token, asked: Asked) -> dict[str, Any]:
        return client.join(self.meet(), SERVER, token, asked)

    def join_node(self, token: Token, asked: Asked, key: Path) -> dict[str, Any]:
        return client.join(self.meet(), NODE, token, asked, {"request": new_request(asked.host, key)})

    async def api(self, request: Request) -> Response:
        if self.nodes is None:
            return Response(503, b'{"kind":"Status","code":503,"message":"no leader"}')
        return Response(200, orjson.dumps({"kind": "NodeList", "metadata": {}, "items": self.nodes}))


@asynccontextmanager
async def serving(path: Path) -> AsyncIterator[World]:
    world = World(path)
    tls = Tls(**files(world.authority.issue("join", "system:oarlock:server:a", [JOIN_GROUP, MASTERS], [HOST])))
    api = HttpFront(HOST, 0, None, world.api)
    await api.start()
    record = HostRecord(world.cluster, "a", MEMBERS["a"], "server", "first")
    settings = JoinSettings(world.folder, HOST, 0, tls, ClientSettings(f"http://{HOST}:{api.port}"))
    server = JoinServer(settings, record)
    await server.start()
    world.port = server.port
    try:
        yield world
    finally:
        await server.stop()
        await api.stop(0, 0)


def asked(**changes: Any) -> Asked:
    return replace(Asked("0.1.0", time.time(), "mine"), **changes)


def run(path: Path, use: Callable[[World], Awaitable[None]]) -> None:
    async def main() -> None:
        async with serving(path / "state") as world:
            await use(world)

    asyncio.run(main())


def test_a_server_gets_what_servers_have_in_common(tmp_path: Path) -> None:
    async def use(world: World) -> None:
        given = await asyncio.to_thread(world.join_server, world.token(world.secrets.server), asked(host="b"))
        assert given["host"] == "b"
        assert Cluster.of(given["cluster"]) == world.cluster
        pki = world.folder.pki
        for name in ("ca.crt", "ca.key", "service-accounts.key", "ray-token"):
            assert given["files"][name] == (pki / name).read_text()
        assert Secrets.of(given["tokens"]) == world.secrets

    run(tmp_path, use)


def test_a_nodes_key_stays_where_it_is_and_its_certificate_is_for_where_it_comes_from(tmp_path: Path) -> None:
    async def use(world: World) -> None:
        key = tmp_path / "node.key"
        given = await asyncio.to_thread(world.join_node, world.token(world.secrets.node), asked(host="w"), key)
        assert given["address"] == HOST
        assert "key" not in json.dumps(sorted(given))
        cert = x509.load_pem_x509_certificate(given["certificate"].encode())
        cert.verify_directly_issued_by(x509.load_pem_x509_certificate((world.folder.pki / "ca.crt").read_bytes()))
        mine = serialization.load_pem_private_key(key.read_bytes(), None)
        assert cert.public_key() == mine.public_key()
        assert "CN=system:node:w" in cert.subject.rfc4514_string()
        names = [str(one.value) for one in cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value]
        assert names == [HOST, HOST, "localhost", "w"]

    run(tmp_path, use)


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"version": "0.3.1"}, "this host has version 0.3.1 of Oarlock, the cluster has 0.1.0"),
        ({"cluster_id": "4567"}, "the host's state folder is of the cluster 4567"),
        ({"host": "d"}, "d is none of the cluster's servers"),
        ({"host": ""}, "which is the address of none of the servers"),
        ({"host": "a"}, "server a has joined already"),
        ({"time_s": 1.0}, "behind the cluster's"),
    ],
)
def test_a_server_that_does_not_fit_gets_nothing(tmp_path: Path, changes: dict[str, Any], cause: str) -> None:
    async def use(world: World) -> None:
        with pytest.raises(BootError, match=cause):
            await asyncio.to_thread(world.join_server, world.token(world.secrets.server), asked(**changes))

    run(tmp_path, use)


def test_a_wrong_secret_and_the_other_token_are_refused(tmp_path: Path) -> None:
    async def use(world: World) -> None:
        for secret, cause in (
            ("0" * 32, "secret is not this cluster's server token"),
            (world.secrets.node, "is the node token"),
        ):
            with pytest.raises(BootError, match=cause):
                await asyncio.to_thread(world.join_server, world.token(secret), asked(host="b"))

    run(tmp_path, use)


def test_guessing_ends_soon(tmp_path: Path) -> None:
    async def use(world: World) -> None:
        met = await asyncio.to_thread(world.meet)
        for _ in range(FAILURES_MAX):
            with pytest.raises(BootError, match="secret"):
                await asyncio.to_thread(client.join, met, SERVER, world.token("0" * 32), asked(host="b"))
        with pytest.raises(BootError, match="refused too often"):
            await asyncio.to_thread(client.join, met, SERVER, world.token(world.secrets.server), asked(host="b"))

    run(tmp_path, use)


def test_nothing_secret_is_said_to_another_cluster(tmp_path: Path) -> None:
    async def use(world: World) -> None:
        with pytest.raises(BootError, match="the token is of another cluster"):
            await asyncio.to_thread(client.meet, HOST, world.port, "0" * 64)

    run(tmp_path, use)


def test_a_wrong_clock_is_named_before_certificates_fail_for_it(tmp_path: Path) -> None:
    async def use(world: World) -> None:
        with pytest.raises(BootError, match="clock is 90 s ahead of the cluster's"):
            await asyncio.to_thread(client.meet, HOST, world.port, world.digest, lambda: time.time() + 90)

    run(tmp_path, use)


def test_who_shows_the_right_ca_without_its_key_learns_no_secret(tmp_path: Path) -> None:
    """An impostor can repeat the CA's certificate, but has none that was issued by it."""

    async def use(world: World) -> None:
        impostor = await asyncio.to_thread(Authority, tmp_path)
        heard: list[str] = []

        async def handle(request: Request) -> Response:
            heard.append(request.path)
            pem = (world.folder.pki / "ca.crt").read_text()
            told = {"ca": pem, "time_s": time.time(), "instance": "x", "version": "0.1.0"}
            return Response(200, orjson.dumps(told))

        front = HttpFront(HOST, 0, Tls(**files(impostor.issue("x", "x", [], [HOST]))), handle)
        await front.start()
        try:
            met = await asyncio.to_thread(client.meet, HOST, front.port, world.digest)
            with pytest.raises(NotReached, match="certificate is refused"):
                await asyncio.to_thread(client.join, met, SERVER, world.token(world.secrets.server), asked(host="b"))
        finally:
            await front.stop(0, 0)
        assert heard == [OPEN]

    run(tmp_path, use)


def test_a_node_waits_while_no_api_server_is_ready(tmp_path: Path) -> None:
    async def use(world: World) -> None:
        world.nodes = None
        with pytest.raises(NotReached, match="no API server is ready yet"):
            await asyncio.to_thread(
                world.join_node, world.token(world.secrets.node), asked(host="w"), tmp_path / "node.key"
            )

    run(tmp_path, use)


def test_a_node_does_not_take_the_name_of_one_that_lives(tmp_path: Path) -> None:
    async def use(world: World) -> None:
        addresses = [{"type": "InternalIP", "address": "127.0.0.7"}]
        conditions = [{"type": "Ready", "status": "True"}]
        world.nodes = [{"metadata": {"name": "w"}, "status": {"addresses": addresses, "conditions": conditions}}]
        with pytest.raises(BootError, match="a node named w has joined already and is Ready, at 127.0.0.7"):
            await asyncio.to_thread(
                world.join_node, world.token(world.secrets.node), asked(host="w"), tmp_path / "node.key"
            )

    run(tmp_path, use)


def test_a_node_renews_with_its_own_certificate_and_nobody_else(tmp_path: Path) -> None:
    async def use(world: World) -> None:
        key = tmp_path / "node.key"
        given = await asyncio.to_thread(world.join_node, world.token(world.secrets.node), asked(host="w"), key)
        (tmp_path / "node.crt").write_text(given["certificate"])
        met = await asyncio.to_thread(world.meet)
        body = {"request": new_request("w", tmp_path / "next.key")}
        pair = (tmp_path / "node.crt", key)
        renewed = await asyncio.to_thread(client.ask_as_host, met, "POST", RENEW, pair, body)
        cert = x509.load_pem_x509_certificate(renewed["certificate"].encode())
        assert "CN=system:node:w" in cert.subject.rfc4514_string()
        other = world.authority.issue("other", "system:oarlock:resp", [MASTERS])
        with pytest.raises(BootError, match="only a node's own certificate"):
            await asyncio.to_thread(client.ask_as_host, met, "POST", RENEW, (other.cert, other.key), body)

    run(tmp_path, use)


def test_servers_hand_rotated_tokens_to_each_other_and_to_nobody_else(tmp_path: Path) -> None:
    async def use(world: World) -> None:
        met = await asyncio.to_thread(world.meet)
        fresh, before = world.secrets.rotated("node"), world.secrets
        other = world.authority.issue("other", "system:node:w", ["system:nodes", MASTERS])
        for method in ("GET", "PUT"):
            with pytest.raises(BootError, match="only servers of the cluster"):
                await asyncio.to_thread(
                    client.ask_as_host, met, method, TOKENS, (other.cert, other.key), fresh.document()
                )
        assert world.secrets == before
        pki = world.folder.pki
        pair = (pki / "join.crt", pki / "join.key")
        await asyncio.to_thread(client.ask_as_host, met, "PUT", TOKENS, pair, fresh.document())
        assert world.secrets == fresh
        await asyncio.to_thread(client.ask_as_host, met, "PUT", TOKENS, pair, before.document())
        assert world.secrets == fresh

    run(tmp_path, use)


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/", None, 404),
        ("POST", SERVER, b"{}", 401),
        ("POST", NODE, b"no json", 400),
        ("POST", NODE, b"[]", 400),
        ("POST", NODE, b"x" * (BODY_BYTES_MAX + 1), 413),
        ("POST", RENEW, b"{}", 401),
    ],
)
def test_nonsense_is_answered_in_order(tmp_path: Path, method: str, path: str, body: bytes | None, status: int) -> None:
    async def use(world: World) -> None:
        headers = {"Authorization": f"Bearer {world.secrets.node}"} if path == NODE else {}

        def ask() -> tuple[int, Any]:
            context = ssl.create_default_context(cafile=str(world.folder.pki / "ca.crt"))
            connection = http.client.HTTPSConnection(HOST, world.port, context=context, timeout=10)
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())

        found, document = await asyncio.to_thread(ask)
        assert found == status
        assert document["cause"]
        assert document["way_out"]

    run(tmp_path, use)
