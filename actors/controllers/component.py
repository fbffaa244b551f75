"""All controllers in one component: shared caches while standing by, loops while acting."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

from oarlock.actors.controllers import (
    accounts,
    certificate_requests,
    certificates,
    namespace,
    node_ipam,
    nodes,
    statefulset,
    token_secrets,
)
from oarlock.actors.controllers.actions import Performer
from oarlock.actors.controllers.admission_policies import ADMISSION_POLICIES
from oarlock.actors.controllers.autoscaler import horizontal_pod_autoscaler
from oarlock.actors.controllers.bootstrap_tokens import BOOTSTRAP_SIGNER, TOKEN_CLEANER
from oarlock.actors.controllers.cluster_ranges import ClusterRange, cluster_ranges
from oarlock.actors.controllers.cluster_roles import CLUSTER_ROLES
from oarlock.actors.controllers.collector import Collector
from oarlock.actors.controllers.cronjob import CRONJOB
from oarlock.actors.controllers.daemonset import daemon_sets
from oarlock.actors.controllers.deployment import DEPLOYMENT
from oarlock.actors.controllers.device_taints import DEVICE_TAINTS
from oarlock.actors.controllers.disruption import DISRUPTION
from oarlock.actors.controllers.disruption_target import DISRUPTION_TARGET
from oarlock.actors.controllers.endpoints import endpoints_of_services
from oarlock.actors.controllers.endpointslices import endpoint_slices
from oarlock.actors.controllers.ephemeral_claims import EPHEMERAL_CLAIMS
from oarlock.actors.controllers.handling import HandlingLoop
from oarlock.actors.controllers.job import JOB
from oarlock.actors.controllers.legacy_tokens import LEGACY_TOKENS, TOKEN_TRACKING
from oarlock.actors.controllers.loop import Controller, ControllerLoop
from oarlock.actors.controllers.mirroring import MIRRORING
from oarlock.actors.controllers.node_ttl import NODE_TTL
from oarlock.actors.controllers.podgc import ENDED_PODS, POD_GC
from oarlock.actors.controllers.replicaset import REPLICASET, REPLICATION_CONTROLLER
from oarlock.actors.controllers.resource_claims import CLAIM_USERS, POD_CLAIMS
from oarlock.actors.controllers.resource_quota import RESOURCE_QUOTA
from oarlock.actors.controllers.service_cidr import SERVICE_CIDR
from oarlock.actors.controllers.sharding import EVERYTHING, NAMESPACE, WHOLE, Shard, hosted
from oarlock.actors.controllers.storage_protection import CLAIM_PROTECTION, CLASS_PROTECTION, VOLUME_PROTECTION
from oarlock.actors.controllers.ttl_after_finished import TTL_AFTER_FINISHED
from oarlock.actors.controllers.view import KINDS, View
from oarlock.actors.controllers.volume_binding import VOLUME_BINDING
from oarlock.actors.controllers.volume_expansion import VOLUME_EXPANSION
from oarlock.actors.shell.component import GATHER_MS, STANDBY_GATHER_MS, ComponentContext, fence_revision
from oarlock.cluster.client.cache import Cache
from oarlock.cluster.client.errors import Unreachable
from oarlock.cluster.client.events import Recorder
from oarlock.cluster.client.http import ApiClient
from oarlock.cluster.client.informers import Informers
from oarlock.cluster.client.reflector import metadata_only, without_managed_fields
from oarlock.cluster.objects.status import ApiError

_log = logging.getLogger(__name__)

_SETTLE_RETRY_S = 0.2
COLLECTOR, NAMESPACES, APPROVER = "garbagecollector", "namespace", "csrapproving"
_HANDLED = {NAMESPACES: "namespaces", APPROVER: "certificatesigningrequests"}
_ASLEEP = (BOOTSTRAP_SIGNER.name, TOKEN_CLEANER.name)
"""Those that act only where they are named, as upstream's do."""
_TRANSFORMS = {"secrets": token_secrets.kept}
"""What is kept of kinds of which the whole must not be."""
_WHOLE_CLUSTER = (COLLECTOR, *_HANDLED)
"""Loops that follow all kinds, or all that is in a namespace."""


class Loop(Protocol):
    """What acts while the lease is held."""

    def attach(self) -> None:
        """Follow the caches."""
        ...

    async def run(self) -> None:
        """Act until cancelled."""
        ...


