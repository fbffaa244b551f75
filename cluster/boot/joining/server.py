"""The join server of a server host: lets other hosts in, also while the store has no majority.

Three ways in, each open to those whom it is for: anybody may learn the CA's certificate, whoever has a join token gets
what its kind entitles to, and hosts of the cluster prove themselves by their certificates. What it gives away is read
from the state folder each time, so that a rotated token counts at once.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from typing import Any

import orjson
from prometheus_client import Counter

from oarlock.cluster.apiserver.exchange import Request, Response
from oarlock.cluster.apiserver.http import HttpFront
from oarlock.cluster.apiserver.settings import Tls
from oarlock.cluster.boot import hoststate
from oarlock.cluster.boot.drafts import node_user
from oarlock.cluster.boot.hostlayout import JOIN_GROUP
from oarlock.cluster.boot.hosts import HostRecord
from oarlock.cluster.boot.joining import judging
from oarlock.cluster.boot.joining.attempts import Attempts
from oarlock.cluster.boot.joining.judging import Asked, KnownNode, Refused
from oarlock.cluster.boot.joining.paths import NODE, OPEN, RENEW, SERVER, TOKENS
from oarlock.cluster.boot.joining.requests import signed
from oarlock.cluster.boot.jointokens import Purpose, Secrets
from oarlock.cluster.boot.pki import Authority
from oarlock.cluster.boot.state import StateFolder
from oarlock.cluster.client.errors import Unreachable
from oarlock.cluster.client.http import ApiClient
from oarlock.cluster.client.settings import ClientSettings
from oarlock.cluster.objects.status import ApiError

BODY_BYTES_MAX = 16 << 10
BODY_S, NODES_S = 10.0, 5.0
"""The second less than a joining host waits for an answer."""
UNDER_WAY_MAX = 32
NEIGHBOUR_S = 2.0
TOKENS_EVERY_S = 30.0
GRACE_S = 2.0

JOINED = Counter("oarlock_join_hosts", "Hosts that were let in.", ["role"])
REFUSALS = Counter("oarlock_join_refusals", "Requests that were refused.", ["status"])

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class JoinSettings:
    """`client` reaches the API, which knows the nodes; the files of `tls` are this server's own certificate."""

    folder: StateFolder
    host: str
    port: int
    tls: Tls
    client: ClientSettings


