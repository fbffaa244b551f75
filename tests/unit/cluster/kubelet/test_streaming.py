"""The agent's streaming paths with real containers: every protocol that clients speak, and what is refused."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from oarlock.cluster.client import ClientSettings
from oarlock.cluster.kubelet.agent import NodeAgent
from oarlock.cluster.kubelet.process import kill_all
from oarlock.cluster.kubelet.settings import AgentSettings, Tls
from oarlock.cluster.kubelet.streaming import spdy

PODS = "/api/v1/namespaces/default/pods"
SLEEP = "echo up; exec sleep 600"
READ = 'while read x; do echo "got $x"; [ "$x" = bad ] && echo oops >&2; done; echo over'
SERVE = (
    "import os, socket; s = socket.create_server((os.environ['IP'], 0)); print(s.getsockname()[1], flush=True)\n"
    "while True:\n  c, _ = s.accept()\n  while d := c.recv(65536): c.sendall(d.upper())\n  c.sendall(b'bye'); c.close()"
)
STATUS_OK = {"metadata": {}, "status": "Success"}


def pod(name: str, script: str, **container: Any) -> dict[str, Any]:
    fields = {"name": "c", "image": "host/sh", "command": ["/bin/sh", "-c", script], **container}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "uid": f"uid-{name}", "generation": 1},
        "spec": {
            "nodeName": "n1",
            "containers": [fields],
            "terminationGracePeriodSeconds": 0,
            "restartPolicy": "Never",
        },
        "status": {"phase": "Pending", "qosClass": "BestEffort"},
    }


def running(obj: Any) -> bool:
    return bool(obj) and obj["status"].get("phase") == "Running"


class Client:
    """Speaks to the agent as the API server does."""

    def __init__(self, agent: NodeAgent, tls: Tls, api: Any) -> None:
        self.agent, self.api = agent, api
        self.context = ssl.create_default_context(cafile=tls.ca_file)
        self.context.load_cert_chain(tls.cert_file, tls.key_file)
        self.session: aiohttp.ClientSession

    async def run(self, obj: dict[str, Any]) -> None:
        path = f"{PODS}/{obj['metadata']['name']}"
        self.api.put(path, obj)
        await self.api.until(path, running)

    def url(self, path: str) -> str:
        return f"https://127.0.0.1:{self.agent.port}{path}"

    def socket(self, path: str, *protocols: str) -> Any:
        return self.session.ws_connect(self.url(path), protocols=protocols, ssl=self.context, max_msg_size=0)

    @asynccontextmanager
    async def spdy(self, path: str, *protocols: str) -> AsyncIterator[SpdyClient]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.agent.port, ssl=self.context)
        lines = "".join(f"X-Stream-Protocol-Version: {protocol}\r\n" for protocol in protocols)
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n{lines}\r\n"
        writer.write(head.encode())
        answer = (await reader.readuntil(b"\r\n\r\n")).decode()
        try:
            yield SpdyClient(answer, reader, writer)
        finally:
            writer.close()

    async def refusal(self, path: str, **headers: str) -> tuple[int, str]:
        async with self.session.get(self.url(path), headers=headers, ssl=self.context) as answer:
            return answer.status, await answer.text()


class SpdyClient:
    def __init__(self, head: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.head, self._reader, self._writer = head, reader, writer
        self._encoder, self._decoder = spdy.Encoder(), spdy.Decoder()
        self.received: dict[int, bytes] = {}
        self.ended: set[int] = set()

    def send(self, *frames: spdy.Frame) -> None:
        for frame in frames:
            self._writer.write(self._encoder.encode(frame))

    def open(self, *kinds: str, **headers: str) -> None:
        """Open streams 1, 3, 5 …, one of each kind."""
        for index, kind in enumerate(kinds):
            self.send(spdy.SynStream(2 * index + 1, {"streamtype": kind, **headers}))

    async def until(self, holds: Callable[[], bool]) -> None:
        while not holds():
            data = await self._reader.read(65536)
            assert data, f"the agent left: {self.received}"
            for frame in self._decoder.feed(data):
                if isinstance(frame, spdy.Data):
                    self.received[frame.stream] = self.received.get(frame.stream, b"") + frame.data
                    self.ended |= {frame.stream} if frame.fin else set()
                elif isinstance(frame, spdy.Reset):
                    self.ended.add(-frame.stream)


Scenario = Callable[[Client], Awaitable[None]]


@pytest.fixture
def play(api: Any, root: Path, certificates: Any) -> Callable[[Scenario], None]:
    def run(scenario: Scenario) -> None:
        async def inside() -> None:
            tls = Tls(certificates.ca, certificates.cert, certificates.key)
            client_settings = ClientSettings("http://x")
            settings = AgentSettings(
                "n1", "127.0.0.1", "127.0.0", tls, client_settings, root, 0, allow_host_images=True
            )
            agent = NodeAgent(settings, client=api)
            await agent.start()
            client = Client(agent, tls, api)
            try:
                async with asyncio.timeout(30), aiohttp.ClientSession() as client.session:
                    await scenario(client)
            finally:
                await agent.stop()
                kill_all(root, 0.1)

        asyncio.run(inside())

    return run


async def messages(socket: Any) -> dict[int, bytes]:
    """Return what comes on each channel until the socket is closed."""
    channels: dict[int, bytes] = {}
    async for message in socket:
        channel, data = message.data[0], message.data[1:]
        channels[channel] = channels.get(channel, b"") + data
    return channels


EXEC = "/exec/default/p/c?command=sh&command=-c&command="


@pytest.mark.parametrize("protocol", ["v5.channel.k8s.io", "v4.channel.k8s.io"])
def test_exec_over_a_websocket(play: Any, protocol: str) -> None:
    async def scenario(client: Client) -> None:
        await client.run(pod("p", SLEEP))
        path = EXEC + "echo%20out;echo%20err%3E%262;exit%203&output=1&error=1"
        async with client.socket(path, "nonsense", protocol) as socket:
            assert socket.protocol == protocol
            channels = await messages(socket)
        assert (channels[1], channels[2]) == (b"out\n", b"err\n")
        assert json.loads(channels[3]) == {
            "metadata": {},
            "status": "Failure",
            "message": "command terminated with non-zero exit code: command terminated with exit code 3",
            "reason": "NonZeroExitCode",
            "details": {"causes": [{"reason": "ExitCode", "message": "3"}]},
        }

    play(scenario)


def test_v5_ends_the_input(play: Any) -> None:
    async def scenario(client: Client) -> None:
        await client.run(pod("p", SLEEP))
        async with client.socket(EXEC + "cat;echo%20over&input=1&output=1", "v5.channel.k8s.io") as socket:
            await socket.send_bytes(b"\0hello\n")
            await socket.send_bytes(b"\xff\x00")
            channels = await messages(socket)
        assert channels[1] == b"hello\nover\n"
        assert json.loads(channels[3]) == STATUS_OK

    play(scenario)


def test_base64_for_browsers(play: Any) -> None:
    async def scenario(client: Client) -> None:
        await client.run(pod("p", SLEEP))
        path = EXEC + "read%20x;echo%20got%20$x&input=1&output=1"
        async with client.socket(path, "v4.base64.channel.k8s.io") as socket:
            await socket.send_str("0" + base64.b64encode("grüß\n".encode()).decode())
            texts = [message.data async for message in socket]
        assert all(isinstance(text, str) for text in texts)
        shown = b"".join(base64.b64decode(text[1:]) for text in texts if text[0] == "1")
        assert shown == "got grüß\n".encode()

    play(scenario)


def test_a_terminal_over_a_websocket(play: Any) -> None:
    async def scenario(client: Client) -> None:
        await client.run(pod("p", SLEEP))
        path = EXEC + "read%20x;stty%20size&input=1&output=1&tty=1"
        async with client.socket(path, "v5.channel.k8s.io") as socket:
            for broken in (b'{"Width"', b": 1}", b"[]", b'{"Width":-1,"Height":2}'):
                await socket.send_bytes(b"\4" + broken)
            await socket.close()
        async with client.socket(path, "v5.channel.k8s.io") as socket:
            await socket.send_bytes(b'\4{"Width":100,"Heig')
            await socket.send_bytes(b'\4ht":30}')
            await socket.send_bytes(b"\0go\n")
            channels = await messages(socket)
        assert b"30 100" in channels[1]

    play(scenario)


@pytest.mark.parametrize("protocol", ["v4.channel.k8s.io", "v2.channel.k8s.io"])
def test_exec_over_spdy(play: Any, protocol: str) -> None:
    async def scenario(client: Client) -> None:
        await client.run(pod("p", SLEEP))
        path = EXEC + "cat;echo%20err%3E%262;exit%204&input=1&output=1&error=1"
        async with client.spdy(path, "v99", protocol) as peer:
            assert peer.head.startswith("HTTP/1.1 101 ")
            assert f"X-Stream-Protocol-Version: {protocol}\r\n" in peer.head
            peer.open("error", "stdin", "stdout", "stderr")
            given = os.urandom(300_000)
            peer.send(*(spdy.Data(3, given[start : start + 8192]) for start in range(0, len(given), 8192)))
            peer.send(spdy.Data(3, b"", fin=True))
            await peer.until(lambda: {1, 5, 7} <= peer.ended)
            assert peer.received[5] == given
            assert peer.received[7] == b"err\n"
            if protocol.startswith("v4"):
                assert json.loads(peer.received[1])["details"]["causes"][0] == {"reason": "ExitCode", "message": "4"}
            else:
                assert peer.received[1].endswith(b"command terminated with exit code 4")

    play(scenario)


def test_a_client_that_leaves_ends_its_command(play: Any) -> None:
    async def scenario(client: Client) -> None:
        await client.run(pod("p", SLEEP))
        async with client.socket(EXEC + "echo%20$$;exec%20sleep%20600&output=1", "v5.channel.k8s.io") as socket:
            shown = b""
            while not shown.endswith(b"\n"):
                shown += (await socket.receive_bytes())[1:]
            pidfd = os.pidfd_open(int(shown))
        ended = asyncio.Event()
        asyncio.get_running_loop().add_reader(pidfd, ended.set)
        await ended.wait()
        asyncio.get_running_loop().remove_reader(pidfd)
        os.close(pidfd)

    play(scenario)


def test_attach_shows_and_feeds_everybody(play: Any) -> None:
    async def scenario(client: Client) -> None:
        await client.run(pod("p", READ, stdin=True))
        path = "/attach/default/p/c?input=1&output=1&error=1"
        async with client.socket(path, "v5.channel.k8s.io") as one, client.socket(path, "v5.channel.k8s.io") as two:
            for socket in (one, two):
                assert await socket.receive_bytes() == b"\1", "the stream stands"
            await one.send_bytes(b"\0hello\n")
            for socket in (one, two):
                assert await socket.receive_bytes() == b"\1got hello\n"
            await two.send_bytes(b"\0bad\n")
            for socket in (one, two):
                assert {await socket.receive_bytes() for _ in range(2)} == {b"\1got bad\n", b"\2oops\n"}
            await one.close()
            await two.send_bytes(b"\0still\n")
            assert await two.receive_bytes() == b"\1got still\n"

    play(scenario)


def test_stdin_once_ends_with_its_first_user(play: Any) -> None:
    async def scenario(client: Client) -> None:
        await client.run(pod("p", READ, stdin=True, stdinOnce=True))
        async with client.socket("/attach/default/p/c?input=1&output=1", "v5.channel.k8s.io") as socket:
            await socket.send_bytes(b"\0hello\n")
            await socket.send_bytes(b"\xff\x00")
            channels = await messages(socket)
        assert channels[1] == b"got hello\nover\n"
        assert json.loads(channels[3]) == STATUS_OK
        await client.api.until(f"{PODS}/p", lambda obj: obj["status"]["phase"] == "Succeeded")

    play(scenario)


def test_a_container_with_a_terminal(play: Any) -> None:
    async def scenario(client: Client) -> None:
        script = "trap 'echo; echo interrupted; exit 5' INT; tty; while :; do read x; stty size; done"
        await client.run(pod("p", script, stdin=True, tty=True))
        async with client.socket("/attach/default/p/c?input=1&output=1&tty=1", "v5.channel.k8s.io") as socket:
            await socket.send_bytes(b'\4{"Width":90,"Height":20}')
            await socket.send_bytes(b"\0x\n")
            shown = b""
            while b"20 90" not in shown:
                shown += (await socket.receive_bytes())[1:]
            await socket.send_bytes(b"\0\x03")
            channels = await messages(socket)
        assert b"interrupted" in channels[1]
        done = await client.api.until(f"{PODS}/p", lambda obj: obj["status"]["phase"] == "Failed")
        assert done["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 5

    play(scenario)


def test_attach_passes_megabytes(play: Any) -> None:
    async def scenario(client: Client) -> None:
        await client.run(pod("p", "read go; head -c 3000000 /dev/zero | tr '\\0' x; echo; echo done", stdin=True))
        async with client.socket("/attach/default/p/c?input=1&output=1", "v5.channel.k8s.io") as socket:
            await socket.send_bytes(b"\0go\n")
            channels = await messages(socket)
        assert channels[1] == b"x" * 3_000_000 + b"\ndone\n"

    play(scenario)


async def serving(client: Client) -> int:
    """Start a pod that sends back what it gets in capitals; return its port."""
    env = [{"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}]
    await client.run(pod("p", "", image="host/python3", command=["python3", "-c", SERVE], env=env))
    async with client.socket("/attach/default/p/c?output=1", "v5.channel.k8s.io"):
        while True:
            async with client.session.get(client.url("/containerLogs/default/p/c"), ssl=client.context) as answer:
                if (text := await answer.text()).strip():
                    return int(text)
            await asyncio.sleep(0.01)


def test_ports_forwarded_over_spdy(play: Any) -> None:
    async def scenario(client: Client) -> None:
        port = await serving(client)
        async with client.spdy("/portForward/default/p", "portforward.k8s.io") as peer:
            peer.open("error", "data", port=str(port), requestid="0")
            peer.send(spdy.Data(3, b"hello"))
            await peer.until(lambda: peer.received.get(3) == b"HELLO")
            peer.send(spdy.Data(3, b"", fin=True))
            await peer.until(lambda: {1, 3} <= peer.ended)
            assert (peer.received[3], peer.received.get(1, b"")) == (b"HELLObye", b"")
            # The same connection goes on: an old client names no request, and a port where nobody listens.
            peer.send(spdy.SynStream(5, {"streamtype": "error", "port": "1"}))
            peer.send(spdy.SynStream(7, {"streamtype": "data", "port": "1"}))
            await peer.until(lambda: {5, 7} <= peer.ended)
            assert peer.received[5].startswith(b"error forwarding port 1 to pod p_default")
            assert peer.received[5].endswith(b"connect: connection refused")
            peer.send(spdy.SynStream(9, {"streamtype": "data", "port": "http"}))
            peer.send(spdy.SynStream(11, {"streamtype": "other", "port": "1"}))
            await peer.until(lambda: {-9, -11} <= peer.ended)

    play(scenario)


def test_ports_forwarded_through_spdy_in_a_websocket(play: Any) -> None:
    async def scenario(client: Client) -> None:
        port = await serving(client)
        async with client.socket("/portForward/default/p", "SPDY/3.1+portforward.k8s.io") as socket:
            encoder, decoder = spdy.Encoder(), spdy.Decoder()
            headers = {"port": str(port), "requestid": "7"}
            for number, kind in ((1, "error"), (3, "data")):
                await socket.send_bytes(encoder.encode(spdy.SynStream(number, {"streamtype": kind, **headers})))
            await socket.send_bytes(encoder.encode(spdy.Data(3, b"tunnel")))
            received = b""
            while received != b"TUNNEL":
                for frame in decoder.feed(await socket.receive_bytes()):
                    received += frame.data if isinstance(frame, spdy.Data) else b""

    play(scenario)


def test_ports_forwarded_on_channels(play: Any) -> None:
    async def scenario(client: Client) -> None:
        port = await serving(client)
        path = f"/portForward/default/p?port={port}&port=1"
        async with client.socket(path, "v4.channel.k8s.io") as socket:
            number = port.to_bytes(2, "little")
            told = [await socket.receive_bytes() for _ in range(4)]
            assert told == [b"\0" + number, b"\1" + number, b"\2\1\0", b"\3\1\0"]
            refused = await socket.receive_bytes()
            assert refused.startswith(b"\3error forwarding port 1 to pod")
            await socket.send_bytes(b"\0hello")
            assert await socket.receive_bytes() == b"\0HELLO"

    play(scenario)


@pytest.mark.parametrize(
    ("path", "code", "said"),
    [
        ("/exec/default/none/c?command=x&output=1", 404, "pod does not exist"),
        ("/exec/default/p/other-uid/c?command=x&output=1", 404, "pod does not exist"),
        ("/exec/default/p/d?command=x&output=1", 500, 'container not found ("d")'),
        ("/exec/default/p/c?command=x", 400, "you must specify at least 1 of stdin, stdout, stderr"),
        ("/exec/default/p/c?output=1", 400, "you must specify a command"),
        ("/exec/default/p/c?command=x&output=1", 400, "unable to upgrade: missing upgrade headers in request"),
        ("/portForward/default/none", 404, "pod does not exist"),
        ("/portForward/default/p", 400, "unable to upgrade: missing upgrade headers in request"),
    ],
)
def test_refusals(play: Any, path: str, code: int, said: str) -> None:
    async def scenario(client: Client) -> None:
        await client.run(pod("p", SLEEP))
        assert await client.refusal(path) == (code, said)

    play(scenario)


def test_protocols_that_nobody_speaks(play: Any) -> None:
    async def scenario(client: Client) -> None:
        await client.run(pod("p", SLEEP))
        path = "/exec/default/p/c?command=x&output=1"
        upgrade = {"Connection": "Upgrade", "Upgrade": "SPDY/3.1", "X-Stream-Protocol-Version": "v9"}
        code, said = await client.refusal(path, **upgrade)
        assert code == 403
        assert said.startswith(
            "unable to upgrade: unable to negotiate protocol: client supports [v9], server accepts [v5"
        )
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await client.socket(path, "v9")
        assert refused.value.status == 403
        with pytest.raises(aiohttp.WSServerHandshakeError) as unnamed:
            await client.socket("/portForward/default/p", "v4.channel.k8s.io")
        assert unnamed.value.status == 400

    play(scenario)


def test_streams_are_bounded(play: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(client: Client) -> None:
        await client.run(pod("p", SLEEP))
        monkeypatch.setattr("oarlock.cluster.kubelet.streaming.routes.SESSIONS_MAX", 1)
        async with client.socket(EXEC + "sleep%20600&output=1", "v5.channel.k8s.io"):
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await client.socket(EXEC + "true&output=1", "v5.channel.k8s.io")
            assert refused.value.status == 429
        while True:
            try:
                async with client.socket(EXEC + "true&output=1", "v5.channel.k8s.io") as socket:
                    assert json.loads((await messages(socket))[3]) == STATUS_OK
                    return
            except aiohttp.WSServerHandshakeError:
                await asyncio.sleep(0.01)

    play(scenario)


def test_a_new_agent_attaches_to_what_an_old_one_started(api: Any, root: Path, certificates: Any) -> None:
    tls = Tls(certificates.ca, certificates.cert, certificates.key)
    settings = AgentSettings(
        "n1", "127.0.0.1", "127.0.0", tls, ClientSettings("http://x"), root, 0, allow_host_images=True
    )

    async def inside() -> None:
        old = NodeAgent(settings, client=api)
        await old.start()
        await Client(old, tls, api).run(pod("p", READ, stdin=True))
        await old.stop()
        new = NodeAgent(settings, client=api)
        await new.start()
        client = Client(new, tls, api)
        try:
            async with asyncio.timeout(20), aiohttp.ClientSession() as client.session:
                while True:
                    try:
                        path = "/attach/default/p/c?input=1&output=1"
                        async with client.socket(path, "v5.channel.k8s.io") as socket:
                            await socket.send_bytes(b"\0again\n")
                            assert await socket.receive_bytes() == b"\1"
                            assert await socket.receive_bytes() == b"\1got again\n"
                            return
                    except aiohttp.WSServerHandshakeError:
                        await asyncio.sleep(0.01)
        finally:
            await new.stop()
            kill_all(root, 0.1)

    asyncio.run(inside())
