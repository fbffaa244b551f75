"""One store replica as a component: Raft member, machine, and the listener for clients."""

from __future__ import annotations

import asyncio
import gc
import logging
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from oarlock.consensus import metrics
from oarlock.consensus.connection import Connection
from oarlock.consensus.raft import Times
from oarlock.consensus.replica import Replica, ReplicaSettings
from oarlock.consensus.replicated import ReplicatedStore
from oarlock.consensus.retention import RetentionSettings
from oarlock.consensus.transport import Tls, tls_context

log = logging.getLogger(__name__)

CONNECTIONS_MAX = 1000


@dataclass(frozen=True, slots=True)
class StoreSettings:
    """`members` maps every member's name to (host, port) for its peers. Clients come to `host`:`port`, where they must
    show a certificate of the cluster's CA with one of the `client_organizations`, or to the socket `unix_path`, which
    only this user can open. Without `tls` the listener and the peers speak plainly: for tests.
    """

    name: str
    members: Mapping[str, tuple[str, int]]
    data_dir: Path
    cluster_id: str = "oarlock"
    host: str = "127.0.0.1"
    port: int | None = None
    unix_path: Path | None = None
    tls: Tls | None = None
    client_organizations: frozenset[str] = frozenset({"system:masters"})
    times: Times = field(default_factory=Times)
    retention: RetentionSettings = field(default_factory=RetentionSettings)
    snapshot_after_bytes: int = 16 << 20

    def __post_init__(self) -> None:
        if self.port is None and self.unix_path is None:
            raise ValueError("a store needs a port or a Unix socket for its clients")


class StoreServer:
    """Serves clients from one replica. `store` is the replica's own view, usable in this process."""

    def __init__(self, settings: StoreSettings) -> None:
        self.settings = settings
        self.cluster_id = settings.cluster_id
        self.store = ReplicatedStore(settings.retention)
        self._replica = Replica(
            ReplicaSettings(
                settings.name,
                settings.members,
                settings.data_dir,
                settings.tls,
                settings.cluster_id,
                settings.times,
                settings.snapshot_after_bytes,
            ),
            self.store,
        )
        self._connections: set[Connection] = set()
        self._servers: list[asyncio.Server] = []

    async def start(self) -> None:
        """Return once this replica takes part and listens for clients. Raises OSError, ssl.SSLError, StorageFault."""
        settings = self.settings
        self.store.follow(self._replica)
        self.store.on_role(self._tell_role)
        context = tls_context(settings.tls, server=True) if settings.tls else None
        await self._replica.start()
        _spare_the_collector()
        try:
            await self._listen(context)
        except BaseException:
            await self.stop()
            raise
        self._observe()
        log.info("store serves name=%s port=%s members=%d", settings.name, self.port, len(settings.members))

    async def stop(self) -> None:
        """Close clients' connections and leave the log. Idempotent."""
        for server in self._servers:
            server.close()
        self._servers.clear()
        await self.store.close()
        for connection in list(self._connections):
            connection.close()
        await self._replica.stop()
        if self.settings.unix_path is not None:
            self.settings.unix_path.unlink(missing_ok=True)

    async def wait(self) -> None:
        """Raise the fault that ends this replica, when there is one."""
        await self._replica.wait()

    @property
    def port(self) -> int | None:
        """The port that clients come to; of interest where the settings say 0."""
        for server in self._servers:
            for listener in server.sockets:
                if self.settings.port is not None and isinstance(listener.getsockname(), tuple):
                    return int(listener.getsockname()[1])
        return None

    # What connections ask.

    def opened(self, connection: Connection) -> bool:
        """Admit a client that has the right certificate, while there is room."""
        if len(self._connections) >= CONNECTIONS_MAX:
            log.warning("client refused reason=connections max=%d", CONNECTIONS_MAX)
            return False
        certificate = connection.certificate
        if certificate is not None and not self.settings.client_organizations & _organizations(certificate):
            log.warning("client refused reason=organization subject=%s", certificate.get("subject"))
            return False
        self._connections.add(connection)
        return True

    def closed(self, connection: Connection) -> None:
        self._connections.discard(connection)

    def _tell_role(self) -> None:
        for connection in self._connections:
            connection.tell_role()

    async def _listen(self, context: ssl.SSLContext | None) -> None:
        loop = asyncio.get_running_loop()
        settings = self.settings
        if settings.port is not None:
            listen = loop.create_server(lambda: Connection(self), settings.host, settings.port, ssl=context)
            self._servers.append(await listen)
        if settings.unix_path is not None:
            settings.unix_path.unlink(missing_ok=True)
            self._servers.append(await loop.create_unix_server(lambda: Connection(self), str(settings.unix_path)))
            settings.unix_path.chmod(0o600)

    def _observe(self) -> None:
        """Have the gauges read the state when they are scraped; that costs nothing in between."""
        store = self.store
        metrics.KEYS.set_function(lambda: len(store.machine.history.current))
        metrics.WATCHERS.set_function(lambda: len(store.hub))
        metrics.CURRENT_REVISION.set_function(lambda: store.machine.revision)
        metrics.COMPACT_REVISION.set_function(lambda: store.machine.compact_revision)
        metrics.DATABASE_BYTES.set_function(lambda: store.machine.history.live_bytes)
        metrics.HISTORY_BYTES.set_function(lambda: store.machine.history.retained_bytes)
        metrics.LEASES.set_function(lambda: len(store.machine.leases))
        metrics.CONNECTIONS.set_function(lambda: len(self._connections))


def _organizations(certificate: Mapping[str, object]) -> set[str]:
    subject = certificate.get("subject", ())
    assert isinstance(subject, tuple)
    return {value for part in subject for key, value in part if key == "organizationName"}


def _spare_the_collector() -> None:
    """Keep the garbage collector from walking the whole store.

    A full collection over a million records stops the loop for 0.1 s and finds nothing: records hold no cycles. The
    young generations are still collected, so what cycles requests make is freed.
    """
    gc.freeze()
    gc.set_threshold(10_000, 20, 1_000_000)