@dataclass(frozen=True)
class ControllerSettings:
    """`ca_pem` is published in every namespace, "" publishes none; `ca_key_file` lets its CA sign requests.

    `token_key_file` holds the key that signs service accounts' tokens; without it no Secret gets one.

    `cluster_ranges` are what nodes get their pods' addresses from, none if they come with them; what overlaps one of
    `service_cidrs` is left out.

    `node_timings` is `fast` or `upstream`: how soon a silent node's pods go (decision 0019). `controllers` are those
    that act here (see `sharding.hosted`), on the keys of `shard` only.
    """

    ca_pem: str = ""
    node_timings: str = "fast"
    ca_key_file: str = ""
    token_key_file: str = ""
    controllers: tuple[str, ...] = (EVERYTHING,)
    shard: Shard = WHOLE
    cluster_ranges: tuple[ClusterRange, ...] = ()
    service_cidrs: tuple[str, ...] = ()

    @classmethod
    def of(cls, settings: Mapping[str, object]) -> ControllerSettings:
        """Read the component's settings; a value of a wrong type raises ValueError."""
        timings = str(settings.get("node_timings", cls.node_timings))
        if timings not in nodes.TIMINGS:
            raise ValueError(f"node_timings {timings!r} is none of {', '.join(nodes.TIMINGS)}")
        wanted = settings.get("controllers") or [EVERYTHING]
        if not isinstance(wanted, list | tuple):
            raise ValueError(f"controllers are no list: {wanted!r}")
        number, count = (int(str(settings.get(name, 1))) for name in ("shard", "shards"))
        return cls(
            str(settings.get("ca_pem") or ""),
            timings,
            str(settings.get("ca_key_file") or ""),
            str(settings.get("token_key_file") or ""),
            tuple(map(str, wanted)),
            Shard(number, count, str(settings.get("shard_by", NAMESPACE))),
            cluster_ranges(settings),
            tuple(one for one in str(settings.get("service_cidr") or "").split(",") if one),
        )


class Controllers:
    """Hosts the controllers of one group, on one shard. See `oarlock.actors.shell.component.Component`."""

    def __init__(self, context: ComponentContext) -> None:
        settings = ControllerSettings.of(context.settings)
        self._fence: str | None = None
        self._client = ApiClient(replace(context.client, fence=lambda: self._fence, user_agent="oarlock-controllers"))
        self._informers = Informers(self._client, STANDBY_GATHER_MS)
        self._shard = settings.shard
        every = controllers(settings)
        self._names = hosted(settings.controllers, names(), _ASLEEP)
        self._controllers = [
            one for one in every if one.name in self._names and (self._shard.number == 1 or not one.undivided)
        ]
        decided_on = {plural for one in self._controllers for plural in (*one.reads, *one.looks_at)}
        counted = {plural for one in self._controllers for plural in one.counts}
        handled = {plural for name, plural in _HANDLED.items() if self._hosts(name)}
        some = {*decided_on, *counted, *handled}
        decided_on |= handled
        watched = KINDS if self._hosts(COLLECTOR) else some
        self._caches = {plural: self._cache(plural, plural in decided_on) for plural in KINDS if plural in watched}
        self._view = View(self._caches)
        self._recorder = Recorder(self._client, "oarlock-controllers")
        self._collector: Collector | None = None
        if self._hosts(COLLECTOR):
            source = "garbage-collector-controller"
            self._collector = Collector(self._client, self._caches, Performer(self._client, self._recorder, source))
        self._loops = self._hosted()
        for one in self._loops:
            one.attach()

    def _hosts(self, name: str) -> bool:
        """Whether a loop that sees the whole cluster runs here: in one shard alone."""
        return name in self._names and self._shard.number == 1

    def _cache(self, plural: str, whole: bool) -> Cache:
        group, version = KINDS[plural]
        transform = without_managed_fields if whole else metadata_only
        return self._informers.cache(group, version, plural, transform=_TRANSFORMS.get(plural, transform))

    async def warm(self) -> None:
        """Fill the caches and keep them current."""
        self._informers.start()
        await self._informers.synced()
        if self._collector is not None:
            await self._collector.warm()

    async def run(self, fence: str) -> None:
        """Act under `fence` until cancelled, once the caches show all that the predecessor wrote."""
        self._informers.gather_ms = GATHER_MS
        await self._informers.wait_revision(fence_revision(fence))
        self._fence = fence
        self._recorder.start()
        _log.info("controllers acting fence=%s", fence)
        try:
            await _together([one.run() for one in self._loops])
        finally:
            self._fence = None
            self._informers.gather_ms = STANDBY_GATHER_MS
            await self._recorder.stop()

    def _hosted(self) -> list[Loop]:
        def performer(source: str) -> Performer:
            return Performer(self._client, self._recorder, source)

        loops: list[Loop] = [
            ControllerLoop(
                one, self._view, performer(one.source), self._settle, WHOLE if one.undivided else self._shard
            )
            for one in self._controllers
        ]
        if self._collector is not None:
            loops.append(self._collector)
        if self._hosts(NAMESPACES):
            loops.append(HandlingLoop(NAMESPACES, self._caches["namespaces"], namespace.is_due, self._empty))
        if self._hosts(APPROVER):
            requests = self._caches["certificatesigningrequests"]
            loops.append(HandlingLoop(APPROVER, requests, certificate_requests.is_undecided, self._approve))
        return loops

    async def _empty(self, one: dict[str, Any]) -> float | None:
        return await namespace.empty(self._client, one)

    async def _approve(self, request: dict[str, Any]) -> float | None:
        return await certificates.approve(self._client, request)

    async def _settle(self) -> None:
        """After a write of unknown outcome: return once the caches are past the moment it failed."""
        while True:
            try:
                page = await self._client.get("/api/v1/namespaces", {"limit": "1"})
                break
            except (ApiError, Unreachable):
                await asyncio.sleep(_SETTLE_RETRY_S)
        await self._informers.wait_revision(int(page["metadata"]["resourceVersion"]))

    async def stop(self) -> None:
        """End the watches and close the connections."""
        if self._collector is not None:
            await self._collector.stop()
        await self._informers.stop()
        await self._client.close()


