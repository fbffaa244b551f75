"""One store replica as a component: Raft member, machine, and the listener for clients."""

from __future__ import annotations

import gc
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from oarlock.consensus import metrics
from oarlock.consensus.certificates import Certificates, Tls
from oarlock.consensus.connection import Connection
from oarlock.consensus.listener import Guest, Listener
from oarlock.consensus.raft import Times
from oarlock.consensus.replica import Replica, ReplicaSettings
from oarlock.consensus.replicated import ReplicatedStore
from oarlock.consensus.retention import RetentionSettings
from oarlock.consensus.sockets import UnixSocket

log = logging.getLogger(__name__)

CONNECTIONS_MAX = 1000
COLLECTOR_THRESHOLDS = (10_000, 5, 1_000_000)
"""Keep the garbage collector from walking the whole store, beside freezing what a start has loaded.

A full collection over a million records stops the loop for 0.1 s and finds nothing: records hold no cycles. The young
generations are still collected, so what cycles requests make is freed; they are kept small, since the middle one's
collection walks all that has come since its last.
"""


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
        self._connections: dict[Connection, None] = {}
        self._listeners: list[Listener] = []
        self._unix_socket: UnixSocket | None = None

    async def start(self) -> None:
        """Return once this replica takes part and listens for clients. Raises OSError, ssl.SSLError, StorageFault."""
        settings = self.settings
        self.store.follow(self._replica)
        self.store.on_role(self._tell_role)
        gc.set_threshold(*COLLECTOR_THRESHOLDS)
        await self._replica.start()
        gc.freeze()
        try:
            await self._listen()
        except BaseException:
            await self.stop()
            raise
        self._observe()
        log.info("store serves name=%s port=%s members=%d", settings.name, self.port, len(settings.members))

    async def stop(self) -> None:
        """Close clients' connections and leave the log. Idempotent."""
        await self._replica.hand_over()
        for listener in self._listeners:
            listener.close()
        await self.store.close()
        for connection in list(self._connections):
            connection.close()
        await self._replica.stop()
        if self._unix_socket is not None:
            self._unix_socket.remove()
            self._unix_socket = None

    async def wait(self) -> None:
        """Raise the fault that ends this replica, when there is one."""
        await self._replica.wait()

    @property
    def port(self) -> int | None:
        """The port that clients come to; of interest where the settings say 0."""
        return next((listener.port for listener in self._listeners if listener.port), None)

    # What connections ask.

    def admit(self, connection: Connection) -> str:
        """Return why a client is refused, "" if it has the right certificate and there is room."""
        if len(self._connections) >= CONNECTIONS_MAX:
            return f"this member serves {CONNECTIONS_MAX} connections already"
        allowed = self.settings.client_organizations
        if connection.secured and not allowed & connection.organizations:
            has = ", ".join(sorted(connection.organizations)) or "none"
            return f"the certificate needs one of the organizations {', '.join(sorted(allowed))}, it has {has}"
        self._connections[connection] = None
        return ""

    def closed(self, connection: Connection) -> None:
        self._connections.pop(connection, None)

    def _tell_role(self) -> None:
        for connection in self._connections:
            connection.tell_role()

    async def _listen(self) -> None:
        settings = self.settings
        if settings.port is not None:
            certificates = Certificates(settings.tls) if settings.tls else None
            listener = Listener("clients", self._welcome, certificates)
            self._listeners.append(listener)
            await listener.listen(settings.host, settings.port)
        if settings.unix_path is not None:
            self._unix_socket = UnixSocket(settings.unix_path)
            listener = Listener("clients", self._welcome, None)
            self._listeners.append(listener)
            await listener.take(self._unix_socket.listener)

    def _welcome(self, guest: Guest) -> Connection:
        return Connection(self, guest)

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
