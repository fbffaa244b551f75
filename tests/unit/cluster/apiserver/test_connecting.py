"""exec, attach, portforward and log: from the client to an agent that writes down what it is asked."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from oarlock.cluster.apiserver.settings import Tls
from oarlock.cluster.boot.pki import Authority

PODS = "/api/v1/namespaces/default/pods"
SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\r\n"
UPGRADE = {"Connection": "Upgrade", "Upgrade": "SPDY/3.1", "X-Stream-Protocol-Version": "v4"}


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Tls:
    files = Authority(tmp_path_factory.mktemp("pki")).issue("x", "oarlock", ["system:masters"], ["127.0.0.1"])
    return Tls(files.ca, files.cert, files.key)


class Agent:
    """Answers each connection with `reply`; after a 101 it sends back what it gets, in capitals."""

    def __init__(self) -> None:
        self.heads: list[str] = []
        self.reply = SWITCHED
        self.port = 0
        self.left = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            self.heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
            writer.write(self.reply)
            while self.reply.startswith(b"HTTP/1.1 101") and (data := await reader.read(1000)):
                writer.write(data.upper())
        except (OSError, EOFError):
            pass
        finally:
            writer.close()
            self.left.set()


@asynccontextmanager
async def agent_of(api: Any, objects: Any, tls: Tls) -> AsyncIterator[Agent]:
    """An agent with its node, and the pod `p` on it."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=tls.ca_file)
    context.load_cert_chain(tls.cert_file, tls.key_file)
    context.verify_mode = ssl.CERT_REQUIRED
    agent = Agent()
    server = await asyncio.start_server(agent.serve, "127.0.0.1", 0, ssl=context)
    agent.port = server.sockets[0].getsockname()[1]
    endpoints = {"kubeletEndpoint": {"Port": agent.port}}
    state = {"addresses": [{"type": "InternalIP", "address": "127.0.0.1"}], "daemonEndpoints": endpoints}
    await api.made("/api/v1/nodes", {"metadata": {"name": "n"}})
    code, answer = await api("PATCH", "/api/v1/nodes/n/status", {"status": state}, "application/merge-patch+json")
    assert code == 200, answer
    await api.made(PODS, objects.pod("p", nodeName="n"))
    await api.made(PODS, objects.pod("homeless"))
    try:
        yield agent
    finally:
        server.close()


