"""What every cluster has from its first moment: namespaces, classes, flow control, a ServiceCIDR, the first Service.

Each API server makes what is missing at its start; who comes second finds it there. The Service's endpoints are
`presence`'s. Source: upstream's pkg/controlplane.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import logging
from typing import Any

from oarlock.cluster.apiserver import clock, defaults
from oarlock.cluster.apiserver.allocation.addresses import Addresses
from oarlock.cluster.apiserver.allocation.holding import Holdings
from oarlock.cluster.apiserver.authentication import MASTERS, User
from oarlock.cluster.apiserver.call import Call
from oarlock.cluster.apiserver.claims import Unmet
from oarlock.cluster.apiserver.exchange import Query, Request
from oarlock.cluster.apiserver.options import WriteOptions
from oarlock.cluster.apiserver.requests import RequestInfo
from oarlock.cluster.apiserver.storage import Stale
from oarlock.cluster.apiserver.writing import Writer
from oarlock.cluster.objects import flowcontrol, resources
from oarlock.cluster.objects.resources import Resource
from oarlock.cluster.objects.status import ApiError

log = logging.getLogger(__name__)

Obj = dict[str, Any]
_USER = User("system:apiserver", (MASTERS,))
NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")
_CIDR_READY = "Kubernetes default Service CIDR is ready"
_CRITICAL = (
    (
        "system-cluster-critical",
        2_000_000_000,
        "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
    ),
    (
        "system-node-critical",
        2_000_001_000,
        "Used for system critical pods that must not be moved from their current node.",
    ),
)


class Bootstrap:
    """Makes what is missing. Raises StoreError."""

    def __init__(
        self,
        writer: Writer,
        addresses: Addresses,
        holdings: Holdings,
        port: int,
        now: clock.Clock,
        client_ca_pem: str = "",
    ) -> None:
        """`port` is where the `kubernetes` Service leads to.

        `client_ca_pem` is who signs clients' certificates, "" where none are asked for.
        """
        self._client_ca_pem = client_ca_pem
        self._writer = writer
        self._addresses = addresses
        self._holdings = holdings
        self._port = port
        self._now = now

    async def run(self) -> None:
        """Bring everything into being, in the order in which it depends on each other."""
        for name in NAMESPACES:
            await self._ensure(resource_of("", "v1", "namespaces"), {"metadata": {"name": name}})
        classes = resource_of("scheduling.k8s.io", "v1", "priorityclasses")
        for name, value, description in _CRITICAL:
            await self._ensure(classes, {"metadata": {"name": name}, "value": value, "description": description})
        await self._flow_control()
        await self._introduce()
        await self._default_cidr()
        await self._hold_again()
        await self._ensure(resource_of("", "v1", "services"), self._service())

    async def _flow_control(self) -> None:
        """Priority levels before the schemas that name them."""
        annotations = {"apf.kubernetes.io/autoupdate-spec": "true"}
        for plural, specs in (
            ("prioritylevelconfigurations", flowcontrol.levels()),
            ("flowschemas", flowcontrol.schemas()),
        ):
            resource = resource_of(flowcontrol.GROUP, "v1", plural)
            for name, spec in specs.items():
                metadata = {"name": name, "annotations": dict(annotations)}
                await self._ensure(resource, {"metadata": metadata, "spec": copy.deepcopy(dict(spec))})

    async def _introduce(self) -> None:
        """Make what tells others of this server."""
        await asyncio.gather(*(self._complete(*one) for one in defaults.api_services(self._now())))
        await self._complete(*defaults.token_tracking(self._now()))
        if self._client_ca_pem:
            where, config = defaults.authentication(self._client_ca_pem)
            await self.match(resource_of(*where), config)

    async def _complete(self, where: tuple[str, str, str], obj: Obj) -> None:
        """Make an object and give it its status, if it is new."""
        resource, status = resource_of(*where), obj.get("status")
        if await self._ensure(resource, obj) and status is not None:
            call = own_call(resource, obj, "update")
            await self._writer.rewrite(
                call, lambda current, _: {**current, "status": status}, WriteOptions(), subresource="status"
            )

    async def _ensure(self, resource: Resource, obj: Obj) -> bool:
        call = own_call(resource, obj, "create")
        if call.key in self._writer.storage.cache.collection(resource.key_prefix).entries:
            return False
        try:
            await self._writer.create_object(call, _typed(resource, obj), dry_run=False)
        except ApiError as error:
            # Another API server may have been faster. A Service's address is then told as taken before its name is.
            if error.reason != "AlreadyExists" and await self._writer.storage.live(call.key) is None:
                raise
            return False
        return True

    async def match(self, resource: Resource, obj: Obj) -> None:
        """Make the object, or make what is there say the same. Raises ApiError and StoreError."""
        if await self._ensure(resource, obj):
            return
        wanted = _typed(resource, obj)
        parts = [name for name in wanted if name not in ("kind", "apiVersion", "metadata")]

        def compute(current: Obj, _: object) -> Obj:
            return {**current, **{name: wanted[name] for name in parts}}

        await self._writer.rewrite(own_call(resource, obj, "update"), compute, WriteOptions())

    async def _default_cidr(self) -> None:
        """Make the default ServiceCIDR, and call it ready if it is as configured and nobody has said whether it is.

        One that differs is left alone, but that it may gain its second family.
        Source: upstream's pkg/controlplane/controller/defaultservicecidr.
        """
        resource = resource_of("networking.k8s.io", "v1", "servicecidrs")
        cidrs = self._addresses.cidrs
        obj = {"metadata": {"name": "kubernetes"}, "spec": {"cidrs": cidrs}}
        await self._ensure(resource, obj)

        def widen(current: Obj, _: object) -> Obj:
            is_first = current["spec"].get("cidrs") == cidrs[:1]
            return {**current, "spec": {**current["spec"], "cidrs": cidrs}} if is_first else current

        def judge(current: Obj, _: object) -> Obj:
            conditions = current.get("status", {}).get("conditions") or []
            is_judged = any(one.get("type") == "Ready" for one in conditions)
            if is_judged or current["spec"].get("cidrs") != cidrs or current["metadata"].get("deletionTimestamp"):
                return current
            ready = {"type": "Ready", "status": "True", "reason": "", "message": _CIDR_READY}
            ready["lastTransitionTime"] = clock.text(self._now())
            return {**current, "status": {**current.get("status", {}), "conditions": [*conditions, ready]}}

        call = own_call(resource, obj, "update")
        await self._writer.rewrite(call, widen, WriteOptions())
        written = await self._writer.rewrite(call, judge, WriteOptions(), subresource="status")
        await self._writer.storage.catch_up(written.entry.revision)

    async def _hold_again(self) -> None:
        """Let Services hold what they have but, made by an older release or bereft by hand, don't hold."""
        storage = self._writer.storage
        for entry in list(storage.cache.collection(resource_of("", "v1", "services").key_prefix).entries.values()):
            service = entry.object()
            missing = self._holdings.missing(service)
            if missing:
                log.warning("service %s does not hold %d of what it has", entry.key.decode(), len(missing))
                with contextlib.suppress(Stale, Unmet):
                    await storage.put(entry.key, service, entry, claims=missing)

    def _service(self) -> Obj:
        port = {"name": "https", "port": 443, "protocol": "TCP", "targetPort": self._port}
        return {
            "metadata": {
                "name": "kubernetes",
                "namespace": "default",
                "labels": {"component": "apiserver", "provider": "kubernetes"},
            },
            "spec": {
                "clusterIP": self._addresses.api_server_address,
                "ports": [port],
                "sessionAffinity": "None",
                "type": "ClusterIP",
            },
        }


def resource_of(group: str, version: str, plural: str) -> Resource:
    """A built-in resource."""
    found = resources.lookup(group, version, plural)
    assert found is not None
    return found


def _typed(resource: Resource, obj: Obj) -> Obj:
    return {"kind": resource.kind, "apiVersion": resource.api_version, **obj}


def own_call(resource: Resource, obj: Obj, verb: str, manager: str = "kube-apiserver", subresource: str = "") -> Call:
    """A call that the server makes on its own behalf about `obj`."""
    metadata = obj["metadata"]
    info = RequestInfo(
        verb=verb,
        path="",
        is_resource=True,
        group=resource.group,
        version=resource.version,
        namespace=metadata.get("namespace", ""),
        resource=resource.plural,
        name=metadata["name"],
        subresource=subresource,
    )
    return Call(Request("POST", "", Query(f"fieldManager={manager}"), {}, _no_body), info, resource, _USER)


async def _no_body() -> bytes:
    return b""
