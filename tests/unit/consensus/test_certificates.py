"""Certificates change while a store serves: new connections go by the new files, and bad files change nothing."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from harness.authority import Authority
from harness.store import client, endpoint, put, replica, run

from oarlock.consensus.certificates import FAILED_RELOADS, NAME_PREFIX, RELOADS, Certificates, Tls, tls_context
from oarlock.consensus.client import StoreClient
from oarlock.consensus.model import Unavailable
from oarlock.consensus.server import StoreServer
from oarlock.consensus.transport import PeerTransport

MASTERS = ["system:masters"]
STORES = ["system:oarlock:stores"]

pytestmark = pytest.mark.parametrize("loop", ["asyncio", "uvloop"])


def replace(tls: Tls, authority: Authority, name: str, organizations: list[str]) -> None:
    """Issue a new certificate into the same files."""
    certificate, key = authority.sign(name, organizations)
    tls.cert_file.write_bytes(certificate)
    tls.key_file.write_bytes(key)


async def serial_of(server: StoreServer, tls: Tls) -> str:
    """Return the serial number of the certificate that the server's next connection shows."""
    context = tls_context(tls, server=False)
    _, writer = await asyncio.open_connection("127.0.0.1", server.port, ssl=context)
    serial = writer.get_extra_info("peercert")["serialNumber"]
    writer.transport.abort()
    return str(serial)


def test_a_renewed_certificate_is_shown_at_once_and_open_connections_stay(tmp_path: Path, loop: str) -> None:
    authority = Authority(tmp_path / "ca")
    tls = authority.issue(NAME_PREFIX + "a", STORES)
    api = authority.issue("api", MASTERS)

    async def scenario() -> None:
        async with replica(tmp_path, tls) as server, client(endpoint(server), tls=api) as store:
            before, reloads = await serial_of(server, api), RELOADS._value.get()
            replace(tls, authority, NAME_PREFIX + "a", STORES)
            assert await serial_of(server, api) != before
            assert RELOADS._value.get() == reloads + 1
            assert (await store.transact(put(b"k"))).succeeded

    run(scenario, loop)


def test_the_authority_is_replaced_in_three_steps_with_clients_all_the_while(tmp_path: Path, loop: str) -> None:
    old, new = Authority(tmp_path / "old", "old"), Authority(tmp_path / "new", "new")
    tls = old.issue(NAME_PREFIX + "a", STORES)
    api = old.issue("api", MASTERS)
    old.issue("left-behind", MASTERS)
    left_behind = Tls(tmp_path / "both.crt", tmp_path / "old/left-behind.crt", tmp_path / "old/left-behind.key")
    left_behind.ca_file.write_bytes(old.pem + new.pem)

    async def scenario() -> None:
        async with replica(tmp_path, tls) as server:

            async def served(who: Tls) -> None:
                async with client(endpoint(server), tls=who, wait_s=5) as store:
                    assert (await store.transact(put(b"k"))).succeeded

            await served(api)
            tls.ca_file.write_bytes(old.pem + new.pem)
            await served(api)
            replace(tls, new, NAME_PREFIX + "a", STORES)
            await served(api)
            await served(left_behind)
            replace(api, new, "api", MASTERS)
            await served(api)
            tls.ca_file.write_bytes(new.pem)
            await served(api)
            with pytest.raises(Unavailable, match="refuses this side's certificate.*unknown ca"):
                await StoreClient([endpoint(server)], left_behind, wait_s=0.5).start()

    run(scenario, loop)


