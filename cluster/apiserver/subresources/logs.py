"""pods/log: the agent's answer, passed on as it comes.

Source: upstream's pkg/registry/core/pod/strategy (LogLocation).
"""

from __future__ import annotations

import ssl
from typing import Any
from urllib.parse import quote, urlencode

import aiohttp

from oarlock.cluster.apiserver.call import Call
from oarlock.cluster.apiserver.exchange import Answer, Response, Stream, Wire
from oarlock.cluster.apiserver.settings import Tls
from oarlock.cluster.apiserver.watchcache import WatchCache
from oarlock.cluster.objects import resources, status

Obj = dict[str, Any]
_PASSED = ("follow", "tailLines", "timestamps", "previous", "sinceSeconds", "sinceTime", "limitBytes", "stream")
_TEXT = "text/plain"
CONNECT_TIMEOUT_S = 5.0
KUBELET_PORT = 10250


class Logs:
    """Fetches container logs from node agents over TLS with the API server's client certificate."""

    def __init__(self, cache: WatchCache, tls: Tls | None) -> None:
        self._cache = cache
        self._tls = tls
        self._session: aiohttp.ClientSession | None = None
        nodes = resources.lookup("", "v1", "nodes")
        assert nodes is not None
        self._nodes = nodes

    async def stop(self) -> None:
        """Close the connections to the agents."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def read(self, call: Call, pod: Obj) -> Answer:
        """Answer with the log of one container. Raises ApiError 400, 404, 500."""
        container = _container(call, pod)
        node_name = pod["spec"].get("nodeName")
        if not node_name:
            return Response(200, b"", _TEXT)
        query = {name: call.request.query.get(name) for name in _PASSED if call.request.query.get(name)}
        path = "/".join(map(quote, ("containerLogs", call.namespace, call.info.name, container)))
        url = f"{self._agent(node_name)}/{path}?{urlencode(query)}"
        try:
            answer = await self._client().get(url)
        except (aiohttp.ClientError, TimeoutError) as error:
            raise status.internal(
                f'error trying to reach service: {type(error).__name__}: node "{node_name}"'
            ) from None
        if answer.status >= 400:
            return await _failure(answer)

        async def run(wire: Wire) -> None:
            async with answer:
                async for part in answer.content.iter_any():
                    wire.write(part)
                    await wire.drain()

        return Stream(run, content_type=_TEXT)

    def _agent(self, node_name: str) -> str:
        entry = self._cache.collection(self._nodes.key_prefix).entries.get(self._nodes.key("", node_name))
        if entry is None:
            raise status.not_found("nodes", node_name)
        state = entry.object().get("status", {})
        addresses = {one.get("type"): one.get("address") for one in state.get("addresses") or ()}
        host = addresses.get("InternalIP") or addresses.get("Hostname") or node_name
        port = state.get("daemonEndpoints", {}).get("kubeletEndpoint", {}).get("Port") or KUBELET_PORT
        return f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"

    def _client(self) -> aiohttp.ClientSession:
        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S)
            connector = aiohttp.TCPConnector(ssl=_context(self._tls), limit=256)
            self._session = aiohttp.ClientSession(connector=connector, timeout=timeout)
        return self._session


def _context(tls: Tls | None) -> ssl.SSLContext:
    if tls is None:
        return ssl.create_default_context()
    context = ssl.create_default_context(cafile=tls.ca_file)
    context.load_cert_chain(tls.cert_file, tls.key_file)
    return context


def _container(call: Call, pod: Obj) -> str:
    spec, name = pod["spec"], call.request.query.get("container")
    groups = ("containers", "initContainers", "ephemeralContainers")
    names = [[one["name"] for one in spec.get(group) or ()] for group in groups]
    if name:
        if not any(name in group for group in names):
            raise status.bad_request(f"container {name} is not valid for pod {call.info.name}")
        return name
    if len(names[0]) == 1:
        return str(names[0][0])
    text = f"a container name must be specified for pod {call.info.name}, choose one of: [{' '.join(names[0])}]"
    if names[1]:
        text += f" or one of the init containers: [{' '.join(names[1])}]"
    raise status.bad_request(text)


async def _failure(answer: aiohttp.ClientResponse) -> Response:
    text = (await answer.read())[:4096].decode(errors="replace").strip()
    code = answer.status
    reason = {400: "BadRequest", 404: "NotFound"}.get(code, "InternalError")
    raise status.ApiError(code, reason, text or "the node agent could not read the log")
