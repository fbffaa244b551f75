"""Three replicas in one process over loopback TLS, and clients that outlive their leader."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from oarlock.consensus.certificates import Tls
from oarlock.consensus.client import StoreClient
from oarlock.consensus.model import (
    Compacted,
    Compare,
    Delete,
    InvalidRequest,
    LeaseNotFound,
    Put,
    Range,
    Transaction,
    Unavailable,
    WatchBatch,
)
from oarlock.consensus.retention import RetentionSettings
from oarlock.consensus.server import StoreServer, StoreSettings

NAMES = ("a", "b", "c")


class Authority:
    """A certificate authority that writes its clients' files into one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test-ca")])
        certificate = self._signed(self._name, self._key, ca=True)
        self._ca_file = folder / "ca.pem"
        self._ca_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def issue(self, common_name: str, organization: str) -> Tls:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name(
            [
                x509.NameAttribute(NameOID.COMMON_NAME, common_name),
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization),
            ]
        )
        certificate = self._signed(subject, key, ca=False)
        base = self._folder / common_name.replace(":", "-")
        base.with_suffix(".crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        base.with_suffix(".key").write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return Tls(self._ca_file, base.with_suffix(".crt"), base.with_suffix(".key"))

    def _signed(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, *, ca: bool) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(minutes=5))
            .not_valid_after(now + datetime.timedelta(hours=1))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .sign(self._key, hashes.SHA256())
        )


class Cluster:
    """Three store servers in this process."""

    def __init__(self, folder: Path, retention: RetentionSettings) -> None:
        authority = Authority(folder)
        peers = {name: ("127.0.0.1", port) for name, port in zip(NAMES, _free_ports(), strict=True)}
        self.client_tls = authority.issue("system:oarlock:apiserver", "system:masters")
        self.stranger_tls = authority.issue("system:node:x", "system:nodes")
        self.servers = {
            name: StoreServer(
                StoreSettings(
                    name,
                    peers,
                    folder / name,
                    "test",
                    port=0,
                    unix_path=folder / f"{name}.sock",
                    tls=authority.issue(f"system:oarlock:store:{name}", "system:oarlock:stores"),
                    retention=retention,
                )
            )
            for name in NAMES
        }

    async def start(self) -> None:
        await asyncio.gather(*(server.start() for server in self.servers.values()))

    async def stop(self) -> None:
        await asyncio.gather(*(server.stop() for server in self.servers.values()))

    @property
    def endpoints(self) -> list[str]:
        return [f"127.0.0.1:{server.port}" for server in self.servers.values()]

    @property
    def leader(self) -> StoreServer:
        return next(server for server in self.servers.values() if server.store.leads)

    @contextlib.asynccontextmanager
    async def client(self, tls: Tls | None = None, **options: Any) -> AsyncIterator[StoreClient]:
        client = StoreClient(self.endpoints, tls or self.client_tls, **options)
        await client.start()
        try:
            yield client
        finally:
            await client.close()


def _free_ports() -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in NAMES]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


Scenario = Callable[[Cluster], Coroutine[Any, Any, None]]


@pytest.fixture
def run(tmp_path: Path) -> Callable[[Scenario], None]:
    """Return a function that runs a scenario against a fresh cluster."""

    async def with_cluster(scenario: Scenario) -> None:
        cluster = Cluster(tmp_path, RetentionSettings(revisions_max=5000))
        await cluster.start()
        try:
            await scenario(cluster)
        finally:
            await cluster.stop()

    def run_one(scenario: Scenario) -> None:
        asyncio.run(asyncio.wait_for(with_cluster(scenario), 60))

    return run_one


def put(key: bytes, value: bytes = b"v") -> Transaction:
    return Transaction(success=(Put(key, value),))


def test_the_store_s_whole_contract_over_the_network(run: Callable[[Scenario], None]) -> None:
    async def scenario(cluster: Cluster) -> None:
        async with cluster.client() as client:
            created = await client.transact(
                Transaction((Compare(b"k", "create", "==", 0),), (Put(b"k", b"1"), Range(b"k")), (Delete(b"k"),))
            )
            assert created.succeeded
            assert created.responses[1].kvs[0].value == b"1"
            await client.transact(put(b"k", b"2"))
            assert (await client.range(Range(b"k"))).kvs[0].value == b"2"
            assert (await client.range(Range(b"k", revision=created.revision))).kvs[0].value == b"1"
            assert (await client.range(Range(b"k"), serializable=True)).count <= 1
            assert await client.revision() == created.revision + 1
            lease = await client.lease_grant(60_000)
            await client.transact(Transaction(success=(Put(b"l", b"", lease=lease.lease),)))
            assert (await client.lease_keep_alive(lease.lease)).ttl_ms == 60_000
            assert (await client.lease_status(lease.lease)).keys == (b"l",)
            await client.lease_revoke(lease.lease)
            assert (await client.range(Range(b"l"))).count == 0
            with pytest.raises(LeaseNotFound):
                await client.lease_keep_alive(lease.lease)
            with pytest.raises(InvalidRequest):
                await client.transact(put(b"big", bytes(2_000_000)))
            await client.compact(await client.revision())
            with pytest.raises(Compacted):
                await client.range(Range(b"k", revision=2))
            assert {member.name for member in await client.status()} == set(NAMES)

    run(scenario)


