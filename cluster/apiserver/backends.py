"""Whom the API server passes requests on to: node agents, pods, services' endpoints.

An agent is reached over TLS with the API server's own certificate and must have one of the cluster's; what else speaks
HTTPS is not verified, for it is not the cluster that certifies it, as upstream does.
"""

from __future__ import annotations

import os
import ssl
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from oarlock.cluster.apiserver.settings import Tls
from oarlock.cluster.apiserver.watchcache import WatchCache
from oarlock.cluster.objects import resources, status

KUBELET_PORT = 10250
CONNECT_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Backend:
    """Where to connect to; `tls` is None for plain HTTP."""

    host: str
    port: int
    tls: ssl.SSLContext | None

    @property
    def authority(self) -> str:
        """Host and port as a URL has them."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        """The base URL, without a trailing slash."""
        return f"{'http' if self.tls is None else 'https'}://{self.authority}"


class Backends:
    """Finds agents and makes backends."""

    def __init__(self, cache: WatchCache, tls: Tls | None) -> None:
        self._cache = cache
        self._tls = tls
        nodes = resources.lookup("", "v1", "nodes")
        assert nodes is not None
        self._nodes = nodes

    def agent(self, node_name: str, *, verified: bool = True) -> Backend:
        """Return the node's agent, on request without a check of its certificate. Raises ApiError 404."""
        entry = self._cache.collection(self._nodes.key_prefix).entries.get(self._nodes.key("", node_name))
        if entry is None:
            raise status.not_found("nodes", node_name)
        state: dict[str, Any] = entry.object().get("status", {})
        addresses = {one.get("type"): one.get("address") for one in state.get("addresses") or ()}
        host = addresses.get("InternalIP") or addresses.get("Hostname") or node_name
        port = state.get("daemonEndpoints", {}).get("kubeletEndpoint", {}).get("Port") or KUBELET_PORT
        return Backend(host, port, self._agents if verified else self._unchecked_agents)

    def component(self, host: str, port: int) -> Backend:
        """Return a process of the control plane, verified as agents are."""
        return Backend(host, port, self._agents)

    def other(self, scheme: str, host: str, port: int) -> Backend:
        """Return a backend that is no agent."""
        return Backend(host, port, self._strangers if scheme == "https" else None)

    @cached_property
    def _agents(self) -> ssl.SSLContext:
        return _context(self._tls)

    @cached_property
    def _unchecked_agents(self) -> ssl.SSLContext:
        return _unverified(_context(self._tls))

    @cached_property
    def _strangers(self) -> ssl.SSLContext:
        return _unverified(ssl.create_default_context())


def _context(tls: Tls | None) -> ssl.SSLContext:
    if tls is None:
        return ssl.create_default_context()
    context = ssl.create_default_context(cafile=tls.ca_file)
    context.load_cert_chain(tls.cert_file, tls.key_file)
    return context


def _unverified(context: ssl.SSLContext) -> ssl.SSLContext:
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def failure_words(error: Exception, backend: Backend) -> str:
    """Return why a backend could not be reached as upstream words it."""
    where = f"dial tcp {backend.authority}: "
    if isinstance(error, ssl.SSLError):
        return f"tls: {error.reason or 'failed to verify certificate'}".lower()
    if isinstance(error, TimeoutError):
        return where + "i/o timeout"
    if isinstance(error, OSError) and error.errno is not None:
        return f"{where}connect: {os.strerror(error.errno).lower()}"
    return "EOF"