def controllers(settings: ControllerSettings) -> list[Controller]:
    """Return the controllers that these settings allow."""
    signing = [certificates.signing(settings.ca_pem, settings.ca_key_file)] if settings.ca_key_file else []
    token_key = settings.token_key_file
    filling = [token_secrets.token_secrets(token_key, settings.ca_pem)] if token_key else []
    ranges = settings.cluster_ranges
    numbering = [node_ipam.node_ipam(ranges, settings.service_cidrs)] if ranges else []
    publishing = [accounts.root_ca_publisher(settings.ca_pem)] if settings.ca_pem else []
    return [
        DEPLOYMENT,
        REPLICASET,
        REPLICATION_CONTROLLER,
        statefulset.STATEFULSET,
        daemon_sets(),
        JOB,
        CRONJOB,
        TTL_AFTER_FINISHED,
        horizontal_pod_autoscaler(),
        DISRUPTION,
        DISRUPTION_TARGET,
        endpoints_of_services(),
        endpoint_slices(),
        MIRRORING,
        POD_GC,
        SERVICE_CIDR,
        ENDED_PODS,
        nodes.node_lifecycle(nodes.TIMINGS[settings.node_timings]),
        NODE_TTL,
        *numbering,
        DEVICE_TAINTS,
        RESOURCE_QUOTA,
        CLAIM_PROTECTION,
        VOLUME_PROTECTION,
        CLASS_PROTECTION,
        accounts.SERVICE_ACCOUNT,
        *publishing,
        *filling,
        LEGACY_TOKENS,
        TOKEN_TRACKING,
        *signing,
        certificates.CLEANER,
        CLUSTER_ROLES,
        VOLUME_BINDING,
        VOLUME_EXPANSION,
        EPHEMERAL_CLAIMS,
        POD_CLAIMS,
        CLAIM_USERS,
        ADMISSION_POLICIES,
        BOOTSTRAP_SIGNER,
        TOKEN_CLEANER,
    ]


async def _together(loops: list[Coroutine[Any, Any, None]]) -> None:
    """Run all loops until one fails or the caller is cancelled, and leave none running."""
    tasks = [asyncio.get_running_loop().create_task(one) for one in loops]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def names() -> list[str]:
    """Return the names of all controllers, as settings use them."""
    found = [one.name for one in controllers(ControllerSettings(ca_pem="any"))]
    return [*found, certificates.SIGNING, token_secrets.NAME, node_ipam.NAME, *_WHOLE_CLUSTER]


def create(context: ComponentContext) -> Controllers:
    """Make the component; it connects only once `warm()` is called."""
    return Controllers(context)
