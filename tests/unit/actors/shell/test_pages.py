"""What a component's process serves, and to whom; how an API server finds it."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path

from harness.apiserver import RunningApiServer, start_api_server

from oarlock.actors.shell.pages import MetricsTls, listen
from oarlock.cluster.boot.pki import Authority, CertificateFiles
from oarlock.cluster.client.http import ApiClient
from oarlock.cluster.client.leases import LeaseHolder
from oarlock.cluster.client.settings import ClientSettings
from oarlock.cluster.objects.status import ApiError

HOLDERS = "/oarlock/v1/holders/kube-scheduler"
Ask = Callable[[str, CertificateFiles], Awaitable[tuple[int, bytes]]]


async def told(path: str) -> bytes | None:
    return json.dumps({"path": path}).encode() if path.startswith("attempts/") else None


def served(folder: Path, story: Callable[[Authority, str, Ask], Awaitable[None]]) -> None:
    """Run a story while a component's process listens."""

    folder.mkdir(mode=0o700)
    authority = Authority(folder)

    async def run() -> None:
        mine = authority.issue("scheduler", "system:kube-scheduler", ["system:masters"], ["127.0.0.1"])
        tls = MetricsTls(str(mine.ca), str(mine.cert), str(mine.key))
        address = listen("127.0.0.1", tls, told, asyncio.get_running_loop())

        async def ask(path: str, who: CertificateFiles) -> tuple[int, bytes]:
            return await asyncio.to_thread(_get, address, path, who)

        await story(authority, address, ask)

    asyncio.run(run())


def _get(address: str, path: str, who: CertificateFiles) -> tuple[int, bytes]:
    context = ssl.create_default_context(cafile=who.ca)
    context.load_cert_chain(who.cert, who.key)
    connection = http.client.HTTPSConnection(address, context=context, timeout=10)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def test_metrics_are_for_the_cluster_and_pages_for_masters(tmp_path: Path) -> None:
    async def story(authority: Authority, address: str, ask: Ask) -> None:
        master = authority.issue("api", "system:oarlock:apiserver", ["system:masters"])
        node = authority.issue("node", "system:node:n", ["system:nodes"])
        assert await ask("/pages/attempts/default/p", master) == (200, b'{"path": "attempts/default/p"}')
        assert (await ask("/pages/nothing", master))[0] == 404
        assert (await ask("/pages/attempts/default/p", node))[0] == 403
        for who in (master, node):
            code, text = await ask("/metrics", who)
            assert (code, b"python_info" in text) == (200, True)

    served(tmp_path / "pki", story)


def test_who_says_nothing_holds_nobody_up(tmp_path: Path) -> None:
    async def story(authority: Authority, address: str, ask: Ask) -> None:
        host, _, port = address.rpartition(":")
        with socket.create_connection((host, int(port))):
            assert (await ask("/metrics", authority.issue("node", "n", ["system:nodes"])))[0] == 200

    served(tmp_path / "pki", story)


def test_an_api_server_asks_whoever_holds_the_lease(tmp_path: Path) -> None:
    async def refused(client: ApiClient, path: str) -> tuple[int, str]:
        try:
            await client.get(path)
        except ApiError as error:
            return error.code, error.message
        raise AssertionError("was answered")

    async def story(api: RunningApiServer, admin: ApiClient, stranger: ApiClient) -> None:
        path = f"{HOLDERS}/attempts/default/p"
        assert await refused(admin, path) == (503, "nobody holds kube-scheduler at the moment")
        lease = LeaseHolder(admin, "kube-scheduler", "scheduler-b/77.1", ttl_s=60)
        await lease.acquire()
        assert await refused(admin, path) == (
            503,
            "the holder of kube-scheduler, scheduler-b, has not told its address yet",
        )
        tls = MetricsTls(api.admin.ca_file, str(tmp_path / "pki/apiserver.crt"), str(tmp_path / "pki/apiserver.key"))
        address = listen("127.0.0.1", tls, told, asyncio.get_running_loop())
        for name, where in (("scheduler-a", "127.0.0.1:1"), ("scheduler-b", address)):
            await admin.update(f"/oarlock/v1/targets/{name}", {"address": where, "ttlMillis": 60_000})
        assert await admin.get(path) == {"path": "attempts/default/p"}
        assert (await refused(admin, f"{HOLDERS}/else"))[0] == 404
        assert (await refused(stranger, path))[0] == 403
        await lease.release()
        await LeaseHolder(admin, "kube-scheduler", "scheduler-a/78.1", ttl_s=60).acquire()
        code, message = await refused(admin, path)
        assert code == 503
        assert message.startswith("the holder of kube-scheduler gave no answer: dial tcp 127.0.0.1:1: connect")

    async def run() -> None:
        async with start_api_server(tmp_path) as api:
            clients = [
                ApiClient(ClientSettings(api.url, who.ca_file, who.cert_file, who.key_file))
                for who in (api.admin, api.stranger)
            ]
            try:
                await story(api, *clients)
            finally:
                for client in clients:
                    await client.close()

    asyncio.run(run())
