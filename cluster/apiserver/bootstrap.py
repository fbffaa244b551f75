"""What every cluster has from its first moment: namespaces, priority classes, flow control, the `kubernetes` Service.

Each API server makes what is missing at its start; who comes second finds it there. The Service's endpoints are
brought in line with the advertised addresses each time. Source: upstream's pkg/controlplane.
"""

from __future__ import annotations

import copy
import ipaddress
from typing import Any

from oarlock.cluster.apiserver.allocation import Pool
from oarlock.cluster.apiserver.authentication import MASTERS, User
from oarlock.cluster.apiserver.call import Call
from oarlock.cluster.apiserver.exchange import Query, Request
from oarlock.cluster.apiserver.options import WriteOptions
from oarlock.cluster.apiserver.requests import RequestInfo
from oarlock.cluster.apiserver.writing import Writer
from oarlock.cluster.objects import flowcontrol, resources
from oarlock.cluster.objects.resources import Resource
from oarlock.cluster.objects.status import ApiError

Obj = dict[str, Any]
_USER = User("system:apiserver", (MASTERS,))
NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")
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

    def __init__(self, writer: Writer, pool: Pool, address: str | None, port: int) -> None:
        """`address` is the endpoint of the `kubernetes` Service; None leaves it without one."""
        self._writer = writer
        self._pool = pool
        self._address = address
        self._port = port

    async def run(self) -> None:
        """Bring everything into being, in the order in which it depends on each other."""
        for name in NAMESPACES:
            await self._ensure(_resource("", "v1", "namespaces"), {"metadata": {"name": name}})
        classes = _resource("scheduling.k8s.io", "v1", "priorityclasses")
        for name, value, description in _CRITICAL:
            await self._ensure(classes, {"metadata": {"name": name}, "value": value, "description": description})
        await self._flow_control()
        await self._ensure(_resource("", "v1", "services"), self._service())
        if self._address is not None:
            await self._match(_resource("", "v1", "endpoints"), self._endpoints(self._address))
            await self._match(_resource("discovery.k8s.io", "v1", "endpointslices"), self._slice(self._address))

    async def _flow_control(self) -> None:
        """Priority levels before the schemas that name them."""
        annotations = {"apf.kubernetes.io/autoupdate-spec": "true"}
        for plural, specs in (
            ("prioritylevelconfigurations", flowcontrol.levels()),
            ("flowschemas", flowcontrol.schemas()),
        ):
            resource = _resource(flowcontrol.GROUP, "v1", plural)
            for name, spec in specs.items():
                metadata = {"name": name, "annotations": dict(annotations)}
                await self._ensure(resource, {"metadata": metadata, "spec": copy.deepcopy(dict(spec))})

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

    async def _match(self, resource: Resource, obj: Obj) -> None:
        if await self._ensure(resource, obj):
            return
        wanted = _typed(resource, obj)
        parts = [name for name in wanted if name not in ("kind", "apiVersion", "metadata")]

        def compute(current: Obj, _: object) -> Obj:
            return {**current, **{name: wanted[name] for name in parts}}

        await self._writer.rewrite(own_call(resource, obj, "update"), compute, WriteOptions())

    def _service(self) -> Obj:
        port = {"name": "https", "port": 443, "protocol": "TCP", "targetPort": self._port}
        return {
            "metadata": {
                "name": "kubernetes",
                "namespace": "default",
                "labels": {"component": "apiserver", "provider": "kubernetes"},
            },
            "spec": {
                "clusterIP": self._pool.api_server_address,
                "ports": [port],
                "sessionAffinity": "None",
                "type": "ClusterIP",
            },
        }

    def _endpoints(self, address: str) -> Obj:
        ports = [{"name": "https", "port": self._port, "protocol": "TCP"}]
        labels = {"endpointslice.kubernetes.io/skip-mirror": "true"}
        return {
            "metadata": {"name": "kubernetes", "namespace": "default", "labels": labels},
            "subsets": [{"addresses": [{"ip": address}], "ports": ports}],
        }

    def _slice(self, address: str) -> Obj:
        labels = {"kubernetes.io/service-name": "kubernetes"}
        return {
            "metadata": {"name": "kubernetes", "namespace": "default", "labels": labels},
            "addressType": f"IPv{ipaddress.ip_address(address).version}",
            "endpoints": [{"addresses": [address], "conditions": {"ready": True}}],
            "ports": [{"name": "https", "port": self._port, "protocol": "TCP"}],
        }


def _resource(group: str, version: str, plural: str) -> Resource:
    found = resources.lookup(group, version, plural)
    assert found is not None
    return found


def _typed(resource: Resource, obj: Obj) -> Obj:
    return {"kind": resource.kind, "apiVersion": resource.api_version, **obj}


def own_call(resource: Resource, obj: Obj, verb: str, manager: str = "kube-apiserver") -> Call:
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
    )
    return Call(Request("POST", "", Query(f"fieldManager={manager}"), {}, _no_body), info, resource, _USER)


async def _no_body() -> bytes:
    return b""
