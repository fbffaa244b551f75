"""pods/proxy and services/proxy to real HTTP servers on loopback."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from yarl import URL

PODS = "/api/v1/namespaces/default/pods"
SERVICES = "/api/v1/namespaces/default/services"
SLICES = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"


class Backend:
    """A server behind the proxy; remembers what it was asked."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str, dict[str, str], bytes]] = []
        self.port = 0

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.seen.append((request.method, request.raw_path, dict(request.headers), await request.read()))
        if request.path == "/moved":
            raise web.HTTPFound("/target?x=1")
        if request.path == "/page":
            return web.Response(text='<a href="/x">', content_type="text/html")
        if request.path == "/half":
            response = web.StreamResponse(headers={"Content-Length": "100"})
            await response.prepare(request)
            await response.write(b"half")
            assert request.transport is not None
            request.transport.abort()
            return response
        if request.path == "/socket":
            socket = web.WebSocketResponse(protocols=["p2"])
            await socket.prepare(request)
            async for message in socket:
                await socket.send_str(f"echo {message.data}")
            return socket
        headers = {"X-Own": "kept", "Access-Control-Allow-Origin": "*", "Keep-Alive": "timeout=5"}
        return web.Response(status=418, text=f"{request.method} {request.raw_path}", headers=headers)


@asynccontextmanager
async def serving() -> AsyncIterator[Backend]:
    backend = Backend()
    runner = web.AppRunner(web.Application(), shutdown_timeout=0.1)
    runner.app.router.add_route("*", "/{path:.*}", backend.answer)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    backend.port = runner.addresses[0][1]
    try:
        yield backend
    finally:
        await runner.cleanup()


async def with_pod(api: Any, objects: Any, backend: Backend, address: str = "127.0.0.1") -> str:
    ports = [{"containerPort": backend.port}]
    pod = objects.pod("p", containers=[{"name": "c", "image": "host/x", "ports": ports}])
    await api.made(PODS, pod)
    patch = {"status": {"podIP": address, "podIPs": [{"ip": address}]}}
    code, answer = await api("PATCH", f"{PODS}/p/status", patch, "application/merge-patch+json")
    assert code == 200, answer
    return f"{PODS}/p/proxy"


def test_everything_of_a_request_and_its_answer_passes(with_api: Any, objects: Any) -> None:
    async def scenario(api: Any) -> None:
        async with serving() as backend:
            root = await with_pod(api, objects, backend)
            for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
                headers = {"Authorization": "Bearer secret", "X-Mine": "1", "TE": "trailers", "Impersonate-User": "me"}
                url = URL(f"{api.server.url}{root}/a%20b/../c/?q=1&q=%2F&limit=x", encoded=True)
                async with api.session.request(method, url, data=b"the body", headers=headers) as answer:
                    assert (answer.status, await answer.text()) == (418, f"{method} /c/?q=1&q=%2F&limit=x")
                    assert answer.headers["X-Own"] == "kept"
                    assert not {"Access-Control-Allow-Origin", "Keep-Alive"} & set(answer.headers)
                seen_method, path, seen, body = backend.seen.pop()
                assert (seen_method, path, body) == (method, "/c/?q=1&q=%2F&limit=x", b"the body")
                assert seen["X-Mine"] == "1"
                assert seen["X-Forwarded-For"] == "127.0.0.1"
                assert seen["X-Forwarded-Uri"] == f"{root}/c/"
                assert not {"Authorization", "TE", "Impersonate-User"} & set(seen), "credentials stay here"

    with_api(scenario, loopback_network=True)


def test_a_long_body_streams_both_ways(with_api: Any, objects: Any) -> None:
    async def scenario(api: Any) -> None:
        async with serving() as backend:
            root = await with_pod(api, objects, backend)

            async def pieces() -> AsyncIterator[bytes]:
                for _ in range(64):
                    yield bytes(1 << 16)

            url = f"{api.server.url}{root}/x"
            async with aiohttp.ClientSession() as session, session.post(url, data=pieces()) as answer:
                assert answer.status == 413, "the backend's own limit of 1 MiB"
            async with aiohttp.ClientSession() as session, session.post(url, data=bytes(1 << 19)) as answer:
                assert answer.status == 418
            assert len(backend.seen[-1][3]) == 1 << 19

    with_api(scenario, loopback_network=True)


def test_head_redirects_and_links(with_api: Any, objects: Any) -> None:
    async def scenario(api: Any) -> None:
        async with serving() as backend:
            root = await with_pod(api, objects, backend)
            url = api.server.url + root
            async with api.session.head(f"{url}/x") as answer:
                assert (answer.status, await answer.read()) == (418, b"")
            async with api.session.get(f"{url}?a=b", allow_redirects=False) as answer:
                assert (answer.status, answer.headers["Location"]) == (301, f"{root}/?a=b")
            async with api.session.get(f"{url}/moved", allow_redirects=False) as answer:
                assert (answer.status, answer.headers["Location"]) == (302, f"{root}/target?x=1")
            assert await api("GET", f"{root}/page") == (200, f'<a href="{root}/x">')

    with_api(scenario, loopback_network=True)


def test_half_an_answer_is_not_taken_for_a_whole(with_api: Any, objects: Any) -> None:
    async def scenario(api: Any) -> None:
        async with serving() as backend:
            root = await with_pod(api, objects, backend)
            with pytest.raises(aiohttp.ClientPayloadError):
                await api("GET", f"{root}/half")

    with_api(scenario, loopback_network=True)