def test_a_client_s_next_connection_uses_its_renewed_files(tmp_path: Path, loop: str) -> None:
    old, new = Authority(tmp_path / "old", "old"), Authority(tmp_path / "new", "new")
    tls = old.issue(NAME_PREFIX + "a", STORES)
    api = old.issue("api", MASTERS, file="api")
    api = Tls(tmp_path / "api-ca.crt", api.cert_file, api.key_file)
    api.ca_file.write_bytes(old.pem)

    async def scenario() -> None:
        async with contextlib.AsyncExitStack() as stack:
            server = await stack.enter_async_context(replica(tmp_path, tls))
            port = server.port
            store = await stack.enter_async_context(client(endpoint(server), tls=api, wait_s=20))
            await store.transact(put(b"k"))
            await server.stop()
            tls.ca_file.write_bytes(new.pem)
            replace(tls, new, NAME_PREFIX + "a", STORES)
            api.ca_file.write_bytes(new.pem)
            replace(api, new, "api", MASTERS)
            await stack.enter_async_context(replica(tmp_path, tls, port=port))
            assert (await store.transact(put(b"k"))).revision == 3

    run(scenario, loop)


def damage(kind: str, tls: Tls, authority: Authority) -> None:
    """Leave files as an unlucky moment, or a mistake, may leave them."""
    whole = tls.cert_file.read_bytes()
    certificate, _ = authority.sign(NAME_PREFIX + "a", STORES)
    actions: dict[str, Callable[[], object]] = {
        "half a certificate": lambda: tls.cert_file.write_bytes(whole[: len(whole) // 2]),
        "no certificate": tls.cert_file.unlink,
        "no key": lambda: tls.key_file.write_bytes(b""),
        "a certificate without its key": lambda: tls.cert_file.write_bytes(certificate),
        "an encrypted key": lambda: tls.key_file.write_bytes(_encrypted_key()),
        "no authority": tls.ca_file.unlink,
        "an empty authority": lambda: tls.ca_file.write_bytes(b""),
        "half an authority": lambda: tls.ca_file.write_bytes(authority.pem[: len(authority.pem) // 2]),
        "one authority and a half": lambda: tls.ca_file.write_bytes(authority.pem + authority.pem[:200]),
        "binary": lambda: tls.ca_file.write_bytes(b"\xff\0" * 500),
        "a folder": lambda: tls.ca_file.rename(tls.ca_file.with_suffix(".moved")).with_suffix(".crt").mkdir(),
    }
    actions[kind]()


def _encrypted_key() -> bytes:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    return ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )


BAD = [
    "half a certificate", "no certificate", "no key", "a certificate without its key", "an encrypted key",
    "no authority", "an empty authority", "half an authority", "one authority and a half", "binary", "a folder",
]  # fmt: skip


@pytest.mark.parametrize("kind", BAD)
def test_bad_files_change_nothing_and_are_reported_once(
    tmp_path: Path, loop: str, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    authority = Authority(tmp_path / "ca")
    tls = authority.issue(NAME_PREFIX + "a", STORES)
    api = authority.issue("api", MASTERS)
    api = Tls(tmp_path / "ca-copy.crt", api.cert_file, api.key_file)
    api.ca_file.write_bytes(authority.pem)

    async def scenario() -> None:
        async with replica(tmp_path, tls) as server:
            before, failures = await serial_of(server, api), FAILED_RELOADS._value.get()
            damage(kind, tls, authority)
            with caplog.at_level(logging.WARNING):
                assert [await serial_of(server, api) for _ in range(3)] == [before] * 3
            assert FAILED_RELOADS._value.get() == failures + 1
            assert caplog.text.count("certificates not reloaded") == 1
            assert str(tls.ca_file) in caplog.text or str(tls.cert_file) in caplog.text
            if tls.ca_file.is_dir():
                tls.ca_file.rmdir()
            tls.ca_file.write_bytes(authority.pem)
            replace(tls, authority, NAME_PREFIX + "a", STORES)
            assert await serial_of(server, api) != before

    run(scenario, loop)


@pytest.mark.parametrize("kind", BAD)
def test_a_replica_does_not_start_with_bad_files(tmp_path: Path, loop: str, kind: str) -> None:
    authority = Authority(tmp_path / "ca")
    tls = authority.issue(NAME_PREFIX + "a", STORES)
    damage(kind, tls, authority)

    async def scenario() -> None:
        with pytest.raises(OSError, match=r"ca\.crt|store-a"):
            async with replica(tmp_path, tls):
                pass
        tls.ca_file.rmdir() if tls.ca_file.is_dir() else None
        tls.ca_file.write_bytes(authority.pem)
        replace(tls, authority, NAME_PREFIX + "a", STORES)
        async with replica(tmp_path, tls) as server:
            assert server.port

    run(scenario, loop)


def test_two_writes_within_one_tick_of_the_file_system_are_told_apart(tmp_path: Path, loop: str) -> None:
    authority = Authority(tmp_path)
    tls = authority.issue("a")
    certificates = Certificates(tls)
    pairs = [authority.sign("a") for _ in range(20)]
    seen = set()
    for certificate, key in pairs:
        tls.cert_file.write_bytes(certificate)
        tls.key_file.write_bytes(key)
        seen.add(id(certificates.accepting))
        kept = certificates.accepting
        assert certificates.accepting is kept
    assert len(seen) > 1


def test_no_session_outlives_its_certificate(tmp_path: Path, loop: str) -> None:
    """A ticket would let a client in again without showing its certificate."""
    authority = Authority(tmp_path / "ca")
    tls, api = authority.issue(NAME_PREFIX + "a", STORES), authority.issue("api", MASTERS)
    port = 0

    def connect() -> ssl.SSLSession | None:
        with socket.create_connection(("127.0.0.1", port)) as plain:
            context = tls_context(api, server=False)
            with context.wrap_socket(plain) as secured:
                secured.settimeout(0.2)
                with contextlib.suppress(TimeoutError):
                    secured.recv(1)
                return secured.session

    async def scenario() -> None:
        nonlocal port
        async with replica(tmp_path, tls) as server:
            port = server.port or 0
            session = await asyncio.to_thread(connect)
            assert session is None or not session.has_ticket

    run(scenario, loop)


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[dict[str, tuple[str, int]], dict[str, socket.socket]]]:
    sockets = {name: socket.create_server(("127.0.0.1", 0)) for name in ("a", "b")}
    yield {name: one.getsockname() for name, one in sockets.items()}, sockets
    for one in sockets.values():
        one.close()


def test_peers_renew_their_authority_without_a_restart(
    tmp_path: Path,
    loop: str,
    pair: tuple[dict[str, tuple[str, int]], dict[str, socket.socket]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    members, sockets = pair
    old, new = Authority(tmp_path / "old", "old"), Authority(tmp_path / "new", "new")
    files = {}
    for name in members:
        issued = old.issue(NAME_PREFIX + name, STORES)
        files[name] = Tls(tmp_path / f"{name}-ca.crt", issued.cert_file, issued.key_file)
        files[name].ca_file.write_bytes(old.pem)

    async def scenario() -> None:
        up: dict[str, asyncio.Queue[str]] = {name: asyncio.Queue() for name in members}
        peers = {
            name: PeerTransport(
                name, "one", members, files[name], on_message=lambda *_: None, on_turn=lambda: None,
                on_up=up[name].put_nowait, on_down=lambda _: None, rng=random.Random(1),
            )
            for name in members
        }  # fmt: skip
        for name, peer in peers.items():
            await peer.start(sockets[name])

        async def reconnect() -> None:
            for name, peer in peers.items():
                while not up[name].empty():
                    up[name].get_nowait()
                for transport in peer._outgoing.values():
                    transport.abort()
            for name in members:
                await up[name].get()

        for name in members:
            assert await up[name].get()
        for name in members:
            files[name].ca_file.write_bytes(old.pem + new.pem)
        await reconnect()
        for name in members:
            replace(files[name], new, NAME_PREFIX + name, STORES)
            await reconnect()
        for name in members:
            files[name].ca_file.write_bytes(new.pem)
            await reconnect()
        replace(files["b"], old, NAME_PREFIX + "b", STORES)
        for transport in peers["b"]._outgoing.values():
            transport.abort()
        with caplog.at_level(logging.WARNING):
            while "refuses this side's certificate" not in caplog.text:  # noqa: ASYNC110 - logging has no event
                await asyncio.sleep(0.01)
        for peer in peers.values():
            await peer.stop()

    run(scenario, loop)
