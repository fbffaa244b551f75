"""Who may speak to a store is in their certificate; both ends learn why somebody may not."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import logging
import random
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from harness.authority import Authority
from harness.store import client, endpoint, put, replica, run

from oarlock.consensus.certificates import NAME_PREFIX, Tls, tls_context
from oarlock.consensus.client import StoreClient
from oarlock.consensus.messages import Append, RaftMessage
from oarlock.consensus.model import Unavailable
from oarlock.consensus.transport import PeerTransport

STORE = [NAME_PREFIX + "a", ["system:oarlock:stores"]]
AGO = datetime.timedelta(days=-1)
LOOPS = pytest.mark.parametrize("loop", ["asyncio", "uvloop"])


class Certificates:
    """Everybody's files, by what is right or wrong with them."""

    def __init__(self, folder: Path) -> None:
        ours, theirs = Authority(folder / "ours", "ours"), Authority(folder / "theirs", "theirs")
        stranger = theirs.issue("api", ["system:masters"])
        expired = {"file": "expired", "lasts": AGO}
        self.server = ours.issue(NAME_PREFIX + "a", ["system:oarlock:stores"])
        self.good = ours.issue("api", ["system:masters"])
        self.of_a_node = ours.issue("node", ["system:nodes"])
        self.without_organization = ours.issue("nobody")
        self.expired = ours.issue("api", ["system:masters"], **expired)  # type: ignore[arg-type]
        self.of_another_authority = Tls(self.good.ca_file, stranger.cert_file, stranger.key_file)
        self.server_expired = ours.issue(NAME_PREFIX + "a", file="server-expired", lasts=AGO)
        self.server_of_another_authority = theirs.issue(NAME_PREFIX + "a")
        self.no_store = ours.issue("system:kube-scheduler", ["system:oarlock:stores"])
        self.unnamed = ours.issue("", file="unnamed")


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    return Certificates(tmp_path)


@LOOPS
@pytest.mark.parametrize(
    ("who", "told", "logged"),
    [
        ("of_a_node", "needs one of the organizations system:masters, it has system:nodes", "it has system:nodes"),
        ("without_organization", "needs one of the organizations system:masters, it has none", "it has none"),
        ("expired", "refuses this side's certificate.*expired", "certificate has expired"),
        ("of_another_authority", "refuses this side's certificate.*unknown ca", "issuer certificate"),
    ],
)
def test_a_client_is_refused_and_both_ends_know_why(
    tmp_path: Path, certificates: Certificates, loop: str, who: str, told: str, logged: str,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    async def scenario() -> None:
        async with replica(tmp_path, certificates.server) as server:
            with pytest.raises(Unavailable, match=told):
                await StoreClient([endpoint(server)], getattr(certificates, who), wait_s=0.5).start()
            assert logged in caplog.text
            assert "address=127.0.0.1" in caplog.text
            async with client(endpoint(server), tls=certificates.good) as store:
                assert (await store.transact(put(b"k"))).succeeded

    with caplog.at_level(logging.WARNING):
        run(scenario, loop)


@LOOPS
@pytest.mark.parametrize(
    ("server", "told"),
    [
        ("server_expired", "the other side's certificate is refused: certificate has expired"),
        ("server_of_another_authority", "the other side's certificate is refused: .*self-signed|issuer"),
        ("no_store", "certificate is system:kube-scheduler, not a store's"),
        ("unnamed", "certificate is unnamed, not a store's"),
    ],
)
def test_a_client_refuses_what_is_no_store(
    tmp_path: Path, certificates: Certificates, loop: str, server: str, told: str
) -> None:
    async def scenario() -> None:
        async with replica(tmp_path, getattr(certificates, server)) as store:
            with pytest.raises(Unavailable, match=told):
                await StoreClient([endpoint(store)], certificates.good, wait_s=0.5).start()

    run(scenario, loop)


@LOOPS
def test_without_tls_nobody_comes_in(tmp_path: Path, certificates: Certificates, loop: str) -> None:
    async def scenario() -> None:
        async with replica(tmp_path, certificates.server) as server:
            with pytest.raises(Unavailable):
                await StoreClient([endpoint(server)], wait_s=0.3).start()
            context = ssl.create_default_context(cafile=str(certificates.good.ca_file))
            context.check_hostname = False
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port, ssl=context)
            with pytest.raises(ssl.SSLError, match="CERTIFICATE_REQUIRED"):
                await reader.read()
            writer.transport.abort()

    run(scenario, loop)


@LOOPS
def test_tls_1_2_is_refused(tmp_path: Path, certificates: Certificates, loop: str) -> None:
    async def scenario() -> None:
        async with replica(tmp_path, certificates.server) as server:
            for port in (server.port, server.settings.members["a"][1]):
                old = tls_context(certificates.good, server=False)
                old.minimum_version = ssl.TLSVersion.TLSv1_2
                old.maximum_version = ssl.TLSVersion.TLSv1_2
                with pytest.raises(ssl.SSLError, match="PROTOCOL_VERSION"):
                    await asyncio.open_connection("127.0.0.1", port, ssl=old)

    run(scenario, loop)