def test_a_websocket_behind_the_proxy(with_api: Any, objects: Any) -> None:
    async def scenario(api: Any) -> None:
        async with serving() as backend:
            root = await with_pod(api, objects, backend)
            hidden = "base64url.bearer.authorization.k8s.io.c2VjcmV0"
            connecting = api.session.ws_connect(f"{api.server.url}{root}/socket", protocols=[hidden, "p2"])
            async with connecting as socket:
                assert socket.protocol == "p2"
                await socket.send_str("hello")
                assert await socket.receive_str() == "echo hello"
            assert backend.seen[0][2]["Sec-WebSocket-Protocol"] == "p2", "a token stays here"

    with_api(scenario, loopback_network=True)


def test_services_pass_to_ready_endpoints_by_name_and_number(with_api: Any, objects: Any) -> None:
    async def scenario(api: Any) -> None:
        async with serving() as backend:
            ports = [{"name": "web", "port": 80, "targetPort": backend.port}]
            await api.made(SERVICES, {"metadata": {"name": "s"}, "spec": {"selector": {"a": "b"}, "ports": ports}})
            code, answer = await api("GET", f"{SERVICES}/s:web/proxy/")
            assert (code, answer["message"]) == (503, 'no endpoints available for service "s:web"')
            endpoints = [
                {"addresses": ["127.0.0.9"], "conditions": {"ready": False}},
                {"addresses": ["127.0.0.1"], "conditions": {"ready": True}},
            ]
            slice_ports = [{"name": "web", "port": backend.port, "protocol": "TCP"}]
            labels = {"kubernetes.io/service-name": "s"}
            metadata = {"name": "s-1", "labels": labels}
            document = {"metadata": metadata, "addressType": "IPv4", "endpoints": endpoints, "ports": slice_ports}
            await api.made(SLICES, document)
            for name in ("s:web", "s:80", "http:s:web"):
                assert await api("GET", f"{SERVICES}/{name}/proxy/x") == (418, "GET /x")
            code, answer = await api("GET", f"{SERVICES}/s:81/proxy/")
            assert (code, answer["message"]) == (503, 'no service port 81 found for service "s"')
            code, answer = await api("GET", f"{SERVICES}/s/proxy/")
            assert code == 503, "a port with a name must be named"

    with_api(scenario, loopback_network=True)


@pytest.mark.parametrize(
    ("path", "code", "said"),
    [
        (f"{PODS}/none/proxy/", 404, 'pods "none" not found'),
        (f"{PODS}/a:b:c:d/proxy/", 400, 'invalid pod request "a:b:c:d"'),
        (f"{PODS}/ftp:p:21/proxy/", 400, 'invalid pod request "ftp:p:21"'),
        (f"{PODS}/p:1/proxy/", 503, "error trying to reach service: dial tcp 127.0.0.1:1: connect: connection refused"),
        (f"{PODS}/p:http/proxy/", 503, "error trying to reach service: dial tcp: lookup tcp/http: unknown port"),
        (f"{SERVICES}/:none/proxy/", 400, 'invalid service request ":none"'),
        ("/api/v1/nodes/none/proxy/x", 404, 'nodes "none" not found'),
        ("/api/v1/nodes/none/nothing", 404, "the server could not find the requested resource"),
    ],
)
def test_what_leads_nowhere_is_a_status(with_api: Any, objects: Any, path: str, code: int, said: str) -> None:
    async def scenario(api: Any) -> None:
        async with serving() as backend:
            await with_pod(api, objects, backend)
            answered, answer = await api("GET", path)
            assert (answered, answer["kind"], answer["message"]) == (code, "Status", said)

    with_api(scenario, loopback_network=True)


@pytest.mark.parametrize("address", ["127.0.0.1", "169.254.169.254", "0.0.0.0", "224.0.0.1"])
def test_addresses_that_are_no_pods_are_not_reached(with_api: Any, objects: Any, address: str) -> None:
    async def scenario(api: Any) -> None:
        async with serving() as backend:
            root = await with_pod(api, objects, backend, address)
            code, answer = await api("GET", f"{root}/")
            assert (code, answer["message"]) == (400, "address not allowed")
            assert not backend.seen

    with_api(scenario)


def test_a_method_that_is_not_proxied(with_api: Any, objects: Any) -> None:
    async def scenario(api: Any) -> None:
        async with serving() as backend:
            root = await with_pod(api, objects, backend)
            assert (await api("TRACE", f"{root}/"))[0] == 405
            assert (await api("OPTIONS", f"{root}/o"))[0] == 418

    with_api(scenario, loopback_network=True)


def test_a_client_that_leaves_frees_the_backend(with_api: Any, objects: Any) -> None:
    async def scenario(api: Any) -> None:
        gone = asyncio.Event()

        async def hang(request: web.Request) -> web.StreamResponse:
            response = web.StreamResponse()
            await response.prepare(request)
            await response.write(b"begun")
            try:
                await asyncio.Event().wait()
            finally:
                gone.set()
            return response

        async with serving() as backend:
            backend.answer = hang  # type: ignore[method-assign]
            runner = web.AppRunner(web.Application(), shutdown_timeout=0.1, handler_cancellation=True)
            runner.app.router.add_get("/", hang)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            backend.port = runner.addresses[0][1]
            root = await with_pod(api, objects, backend)
            async with aiohttp.ClientSession() as session, session.get(f"{api.server.url}{root}/") as answer:
                assert await answer.content.readany() == b"begun"
            async with asyncio.timeout(10):
                await gone.wait()
            await runner.cleanup()

    with_api(scenario, loopback_network=True)