async def opened(api: Any, method: str, path: str, **headers: str) -> tuple[str, asyncio.StreamReader, Any]:
    """Send a request for another protocol; return the answer's head and the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", api.server.port)
    lines = "".join(f"{name}: {value}\r\n" for name, value in {"Host": "api", **headers}.items())
    writer.write(f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode())
    return (await reader.readuntil(b"\r\n\r\n")).decode(), reader, writer


Play = Callable[[Callable[[Any, Agent], Awaitable[None]]], None]


@pytest.fixture
def play(with_api: Any, objects: Any, tls: Tls) -> Play:
    def run(scenario: Callable[[Any, Agent], Awaitable[None]]) -> None:
        async def inside(api: Any) -> None:
            async with asyncio.timeout(20), agent_of(api, objects, tls) as agent:
                await scenario(api, agent)

        with_api(inside, kubelet_tls=tls)

    return run


@pytest.mark.parametrize(
    ("asked", "passed"),
    [
        (
            "exec?command=sh&command=-c&command=a%20b&stdin=true&stdout=1&tty=0",
            "/exec/default/p/c?input=1&output=1&command=sh&command=-c&command=a+b",
        ),
        ("attach?stdout=true&stderr=true&container=c", "/attach/default/p/c?output=1&error=1"),
        ("portforward?ports=80&ports=81", "/portForward/default/p?port=80&port=81"),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_bytes_pass_both_ways_after_the_agent_agrees(play: Play, method: str, asked: str, passed: str) -> None:
    async def scenario(api: Any, agent: Agent) -> None:
        secret = {"Authorization": "Bearer secret", **UPGRADE}
        head, reader, writer = await opened(api, method, f"{PODS}/p/{asked}", **secret)
        assert head.encode() == SWITCHED
        writer.write(b"hello")
        assert await reader.readexactly(5) == b"HELLO"
        request = agent.heads[0]
        assert request.startswith(f"{method} {passed} HTTP/1.1\r\n")
        assert "X-Stream-Protocol-Version: v4\r\n" in request
        assert "secret" not in request
        writer.close()
        await agent.left.wait()

    play(scenario)


def test_what_the_client_sends_ahead_is_not_lost(play: Play) -> None:
    async def scenario(api: Any, agent: Agent) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", api.server.port)
        lines = "Host: api\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        writer.write(f"GET {PODS}/p/attach?stdout=1 HTTP/1.1\r\n{lines}\r\nahead".encode())
        await reader.readuntil(b"\r\n\r\n")
        assert await reader.readexactly(5) == b"AHEAD"
        writer.close()

    play(scenario)


def test_the_agents_end_ends_the_client(play: Play) -> None:
    async def scenario(api: Any, agent: Agent) -> None:
        _, reader, writer = await opened(api, "POST", f"{PODS}/p/attach?stdout=1", **UPGRADE)
        writer.write_eof()
        assert await reader.read() == b""
        await agent.left.wait()

    play(scenario)


def test_a_stopping_server_ends_streams(with_api: Any, objects: Any, tls: Tls) -> None:
    async def scenario(api: Any) -> None:
        async with agent_of(api, objects, tls) as agent:
            _, reader, _ = await opened(api, "POST", f"{PODS}/p/attach?stdout=1", **UPGRADE)
            async with asyncio.timeout(10):
                await api.server.stop()
                assert await reader.read() == b""
                await agent.left.wait()

    with_api(scenario, kubelet_tls=tls, shutdown_grace_s=0.1)


def test_the_agents_refusal_is_the_answer(play: Play) -> None:
    async def scenario(api: Any, agent: Agent) -> None:
        agent.reply = b"HTTP/1.1 403 Forbidden\r\nContent-Type: text/plain\r\nContent-Length: 7\r\n\r\nno way\n"
        head, reader, _ = await opened(api, "POST", f"{PODS}/p/exec?command=x&stdout=1", **UPGRADE)
        assert head.startswith("HTTP/1.1 403 ")
        assert await reader.readexactly(7) == b"no way\n"

    play(scenario)


@pytest.mark.parametrize(
    ("path", "headers", "code", "said"),
    [
        ("p/exec?command=x&stdout=1", {}, 400, "Upgrade request required"),
        ("none/exec?command=x&stdout=1", UPGRADE, 404, 'pods \\"none\\" not found'),
        ("homeless/exec?command=x&stdout=1", UPGRADE, 400, "pod homeless does not have a host assigned"),
        ("p/exec?command=x&stdout=1&container=d", UPGRADE, 400, "container d is not valid for pod p"),
    ],
)
def test_what_cannot_be_streamed_is_refused(
    play: Play, path: str, headers: dict[str, str], code: int, said: str
) -> None:
    async def scenario(api: Any, agent: Agent) -> None:
        head, reader, _ = await opened(api, "POST", f"{PODS}/{path}", **headers)
        assert head.startswith(f"HTTP/1.1 {code} ")
        assert said in (await reader.read(4096)).decode()
        assert not agent.heads

    play(scenario)


@pytest.mark.parametrize("reply", [b"", b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 100_000])
def test_an_agent_that_makes_no_sense_is_an_internal_error(play: Play, reply: bytes) -> None:
    async def scenario(api: Any, agent: Agent) -> None:
        agent.reply = reply
        head, reader, _ = await opened(api, "POST", f"{PODS}/p/exec?command=x&stdout=1", **UPGRADE)
        assert head.startswith("HTTP/1.1 500 ")
        assert b'"kind":"Status"' in await reader.read(4096)

    play(scenario)


def test_an_agent_that_is_not_there(play: Play) -> None:
    async def scenario(api: Any, agent: Agent) -> None:
        endpoints = {"status": {"daemonEndpoints": {"kubeletEndpoint": {"Port": 1}}}}
        await api("PATCH", "/api/v1/nodes/n/status", endpoints, "application/merge-patch+json")
        _, reader, _ = await opened(api, "POST", f"{PODS}/p/exec?command=x&stdout=1", **UPGRADE)
        said = b"error dialing backend: dial tcp 127.0.0.1:1: connect: connection refused"
        assert said in await reader.read(4096)
        code, answer = await api("GET", f"{PODS}/p/log")
        assert code == 500
        assert answer["message"].endswith("dial tcp 127.0.0.1:1: connect: connection refused")

    play(scenario)


def test_an_agent_of_another_cluster_is_not_spoken_to(play: Play, tmp_path: Path) -> None:
    async def scenario(api: Any, agent: Agent) -> None:
        stranger = Authority(tmp_path).issue("x", "x", [], ["127.0.0.1"])
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(stranger.cert, stranger.key)
        other = await asyncio.start_server(agent.serve, "127.0.0.1", 0, ssl=context)
        port = other.sockets[0].getsockname()[1]
        endpoints = {"status": {"daemonEndpoints": {"kubeletEndpoint": {"Port": port}}}}
        await api("PATCH", "/api/v1/nodes/n/status", endpoints, "application/merge-patch+json")
        head, reader, _ = await opened(api, "POST", f"{PODS}/p/exec?command=x&stdout=1", **UPGRADE)
        assert head.startswith("HTTP/1.1 500 ")
        assert b"tls: " in await reader.read(4096)
        code, answer = await api("GET", f"{PODS}/p/log")
        assert (code, "tls: " in answer["message"]) == (500, True)
        assert not agent.heads
        agent.reply = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
        assert await api("GET", f"{PODS}/p/log?insecureSkipTLSVerifyBackend=true") == (200, "ok")
        other.close()

    play(scenario)


@pytest.mark.parametrize(
    ("query", "passed"),
    [
        ("", ""),
        ("follow=true&previous=1&timestamps=yes", "?follow=true&previous=true&timestamps=true"),
        ("tailLines=0&limitBytes=5&sinceSeconds=7", "?tailLines=0&limitBytes=5&sinceSeconds=7"),
        ("sinceTime=2026-01-02T03:04:05%2B01:00", "?sinceTime=2026-01-02T02%3A04%3A05Z"),
    ],
)
def test_log_options_reach_the_agent(play: Play, query: str, passed: str) -> None:
    async def scenario(api: Any, agent: Agent) -> None:
        agent.reply = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nline"
        assert await api("GET", f"{PODS}/p/log?{query}") == (200, "line")
        assert agent.heads[0].startswith(f"GET /containerLogs/default/p/c{passed} HTTP/1.1\r\n")

    play(scenario)


@pytest.mark.parametrize(
    ("query", "code", "said"),
    [
        ("tailLines=-1", 422, "tailLines: Invalid value: -1: must be greater than or equal to 0"),
        ("limitBytes=0", 422, "limitBytes: Invalid value: 0: must be greater than 0"),
        ("sinceSeconds=0", 422, "sinceSeconds: Invalid value: 0: must be greater than 0"),
        ("stream=Stdout", 422, "stream: Forbidden: may not be specified"),
        ("sinceSeconds=1&sinceTime=2026-01-02T03:04:05Z", 422, "at most one of `sinceTime` or `sinceSeconds`"),
        ("sinceTime=yesterday", 400, 'parsing time "yesterday" as "2006-01-02T15:04:05Z07:00"'),
        ("limitBytes=many", 400, 'strconv.ParseInt: parsing "many": invalid syntax'),
        ("container=d", 400, "container d is not valid for pod p"),
    ],
)
def test_log_options_are_checked(play: Play, query: str, code: int, said: str) -> None:
    async def scenario(api: Any, agent: Agent) -> None:
        answered, answer = await api("GET", f"{PODS}/p/log?{query}")
        assert (answered, answer["kind"]) == (code, "Status")
        assert said in answer["message"]
        assert not agent.heads

    play(scenario)


@pytest.mark.parametrize(
    ("status", "code", "said"),
    [
        ("400 Bad Request", 400, "container is waiting"),
        ("404 Not Found", 404, "the server could not find the requested resource ( pods/log p)"),
        ("500 Internal Server Error", 500, "Internal error occurred: container is waiting"),
    ],
)
def test_the_agents_refusal_of_a_log_is_a_status(play: Play, status: str, code: int, said: str) -> None:
    async def scenario(api: Any, agent: Agent) -> None:
        agent.reply = f"HTTP/1.1 {status}\r\nContent-Length: 21\r\n\r\ncontainer is waiting\n".encode()
        answered, answer = await api("GET", f"{PODS}/p/log")
        assert (answered, answer["kind"], answer["message"]) == (code, "Status", said)

    play(scenario)


def test_a_pod_without_a_node_has_an_empty_log(play: Play) -> None:
    async def scenario(api: Any, agent: Agent) -> None:
        assert await api("GET", f"{PODS}/homeless/log") == (200, "")

    play(scenario)
