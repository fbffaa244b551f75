"""pods/exec, pods/attach and pods/portforward: authorized here, served by the node's agent.

Source: upstream's pkg/registry/core/pod/rest/subresources.go and strategy.go.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from urllib.parse import quote, urlencode

from oarlock.cluster.apiserver import authorization, upgrading
from oarlock.cluster.apiserver.backends import Backends
from oarlock.cluster.apiserver.call import Call
from oarlock.cluster.apiserver.exchange import Answer
from oarlock.cluster.apiserver.subresources import containers
from oarlock.cluster.apiserver.upgrading import Upgrades
from oarlock.cluster.objects import status

_FLAGS = (("stdin", "input"), ("stdout", "output"), ("stderr", "error"), ("tty", "tty"))
"""Options of the API and what the agent calls them."""


class Connecting:
    """Passes streaming requests on. Raises ApiError."""

    def __init__(self, backends: Backends, upgrades: Upgrades) -> None:
        self._backends = backends
        self._upgrades = upgrades

    async def exec(self, call: Call, pod: dict[str, Any]) -> Answer:
        """Run a command in a container."""
        commands = [("command", word) for word in call.request.query.all("command")]
        return await self._container(call, pod, "exec", commands)

    async def attach(self, call: Call, pod: dict[str, Any]) -> Answer:
        """Join the streams of a container's own process."""
        return await self._container(call, pod, "attach", [])

    async def port_forward(self, call: Call, pod: dict[str, Any]) -> Answer:
        """Reach ports of the pod."""
        ports = [("port", text) for text in call.request.query.all("ports")]
        return await self._pass_on(call, pod, ("portForward",), ports)

    async def _container(self, call: Call, pod: dict[str, Any], path: str, parameters: list[tuple[str, str]]) -> Answer:
        query = call.request.query
        container = containers.chosen(pod, query.get("container"))
        flags = [(theirs, "1") for ours, theirs in _FLAGS if query.flag(ours)]
        return await self._pass_on(call, pod, (path, container), [*flags, *parameters])

    async def _pass_on(
        self, call: Call, pod: dict[str, Any], path: tuple[str, ...], parameters: list[tuple[str, str]]
    ) -> Answer:
        node = pod["spec"].get("nodeName")
        if not node:
            raise status.bad_request(f"pod {call.info.name} does not have a host assigned")
        backend = self._backends.agent(node)
        if not upgrading.is_upgrade(call.request):
            raise status.bad_request("Upgrade request required")
        _authorize_creation(call)
        what, *container = path
        target = "/" + "/".join(quote(part, safe="") for part in (what, call.namespace, call.info.name, *container))
        return await self._upgrades.relay(call.request, backend, f"{target}?{urlencode(parameters)}")


def _authorize_creation(call: Call) -> None:
    """A WebSocket begins with GET, but may do what POST may: its caller must be allowed to create.

    Source: the feature AuthorizePodWebsocketUpgradeCreatePermission, on since v1.35.
    """
    info = replace(call.info, verb="create")
    if call.request.method == "GET" and not authorization.allowed(call.user, info):
        raise status.forbidden(call.info.resource, call.info.name, authorization.refusal(call.user, info))
