"""pods/proxy, services/proxy and nodes/proxy: any request, passed on to what the object names.

The object's name in the path may be NAME, NAME:PORT or SCHEME:NAME:PORT. Source: upstream's pkg/registry/core/pod
(ResourceLocation), core/service/storage, core/node/strategy.go, and apimachinery pkg/util/net (SplitSchemeNamePort).
"""

from __future__ import annotations

import ipaddress
import posixpath
import random
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote_to_bytes

from oarlock.cluster.apiserver import upgrading
from oarlock.cluster.apiserver.backends import Backend, Backends
from oarlock.cluster.apiserver.call import Call
from oarlock.cluster.apiserver.endpoints import Endpoints
from oarlock.cluster.apiserver.exchange import Answer, Response
from oarlock.cluster.apiserver.relaying import Relays
from oarlock.cluster.apiserver.upgrading import Upgrades
from oarlock.cluster.apiserver.watchcache import WatchCache
from oarlock.cluster.objects import gotext, status
from oarlock.cluster.objects.status import ApiError

METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"})
_PATH_SAFE = "/$&+,:;=@!~*'()"


@dataclass(frozen=True, slots=True)
class Place:
    """What an object's name in a proxy path says; `scheme` and `port` may be ""."""

    scheme: str
    name: str
    port: str


class Proxying:
    """Finds backends and passes requests on. With `loopback`, pods may listen on 127.0.0.0/8."""

    def __init__(
        self, cache: WatchCache, backends: Backends, relays: Relays, upgrades: Upgrades, *, loopback: bool
    ) -> None:
        self._cache = cache
        self._backends = backends
        self._relays = relays
        self._upgrades = upgrades
        self._loopback = loopback
        self._finders = {"pods": self._pod, "services": self._service, "nodes": self._node}
        self._endpoints = Endpoints(cache)

    async def serve(self, call: Call) -> Answer:
        """Pass the request on. Raises ApiError 400, 404, 405, 429 and 503."""
        if call.request.method not in METHODS:
            raise status.method_not_allowed()
        backend = await self._finders[call.resource.plural](call, _place(call))
        path = _path(call)
        query = f"?{call.request.query.text}" if call.request.query.text else ""
        if upgrading.is_upgrade(call.request):
            return await self._upgrades.relay(call.request, backend, (path or "/") + query)
        if not path:
            # Links of the answer are relative to a folder, so its path must end like one's.
            return Response(301, b"", headers={"Location": call.request.path + "/" + query})
        return await self._relays.relay(call.request, backend, path + query, _prefix(call))

    async def _pod(self, call: Call, place: Place) -> Backend:
        pod = await self._object(call, place.name)
        containers = pod["spec"]["containers"]
        declared = (ports[0]["containerPort"] for container in containers if (ports := container.get("ports")))
        state = pod.get("status", {})
        addresses = [one.get("ip", "") for one in state.get("podIPs") or ()] or [state.get("podIP", "")]
        self._check_address(addresses[0])
        default = 443 if place.scheme == "https" else 80
        return self._backends.other(place.scheme, addresses[0], _number(place.port or str(next(declared, default))))

    async def _service(self, call: Call, place: Place) -> Backend:
        port = place.port
        service = await self._object(call, place.name)
        if port.isascii() and port.isdecimal():
            named = [one.get("name", "") for one in service["spec"].get("ports") or () if one["port"] == int(port)]
            if not named:
                raise status.unavailable(f"no service port {int(port)} found for service {gotext.quote(place.name)}", 0)
            port = named[0]
        found = list(self._endpoints.ready(call.namespace, place.name, port))
        if not found:
            raise status.unavailable(f"no endpoints available for service {gotext.quote(call.info.name)}", 0)
        address, number = random.choice(found)
        return self._backends.other(place.scheme, address, number)

    async def _node(self, call: Call, place: Place) -> Backend:
        await self._object(call, place.name)
        agent = self._backends.agent(place.name)
        if not place.port or place.port == str(agent.port):
            return agent
        self._check_address(agent.host)
        return self._backends.other(place.scheme, agent.host, _number(place.port))

    async def _object(self, call: Call, name: str) -> dict[str, Any]:
        await self._cache.fresh()
        resource = call.resource
        entry = self._cache.collection(resource.key_prefix).entries.get(resource.key(call.namespace, name))
        if entry is None:
            raise status.not_found(resource.qualified, name)
        return entry.object()

    def _check_address(self, text: str) -> None:
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            raise status.bad_request("address not allowed") from None
        if address.is_loopback and self._loopback:
            return
        if address.is_loopback or address.is_link_local or address.is_multicast or address.is_unspecified:
            raise status.bad_request("address not allowed")


def split_name(text: str) -> Place | None:
    """Read SCHEME:NAME:PORT and its shorter forms; None for what is none of them."""
    parts = text.split(":")
    if len(parts) > 3:
        return None
    scheme, name, port = ["", *parts] if len(parts) == 2 else parts if len(parts) == 3 else ["", *parts, ""]
    return Place(scheme, name, port) if name and scheme in ("", "http", "https") else None


def _place(call: Call) -> Place:
    place = split_name(call.info.name)
    if place is None:
        raise status.bad_request(f"invalid {call.resource.singular} request {gotext.quote(call.info.name)}")
    return place


def _path(call: Call) -> str:
    """Return the percent-encoded path after the object's proxy, without `..`; "" if there is none."""
    rest = _after(call)
    if not rest:
        return ""
    plain = posixpath.normpath("/" + unquote_to_bytes(rest).decode("utf-8", "surrogateescape")).replace("//", "/", 1)
    ending = "/" if rest.endswith("/") and not plain.endswith("/") else ""
    return quote(plain.encode("utf-8", "surrogateescape") + ending.encode(), safe=_PATH_SAFE)


def _prefix(call: Call) -> str:
    rest = _after(call)
    return call.request.path[: len(call.request.path) - len(rest)]


def _after(call: Call) -> str:
    """Return what follows the word proxy in the request's path, from its slash on."""
    words = 6 if not call.resource.namespaced else 8
    parts = call.request.path.split("/", words)
    return "/" + parts[words] if len(parts) > words else ""


def _number(text: str) -> int:
    if text.isascii() and text.isdecimal() and 0 < int(text) <= 0xFFFF:
        return int(text)
    raise _unreachable(f"dial tcp: lookup tcp/{text}: unknown port")


def _unreachable(why: str) -> ApiError:
    return status.unavailable(f"error trying to reach service: {why}", 0)
