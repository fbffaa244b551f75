"""The service proxy's rules and its relaying over real sockets."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Any

import pytest
import uvloop

from oarlock.cluster.proxy.binding import bound
from oarlock.cluster.proxy.choice import Choice
from oarlock.cluster.proxy.claim import Claim
from oarlock.cluster.proxy.rules import Frontend, Rule, build
from oarlock.cluster.proxy.tcp import TcpListener
from oarlock.cluster.proxy.udp import UdpListener


def service(**spec: Any) -> dict[str, Any]:
    ports = [{"name": "http", "port": 80, "protocol": "TCP"}]
    return {"metadata": {"namespace": "d", "name": "web"}, "spec": {"clusterIP": "127.128.0.9", "ports": ports, **spec}}


def endpoint(address: str, node: str = "n1", **conditions: bool) -> dict[str, Any]:
    return {"addresses": [address], "nodeName": node, "conditions": conditions}


def sliced(*endpoints: dict[str, Any]) -> dict[str, Any]:
    return {"ports": [{"name": "http", "port": 8080, "protocol": "TCP"}], "endpoints": list(endpoints)}


CLUSTER = Frontend("TCP", "127.128.0.9", 80, cluster=True)


def test_ready_endpoints_serve_and_without_any_there_is_no_rule() -> None:
    slices = [sliced(endpoint("a", ready=True), endpoint("b", ready=False)), sliced(endpoint("c"))]
    assert build(service(), slices, "n1", "h") == {CLUSTER: Rule("d/web", (("a", 8080), ("c", 8080)))}
    assert build(service(), [sliced(endpoint("b", ready=False))], "n1", "h") == {}


def test_terminating_endpoints_serve_only_when_nothing_else_does() -> None:
    ending = endpoint("b", ready=False, serving=True, terminating=True)
    assert build(service(), [sliced(ending)], "n1", "h")[CLUSTER].backends == (("b", 8080),)
    assert build(service(), [sliced(ending, endpoint("a", ready=True))], "n1", "h")[CLUSTER].backends == (("a", 8080),)


def test_headless_and_external_services_have_no_rules() -> None:
    slices = [sliced(endpoint("a", ready=True))]
    assert build(service(clusterIP="None"), slices, "n1", "h") == {}
    assert build(service(type="ExternalName"), slices, "n1", "h") == {}


def test_node_ports_affinity_and_local_traffic() -> None:
    ports = [{"name": "http", "port": 80, "protocol": "TCP", "nodePort": 30080}]
    made = service(ports=ports, sessionAffinity="ClientIP", externalTrafficPolicy="Local")
    slices = [sliced(endpoint("a", ready=True), endpoint("b", "n2", ready=True))]
    rules = build(made, slices, "n1", "127.64.0.1")
    assert rules[CLUSTER] == Rule("d/web", (("a", 8080), ("b", 8080)), 10800)
    assert rules[Frontend("TCP", "127.64.0.1", 30080, cluster=False)].backends == (("a", 8080),)


def test_endpoints_take_turns_and_affinity_holds_while_its_endpoint_lives() -> None:
    now_s = [0.0]
    turns = Choice(Rule("s", (("a", 1), ("b", 1))), lambda: now_s[0], 10)
    assert {turns.candidates("x")[0] for _ in range(2)} == {("a", 1), ("b", 1)}
    held = Choice(Rule("s", (("a", 1), ("b", 1)), 60), lambda: now_s[0], 10)
    held.chose("x", ("b", 1))
    assert [held.candidates("x")[0] for _ in range(3)] == [("b", 1)] * 3
    now_s[0] = 61.0
    assert {held.candidates("x")[0] for _ in range(2)} == {("a", 1), ("b", 1)}
    held.rule = Rule("s", (("a", 1),), 60)
    assert held.candidates("x") == [("a", 1)]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize("protocol", ["TCP", "UDP"])
@pytest.mark.parametrize("host", ["198.51.100.7", "2001:db8::7"])
def test_an_address_can_be_had_before_the_host_has_it(protocol: str, host: str) -> None:
    with bound(protocol, host, 0) as first:
        port = first.getsockname()[1]
        if protocol == "TCP":
            first.listen()
        with pytest.raises(OSError, match="in use"):
            bound(protocol, host, port)


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
def test_tcp_waits_for_the_answer_to_a_client_that_says_nothing_more(run: Any) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.read() == b""
        writer.write(b"nothing heard")
        writer.close()

    async def scenario() -> bytes:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        backend = ("127.0.0.1", server.sockets[0].getsockname()[1])
        port = free_port()
        listener = TcpListener(
            Frontend("TCP", "127.0.0.1", port, cluster=True), Choice(Rule("s", (backend,)), lambda: 0.0, 10), 1.0
        )
        await listener.start()
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.shutdown(socket.SHUT_WR)  # before the listener has as much as accepted
            client.setblocking(False)
            answer = await asyncio.get_running_loop().sock_recv(client, 100)
        listener.abort()
        server.close()
        return answer

    assert run(scenario()) == b"nothing heard"


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
def test_tcp_goes_to_the_next_endpoint_when_one_refuses(run: Any) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        data = await reader.read()
        writer.write(data.upper())
        writer.close()

    async def scenario() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        backend = ("127.0.0.1", server.sockets[0].getsockname()[1])
        choice = Choice(Rule("s", (("127.0.0.1", free_port()), backend)), lambda: 0.0, 10)
        port = free_port()
        listener = TcpListener(Frontend("TCP", "127.0.0.1", port, cluster=True), choice, 1.0)
        await listener.start()
        for _ in range(4):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"hello" * 50_000)
            writer.write_eof()
            assert await reader.read() == b"HELLO" * 50_000
            writer.close()
        choice.rule = Rule("s", ())
        reader, _ = await asyncio.open_connection("127.0.0.1", port)
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await reader.readexactly(1)
        listener.abort()
        server.close()

    run(scenario())


def test_udp_answers_come_back_to_each_client() -> None:
    class Echo(asyncio.DatagramProtocol):
        def connection_made(self, transport: Any) -> None:
            self.transport = transport

        def datagram_received(self, data: bytes, addr: Any) -> None:
            self.transport.sendto(data.upper(), addr)

    class Client(asyncio.DatagramProtocol):
        def __init__(self) -> None:
            self.answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

        def datagram_received(self, data: bytes, addr: Any) -> None:
            self.answer.set_result(data)

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        echo, _ = await loop.create_datagram_endpoint(Echo, local_addr=("127.0.0.1", 0))
        choice = Choice(Rule("s", (echo.get_extra_info("sockname"),)), lambda: 0.0, 10)
        port = free_port()
        listener = UdpListener(Frontend("UDP", "127.0.0.1", port, cluster=True), choice, 5.0, 10)
        await listener.start()
        for word in (b"one", b"two"):
            transport, client = await loop.create_datagram_endpoint(Client, remote_addr=("127.0.0.1", port))
            transport.sendto(word)
            assert await client.answer == word.upper()
            transport.close()
        listener.close()
        echo.close()

    asyncio.run(asyncio.wait_for(scenario(), 10))


def test_one_proxy_of_a_machine_has_the_claim_and_the_next_gets_it(tmp_path: Path) -> None:
    async def scenario() -> None:
        first, second = Claim(tmp_path / "claim", 0.01), Claim(tmp_path / "claim", 0.01)
        await first.acquire()
        waiting = asyncio.create_task(second.acquire())
        await asyncio.sleep(0)
        assert first.held
        assert not second.held
        first.release()
        await waiting
        assert second.held
        second.release()

    asyncio.run(asyncio.wait_for(scenario(), 10))
