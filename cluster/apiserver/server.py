"""The API server as a component: builds its parts, serves, stops."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
from collections.abc import Mapping
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm

from oarlock.cluster.apiserver import checks, clock, documents, metrics
from oarlock.cluster.apiserver.admission.chain import Admission
from oarlock.cluster.apiserver.allocation.addresses import Addresses
from oarlock.cluster.apiserver.allocation.holding import Holdings
from oarlock.cluster.apiserver.allocation.ports import Ports
from oarlock.cluster.apiserver.allocation.services import ServiceAllocation
from oarlock.cluster.apiserver.authentication import AUTHENTICATED, MASTERS, Authenticator, User, load_tokens
from oarlock.cluster.apiserver.backends import Backends
from oarlock.cluster.apiserver.bootstrap import Bootstrap
from oarlock.cluster.apiserver.components import Components
from oarlock.cluster.apiserver.definitions import Definitions
from oarlock.cluster.apiserver.deleting import Deleter
from oarlock.cluster.apiserver.dispatch import Dispatcher
from oarlock.cluster.apiserver.documents import Documents
from oarlock.cluster.apiserver.endpoints import Endpoints
from oarlock.cluster.apiserver.exchange import Answer, Request
from oarlock.cluster.apiserver.extensions import Extensions
from oarlock.cluster.apiserver.flowschemas import FlowSchemaConditions
from oarlock.cluster.apiserver.forms import Forms
from oarlock.cluster.apiserver.health import Check, Health
from oarlock.cluster.apiserver.heartbeat import Heartbeat
from oarlock.cluster.apiserver.holders import Holders, Page
from oarlock.cluster.apiserver.http import HttpFront
from oarlock.cluster.apiserver.inflight import InFlight
from oarlock.cluster.apiserver.leases import Leases
from oarlock.cluster.apiserver.legacy_tokens import LegacyTokens, marking
from oarlock.cluster.apiserver.listing import Reader
from oarlock.cluster.apiserver.presence import Place, Presence
from oarlock.cluster.apiserver.relaying import Relays
from oarlock.cluster.apiserver.reviews import Reviews
from oarlock.cluster.apiserver.served import Served
from oarlock.cluster.apiserver.serviceaccounts import ServiceAccounts
from oarlock.cluster.apiserver.settings import ApiServerSettings
from oarlock.cluster.apiserver.storage import Storage
from oarlock.cluster.apiserver.subresources.connecting import Connecting
from oarlock.cluster.apiserver.subresources.logs import Logs
from oarlock.cluster.apiserver.subresources.proxying import Proxying
from oarlock.cluster.apiserver.targets import Targets
from oarlock.cluster.apiserver.upgrading import Upgrades
from oarlock.cluster.apiserver.verbs import Verbs
from oarlock.cluster.apiserver.watchcache import WatchCache
from oarlock.cluster.apiserver.watching import Watching
from oarlock.cluster.apiserver.webhooks import Webhooks
from oarlock.cluster.apiserver.writing import Writer
from oarlock.cluster.apiserver.zpages import ZPages
from oarlock.cluster.objects.tokens import KeyFileError, TokenKey, new_key
from oarlock.consensus.model import Store, StoreError

log = logging.getLogger(__name__)

LOOK_S, LATE_BALANCER_S = 0.1, 5.0
LATE_S, CUT_S = 0.1, 0.2
"""How long connections made at the last moment may take to ask for something, and what is left then to end."""


class ApiServer:
    """One API server over an already started store. Stateless: any number may run over one store.

    `pages` are those of components that live in the same process, by their leases; more may come later.
    """

    def __init__(
        self,
        settings: ApiServerSettings,
        store: Store,
        now: clock.Clock = clock.now,
        pages: Mapping[str, Page] | None = None,
    ) -> None:
        self._settings = settings
        self._store = store
        self._stopping = False
        self._stopped = asyncio.Event()
        self._bootstrapped = False
        self._cache = WatchCache(store)
        self._served = Served(self._cache)
        self._leases = Leases(store)
        backends = Backends(self._cache, settings.kubelet_tls)
        upgrades = Upgrades()
        self._relays = Relays()
        self._holders = Holders(store, backends, self._relays, {} if pages is None else pages)
        self._logs = Logs(backends, self._relays)
        self._connecting = Connecting(backends, upgrades)
        self._proxying = Proxying(self._cache, backends, self._relays, upgrades, loopback=settings.loopback_network)
        storage = Storage(store, self._cache)
        self._webhooks = Webhooks(Endpoints(self._cache))
        self._forms = forms = Forms(self._webhooks)
        self._watching = Watching(self._cache, forms)
        reader = Reader(store, self._cache, forms)
        self._addresses = Addresses(settings.service_cidr.split(","), self._cache, now)
        ports = Ports(settings.node_port_range, self._cache)
        self._holdings = Holdings(storage, self._addresses, ports)
        admission = Admission(
            storage,
            ServiceAllocation(storage, self._addresses, ports),
            self._holdings,
            settings.pod_security,
            settings.disabled_plugins,
        )
        self._writer = Writer(store, storage, admission, forms, now, loopback=settings.loopback_network)
        self._deleter = Deleter(storage, reader, admission, forms, now)
        self._flow_schemas = FlowSchemaConditions(self._writer, self._cache, now)
        self._definitions = Definitions(self._cache, self._writer, self._deleter, now)
        self._heartbeat = Heartbeat(settings.name, storage, self._writer, self._deleter, now)
        self._reader = reader
        self._now = now
        self._storage = storage
        self._health = self._checks()
        self._presence: Presence | None = None
        self._dispatcher: Dispatcher | None = None
        self._front = HttpFront(settings.host, settings.port, settings.tls, self._handle, settings.handover)

    @property
    def port(self) -> int:
        """The port that is listened on, once started."""
        return self._front.port

    @property
    def url(self) -> str:
        """The server's own base URL."""
        scheme = "http" if self._settings.tls is None else "https"
        return f"{scheme}://{self._settings.host}:{self.port}"

    @property
    def _unreachable(self) -> bool:
        """Whether nobody else could reach the advertised address, so that it is no endpoint."""
        loopback = ipaddress.ip_address(self._settings.advertise_address).is_loopback
        return loopback and not self._settings.loopback_network

    async def start(self) -> None:
        """Fill the cache, make what every cluster has, and serve.

        Raises StoreError, OSError (port), ssl.SSLError, TokenFileError, KeyFileError; nothing is left running then.
        """
        key = _token_key(self._settings.service_account_key_file)
        legacy = LegacyTokens(self._storage, self._now, marking(self._writer))
        accounts = ServiceAccounts(key, self._settings.issuer, self._storage, self._now, legacy)
        tokens = load_tokens(self._settings.token_file) if self._settings.token_file else {}
        trusted = User("system:admin", (MASTERS, AUTHENTICATED)) if self._settings.tls is None else None
        build = documents.version()
        metrics.BUILD.labels(*(build[name] for name in ("major", "minor", "gitVersion", "platform"))).set(1)
        try:
            await self._front.start()
            port = self._settings.advertise_port or self.port
            authenticator = Authenticator(tokens, accounts, trusted)
            health = self._health
            extensions = Extensions(self._cache)
            self._dispatcher = Dispatcher(
                authenticator,
                self._verbs(authenticator, accounts),
                Documents(f"{self._settings.advertise_address}:{port}", self._served, extensions, health.paths()),
                accounts.published(self.url),
                health,
                ZPages(self._now(), build, _flags(self._settings)),
                self._leases,
                Targets(self._store),
                self._holders,
                InFlight(self._settings.reads_inflight_max, self._settings.writes_inflight_max),
                self._cache,
                self._served,
                extensions,
                self._now,
            )
            await self._cache.start()
            client_ca = _text(self._settings.tls.ca_file) if self._settings.tls is not None else ""
            bootstrap = Bootstrap(self._writer, self._addresses, self._holdings, port, self._now, client_ca)
            await bootstrap.run()
            if not self._unreachable:
                place = Place(self._settings.advertise_address, port)
                self._presence = Presence(
                    self._store, bootstrap, self._settings.name, place, self._settings.presence_ttl_s
                )
                await self._presence.start()
            self._bootstrapped = True
            self._flow_schemas.start()
            self._definitions.start()
            self._heartbeat.start()
        except BaseException:
            await self.stop()
            raise
        log.info("apiserver started name=%s url=%s", self._settings.name, self.url)

    async def stop(self) -> None:
        """Turn not ready, serve until that is known, let clients leave one by one, close. May be called repeatedly.

        Source: the shutdown sequence described in apiserver pkg/server/genericapiserver.go.
        """
        if self._stopping:
            await self._stopped.wait()
            return
        self._stopping = True
        settings = self._settings
        if self._presence is not None:
            await self._presence.stop()
        if self._bootstrapped and settings.shutdown_delay_s:
            await self._be_known()
        # Watches end only now: their clients come back at once, and must come to another server.
        self._watching.stop()
        self._leases.stop()
        await self._front.drain(settings.shutdown_quiet_s, settings.shutdown_grace_s)
        await self._heartbeat.stop()
        await self._definitions.stop()
        await self._front.stop(min(LATE_S, settings.shutdown_quiet_s), CUT_S)
        await self._flow_schemas.stop()
        await self._cache.stop()
        await self._relays.stop()
        await self._forms.stop()
        await self._webhooks.stop()
        self._stopped.set()

    async def _be_known(self) -> None:
        """Return once balancers must know that this server leaves; the delay is longer while they are late."""
        loop, delay_s = asyncio.get_running_loop(), self._settings.shutdown_delay_s
        since = loop.time()
        await asyncio.sleep(delay_s)
        ends = since + delay_s + LATE_BALANCER_S
        while not self._health.is_known(since) and loop.time() < ends:  # noqa: ASYNC110 - it takes a few looks at most
            await asyncio.sleep(LOOK_S)

    async def wait(self) -> None:
        """Return when the server has stopped; raise what keeps it from going on."""
        stopped = asyncio.ensure_future(self._stopped.wait())
        failed = asyncio.ensure_future(self._cache.failed())
        await asyncio.wait({stopped, failed}, return_when=asyncio.FIRST_COMPLETED)
        if not self._stopping:
            stopped.cancel()
            failed.result()
        await stopped

    def _verbs(self, authenticator: Authenticator, accounts: ServiceAccounts) -> Verbs:
        reviews = Reviews(authenticator, accounts, self._now)
        return Verbs(
            self._reader,
            self._watching,
            self._writer,
            self._deleter,
            self._logs,
            self._connecting,
            self._proxying,
            reviews,
            accounts,
            Components(self._store),
            self._now,
        )

    async def _handle(self, request: Request) -> Answer:
        assert self._dispatcher is not None
        return await self._dispatcher.handle(request)

    def _checks(self) -> Health:
        parts: dict[checks.Part, Check] = {
            "process": _fine,
            "store": self._check_store,
            "cache": self._check_cache,
            "start": self._check_bootstrap,
            "shutdown": self._check_shutdown,
        }
        return Health(checks.named(parts))

    async def _check_store(self) -> str:
        try:
            await self._store.revision()
        except StoreError as error:
            return str(error)
        return ""

    async def _check_cache(self) -> str:
        return "" if self._cache.synced else "the watch cache is loading"

    async def _check_bootstrap(self) -> str:
        return "" if self._bootstrapped else "not finished"

    async def _check_shutdown(self) -> str:
        return "the server is shutting down" if self._stopping else ""


def _flags(settings: ApiServerSettings) -> dict[str, str]:
    """Upstream's flags for what the settings decide."""
    low, high = settings.node_port_range
    return {
        "advertise-address": settings.advertise_address,
        "bind-address": settings.host,
        "disable-admission-plugins": f"[{','.join(settings.disabled_plugins)}]",
        "max-mutating-requests-inflight": str(settings.writes_inflight_max),
        "max-requests-inflight": str(settings.reads_inflight_max),
        "secure-port": str(settings.port),
        "service-account-issuer": f"[{settings.issuer}]",
        "service-cluster-ip-range": settings.service_cidr,
        "service-node-port-range": f"{low}-{high}",
        "shutdown-delay-duration": f"{settings.shutdown_delay_s:g}s",
    }


def _text(path: str) -> str:
    return Path(path).read_text(encoding="utf-8")


def _token_key(path: str | None) -> TokenKey:
    try:
        return TokenKey(Path(path).read_bytes() if path else new_key())
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise KeyFileError(f"{path}: {error}") from error


async def _fine() -> str:
    return ""