@LOOPS
def test_another_cluster_s_client_is_refused(tmp_path: Path, certificates: Certificates, loop: str) -> None:
    async def scenario() -> None:
        async with replica(tmp_path, certificates.server, cluster_id="one") as server:
            with pytest.raises(Unavailable, match="this is cluster one, not two"):
                await StoreClient([endpoint(server)], certificates.good, cluster_id="two", wait_s=0.5).start()

    run(scenario, loop)


# Peers.


class Two:
    """Members a and b, each with its own idea of the world; `heard` is what b has got from a."""

    def __init__(self, tls_a: Tls | None, tls_b: Tls | None, *, clusters: tuple[str, str] = ("one", "one")) -> None:
        self.sockets = {name: socket.create_server(("127.0.0.1", 0)) for name in ("a", "b")}
        self.members = {name: one.getsockname() for name, one in self.sockets.items()}
        self.heard: asyncio.Queue[tuple[str, RaftMessage]] = asyncio.Queue()
        names = dict(zip(("a", "b"), zip((tls_a, tls_b), clusters, strict=True), strict=True))
        self.peers = {name: self._transport(name, tls, cluster) for name, (tls, cluster) in names.items()}

    def _transport(self, name: str, tls: Tls | None, cluster: str) -> PeerTransport:
        return PeerTransport(
            name, cluster, self.members, tls, on_turn=lambda: None, on_down=lambda _: None, rng=random.Random(1),
            on_message=lambda peer, message: self.heard.put_nowait((peer, message)), on_up=self._greet,
        )  # fmt: skip

    def _greet(self, peer: str) -> None:
        for transport in self.peers.values():
            transport.send(peer, Append(1, 0, 0, 0, 0))
            asyncio.get_running_loop().call_soon(transport.flush)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Two]:
        for name, peer in self.peers.items():
            await peer.start(self.sockets[name])
        try:
            yield self
        finally:
            for peer in self.peers.values():
                await peer.stop()


async def logged(caplog: pytest.LogCaptureFixture, *texts: str) -> None:
    """Return once the log says all these."""
    while not all(text in caplog.text for text in texts):  # noqa: ASYNC110 - logging has no event
        await asyncio.sleep(0.005)


@LOOPS
@pytest.mark.parametrize(
    ("name", "lasts", "authority", "texts"),
    [
        (NAME_PREFIX + "c", 1, "ours", ["doesn't make it member b", f"is {NAME_PREFIX}c, not member b"]),
        ("b", 1, "ours", ["the certificate of b doesn't make it member b", "is b, not member b"]),
        ("system:kube-scheduler", 1, "ours", ["system:kube-scheduler doesn't make it", "scheduler, not member b"]),
        ("", 1, "ours", ["doesn't make it member b", "is unnamed, not member b"]),
        (
            NAME_PREFIX + "b", -1, "ours",
            ["refuses this side's certificate or protocol: certificate expired", "refused: certificate has expired"],
        ),
        (
            NAME_PREFIX + "b", 1, "theirs",
            ["refuses this side's certificate or protocol: unknown ca", "other side's certificate is refused:"],
        ),
    ],
)  # fmt: skip
def test_a_peer_with_a_wrong_certificate_is_refused_both_ways(
    tmp_path: Path, loop: str, name: str, lasts: int, authority: str, texts: list[str],
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    ours = Authority(tmp_path / "ours", "ours")
    issuer = ours if authority == "ours" else Authority(tmp_path / "theirs", "theirs")
    wrong = issuer.issue(name, file="wrong", lasts=datetime.timedelta(days=lasts))
    wrong = Tls(tmp_path / "ours/ca.crt", wrong.cert_file, wrong.key_file)
    right = ours.issue(NAME_PREFIX + "a")

    async def scenario() -> None:
        async with Two(right, wrong).running() as two:
            await logged(caplog, "refused listener=peers", "no connection to peer=a", "no connection to peer=b", *texts)
            assert two.heard.empty()

    with caplog.at_level(logging.WARNING):
        run(scenario, loop)


@LOOPS
def test_another_cluster_s_peer_is_refused_both_ways(
    tmp_path: Path, loop: str, caplog: pytest.LogCaptureFixture
) -> None:
    authority = Authority(tmp_path)
    tls = [authority.issue(NAME_PREFIX + name) for name in ("a", "b")]

    async def scenario() -> None:
        async with Two(*tls, clusters=("one", "two")).running() as two:
            texts = [f"another cluster than {name}" for name in ("one", "two")]
            await logged(caplog, "refused listener=peers", "no connection to peer=a", "no connection to peer=b", *texts)
            assert two.heard.empty()

    with caplog.at_level(logging.WARNING):
        run(scenario, loop)


@LOOPS
def test_the_right_peers_are_let_in(tmp_path: Path, loop: str) -> None:
    authority = Authority(tmp_path)
    tls = [authority.issue(NAME_PREFIX + name) for name in ("a", "b")]

    async def scenario() -> None:
        async with Two(*tls).running() as two:
            assert {(await two.heard.get())[0] for _ in range(2)} == {"a", "b"}

    run(scenario, loop)