class JoinServer:
    """Serves joining hosts from one state folder."""

    def __init__(self, settings: JoinSettings, record: HostRecord, clock: Callable[[], float] = time.time) -> None:
        self._settings, self._record, self._clock = settings, record, clock
        self._authority = Authority(settings.folder.pki)
        self._version = importlib.metadata.version("oarlock")
        self._attempts = Attempts(time.monotonic)
        self._under_way = 0
        self._api = ApiClient(settings.client)
        self._front = HttpFront(settings.host, settings.port, settings.tls, self.handle)
        self._learning: asyncio.Task[None] | None = None
        self._stopped = asyncio.Event()

    @property
    def port(self) -> int:
        return self._front.port

    async def start(self) -> None:
        """Listen. Raises OSError (port in use) or ssl.SSLError (unusable files)."""
        await self._front.start()
        self._learning = asyncio.create_task(self._learn_tokens())

    async def wait(self) -> None:
        await self._stopped.wait()

    async def stop(self) -> None:
        """Listen no more. Idempotent."""
        self._stopped.set()
        learning, self._learning = self._learning, None
        if learning is not None:
            learning.cancel()
            await asyncio.gather(learning, return_exceptions=True)
        await self._front.stop(0, GRACE_S)
        await self._api.close()

    async def handle(self, request: Request) -> Response:
        """Answer one request; a refusal is an answer, too."""
        try:
            self._attempts.check(request.address)
            if self._under_way >= UNDER_WAY_MAX:
                raise Refused(429, "too many hosts are joining at once", "Try again in a moment.")
            self._under_way += 1
            try:
                return Response(200, orjson.dumps(await self._answer(request)))
            finally:
                self._under_way -= 1
        except Refused as refused:
            REFUSALS.labels(str(refused.status)).inc()
            if refused.status in (400, 401, 403, 404):
                self._attempts.failed(request.address)
            log.info("refused address=%s path=%s cause=%r", request.address, request.path, refused.cause)
            return Response(refused.status, orjson.dumps({"cause": refused.cause, "way_out": refused.way_out}))

    async def _answer(self, request: Request) -> dict[str, Any]:
        answers: dict[tuple[str, str], Callable[[Request], Awaitable[dict[str, Any]]]] = {
            ("GET", OPEN): self._introduce,
            ("POST", SERVER): self._admit_server,
            ("POST", NODE): self._admit_node,
            ("POST", RENEW): self._renew,
            ("GET", TOKENS): self._tell_tokens,
            ("PUT", TOKENS): self._take_tokens,
        }
        answer = answers.get((request.method, request.path))
        if answer is None:
            raise Refused(404, "there is nothing here", "This is the join server of an Oarlock cluster.")
        return await answer(request)

    # For anybody

    async def _introduce(self, _: Request) -> dict[str, Any]:
        """Tell what a host has to know before it can trust us; the hash in its token tells it whether to."""
        record = self._record
        return {
            "ca": (self._settings.folder.pki / "ca.crt").read_text(),
            "cluster": record.cluster.name,
            "host": record.host,
            "instance": record.instance,
            "version": self._version,
            "time_s": self._clock(),
        }

    # For bearers of a token

    async def _admit_server(self, request: Request) -> dict[str, Any]:
        """Give a server host all that servers have in common: with it, it is one of them."""
        self._check_bearer(request, "server")
        document = await _body(request)
        asked, cluster, folder = Asked.of(document), self._record.cluster, self._settings.folder
        judging.check_common(asked, cluster, self._version, self._clock())
        name = judging.server_name(asked, cluster, request.address)
        address = cluster.members[name]
        judging.check_vacant(name, address, asked.instance, await self._instance_at(name))
        JOINED.labels("server").inc()
        log.info("server joins name=%s address=%s", name, request.address)
        return {
            "host": name,
            "cluster": asdict(cluster),
            "files": {
                "ca.crt": (folder.pki / "ca.crt").read_text(),
                "ca.key": (folder.pki / "ca.key").read_text(),
                "service-accounts.key": self._authority.service_account_key().read_text(),
                hoststate.RAY_TOKEN: hoststate.ray_token(folder),
            },
            "tokens": hoststate.load_secrets(folder).document(),
        }

    async def _admit_node(self, request: Request) -> dict[str, Any]:
        """Sign the key of a node, for the address that it comes from."""
        self._check_bearer(request, "node")
        document = await _body(request)
        asked, cluster = Asked.of(document), self._record.cluster
        judging.check_common(asked, cluster, self._version, self._clock())
        name, address = judging.node_place(asked, cluster, request.address)
        judging.check_node_vacant(name, address, await self._nodes())
        certificate = signed(self._authority, document.get("request"), name, address)
        JOINED.labels("node").inc()
        log.info("node joins name=%s address=%s", name, address)
        return {"host": name, "address": address, "cluster": asdict(cluster), "certificate": certificate}

    def _check_bearer(self, request: Request, needs: Purpose) -> None:
        given = request.headers.get("Authorization", "").removeprefix("Bearer ")
        judging.check_entitled(hoststate.load_secrets(self._settings.folder).purpose_of(given), needs)

    # For hosts of the cluster

    async def _renew(self, request: Request) -> dict[str, Any]:
        """Sign a new key of a node that proves itself by its present certificate."""
        user = request.peer[0] if request.peer else ""
        name = user.removeprefix(node_user(""))
        if not name or name == user:
            raise Refused(401, "only a node's own certificate renews it", "If it has ended, join again: oarlock node.")
        document = await _body(request)
        return {"certificate": signed(self._authority, document.get("request"), name, request.address)}

    async def _tell_tokens(self, request: Request) -> dict[str, Any]:
        self._check_server(request)
        return hoststate.load_secrets(self._settings.folder).document()

    async def _take_tokens(self, request: Request) -> dict[str, Any]:
        self._check_server(request)
        try:
            given = Secrets.of(await _body(request))
        except (TypeError, ValueError) as error:
            raise Refused(400, str(error), "Install the same version on all hosts.") from None
        self._adopt(given)
        return hoststate.load_secrets(self._settings.folder).document()

    def _check_server(self, request: Request) -> None:
        if request.peer is None or JOIN_GROUP not in request.peer[1]:
            raise Refused(403, "only servers of the cluster may ask this", "Run the command on a server.")

    def _adopt(self, given: Secrets) -> None:
        if given.is_newer_than(hoststate.load_secrets(self._settings.folder)):
            hoststate.save_secrets(self._settings.folder, given)
            log.info("join tokens taken over version=%d", given.version)

    async def _learn_tokens(self) -> None:
        """Ask the other servers again and again: a token may have been rotated while this one was down."""
        others = [name for name in self._record.cluster.members if name != self._record.host]
        while others:
            for name in others:
                found = await self._ask(name, TOKENS)
                try:
                    self._adopt(Secrets.of(found))
                except (TypeError, ValueError):
                    continue  # it is down, and comes when it is up
            await asyncio.sleep(TOKENS_EVERY_S)

    # What others know

    async def _instance_at(self, name: str) -> str:
        """Return the instance of the join server that answers at a member's address, "" if none does."""
        if name == self._record.host:
            return self._record.instance
        return str((await self._ask(name, OPEN)).get("instance", ""))

    async def _ask(self, name: str, path: str) -> dict[str, Any]:
        """Return what another server answers, nothing if it doesn't."""
        tls, cluster = self._settings.tls, self._record.cluster
        url = f"https://{cluster.members[name]}:{cluster.ports['join']}"
        settings = ClientSettings(url, tls.ca_file, tls.cert_file, tls.key_file, timeout_s=NEIGHBOUR_S)
        try:
            async with asyncio.timeout(NEIGHBOUR_S), ApiClient(settings) as client:
                return await client.get(path)
        except (Unreachable, ApiError, TimeoutError):
            return {}

    async def _nodes(self) -> list[KnownNode]:
        try:
            async with asyncio.timeout(NODES_S):
                found = await self._api.list("/api/v1/nodes")
        except (Unreachable, ApiError, TimeoutError) as error:
            log.info("nodes not known: %s", error)
            raise Refused(
                503, "no API server is ready yet", "Start a majority of the servers first, then try again."
            ) from None
        return [_known(node) for node in found["items"]]


def _known(node: dict[str, Any]) -> KnownNode:
    status = node.get("status") or {}
    addresses = frozenset(one["address"] for one in status.get("addresses") or [])
    ready = any(one["type"] == "Ready" and one["status"] == "True" for one in status.get("conditions") or [])
    return KnownNode(node["metadata"]["name"], addresses, ready)


async def _body(request: Request) -> dict[str, Any]:
    """Return the body, which is small and comes soon. Raises Refused."""
    raw = bytearray()
    try:
        async with asyncio.timeout(BODY_S):
            if request.pieces is not None:
                async for piece in request.pieces():
                    raw += piece
                    if len(raw) > BODY_BYTES_MAX:
                        raise Refused(413, f"the request is larger than {BODY_BYTES_MAX} bytes", "Send less.")
        document = orjson.loads(raw)
    except TimeoutError:
        raise Refused(408, "the request did not arrive in time", "Try again.") from None
    except (ConnectionError, orjson.JSONDecodeError):
        raise Refused(400, "the request is no JSON", "Install the same version on all hosts.") from None
    if not isinstance(document, dict):
        raise Refused(400, "the request is no JSON object", "Install the same version on all hosts.")
    return document