def test_a_client_and_its_watch_outlive_the_leader_without_gap_or_repeat(run: Callable[[Scenario], None]) -> None:
    async def scenario(cluster: Cluster) -> None:
        async with cluster.client() as client, cluster.client() as other:
            start = await client.revision()
            watch = other.watch(b"n/", b"n0", start + 1, previous=True)
            writer = asyncio.create_task(_write_many(client, 300))
            seen: list[int] = []
            revisions: list[int] = []
            stopped = False
            async for batch in watch:
                seen += [int(event.kv.key[2:]) for event in batch.events]
                revisions += [event.kv.mod_revision for event in batch.events]
                if len(seen) >= 100 and not stopped:
                    stopped = True
                    await cluster.leader.stop()
                if len(seen) >= 300:
                    break
            await writer
            assert seen == list(range(300))
            assert revisions == list(range(revisions[0], revisions[0] + 300))
            assert (await client.range(Range(b"n/", b"n0", count_only=True))).count == 300

    run(scenario)


async def _write_many(client: StoreClient, count: int) -> None:
    for number in range(count):
        key = b"n/%06d" % number
        # Create-only: a repeat that ran twice would show as a failed comparison.
        result = await client.transact(Transaction((Compare(key, "create", "==", 0),), (Put(key, b"x"),)))
        assert result.succeeded


def test_every_acknowledged_increment_counts_once_over_a_leader_change(run: Callable[[Scenario], None]) -> None:
    async def scenario(cluster: Cluster) -> None:
        async with cluster.client() as client:

            async def burst(worker: int) -> None:
                for _ in range(20):
                    assert (await client.transact(put(b"c/%d" % worker))).succeeded

            work = asyncio.gather(*(burst(worker) for worker in range(20)))
            await client.transact(put(b"warm"))
            await cluster.leader.stop()
            await work
            kvs = (await client.range(Range(b"c/", b"c0"))).kvs
            assert [kv.version for kv in kvs] == [20] * 20

    run(scenario)


def test_a_long_answer_arrives_whole(run: Callable[[Scenario], None]) -> None:
    async def scenario(cluster: Cluster) -> None:
        async with cluster.client() as client:
            await asyncio.gather(*(client.transact(put(b"r/%04d" % n, bytes(5000))) for n in range(1500)))
            result = await client.range(Range(b"r/", b"r0"))
            assert [kv.key for kv in result.kvs] == [b"r/%04d" % n for n in range(1500)]
            page = await client.range(Range(b"r/", b"r0", limit=10))
            assert (len(page.kvs), page.count, page.more) == (10, 1500, True)
            history: list[WatchBatch] = []
            async for batch in client.watch(b"r/", b"r0", 2):
                history.append(batch)
                if sum(len(one.events) for one in history) == 1500:
                    break
            assert max(len(one.events) for one in history) <= 1000

    run(scenario)


def test_a_lease_ends_with_its_holder_and_lives_through_a_leader_change(run: Callable[[Scenario], None]) -> None:
    async def scenario(cluster: Cluster) -> None:
        async with cluster.client() as client:
            lease = await client.lease_grant(700)
            held = await client.transact(Transaction(success=(Put(b"held", b"", lease=lease.lease),)))
            watch = client.watch(b"held", b"", held.revision + 1)
            await cluster.leader.stop()
            assert (await client.lease_keep_alive(lease.lease)).lease == lease.lease
            async for batch in watch:
                if batch.events:
                    assert batch.events[0].kind == 1
                    break
            with pytest.raises(LeaseNotFound):
                await client.lease_keep_alive(lease.lease)

    run(scenario)


def test_strangers_are_refused(run: Callable[[Scenario], None]) -> None:
    async def scenario(cluster: Cluster) -> None:
        with pytest.raises(Unavailable):
            await StoreClient(cluster.endpoints, cluster.stranger_tls, wait_s=0.5).start()
        with pytest.raises(Unavailable, match="this is cluster test"):
            await StoreClient(cluster.endpoints, cluster.client_tls, cluster_id="other", wait_s=0.5).start()
        with pytest.raises(Unavailable):
            await StoreClient(cluster.endpoints, None, wait_s=0.5).start()

    run(scenario)


def test_the_unix_socket_serves_this_user(run: Callable[[Scenario], None]) -> None:
    async def scenario(cluster: Cluster) -> None:
        paths = [server.settings.unix_path for server in cluster.servers.values()]
        client = StoreClient([f"unix:{path}" for path in paths])
        await client.start()
        assert (await client.transact(put(b"u"))).revision == 2
        assert all(path is not None and path.stat().st_mode & 0o777 == 0o600 for path in paths)
        await client.close()

    run(scenario)


def test_garbage_is_answered_and_cut_and_hurts_nobody(run: Callable[[Scenario], None]) -> None:
    async def scenario(cluster: Cluster) -> None:
        path = cluster.servers["a"].settings.unix_path
        for garbage in (b"\xff" * 64, b"GET / HTTP/1.1\r\n\r\n", bytes(16), b"\0\0\0\x0a\x01" + bytes(8) + b"\xc1"):
            reader, writer = await asyncio.open_unix_connection(str(path))
            writer.write(garbage)
            assert await reader.read()
            writer.close()
        async with cluster.client() as client:
            assert await client.revision() >= 1

    run(scenario)


def test_the_leader_compacts_and_every_replica_follows(run: Callable[[Scenario], None]) -> None:
    async def scenario(cluster: Cluster) -> None:
        async with cluster.client() as client:
            for _ in range(8):
                await asyncio.gather(*(client.transact(put(b"k%d" % (n % 9))) for n in range(1000)))
            with pytest.raises(Compacted):
                await client.range(Range(b"k0", revision=2))
            leader = cluster.leader.store.member_status()
            assert 2000 <= leader.compact_revision <= leader.revision - 5000 + 1000
            async with asyncio.timeout(10):
                while {one.store.machine.compact_revision for one in cluster.servers.values()} != {
                    leader.compact_revision
                }:
                    await client.transact(put(b"more"))

    run(scenario)
