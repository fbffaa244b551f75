"""The kubelet's streaming paths: exec, attach and port forwarding of this node's pods."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from aiohttp import web

from oarlock.cluster.kubelet import podspec
from oarlock.cluster.kubelet.podspec import Pod
from oarlock.cluster.kubelet.runtime import ContainerStatus, State, Streams
from oarlock.cluster.kubelet.streaming import portforward, remotecommand
from oarlock.cluster.kubelet.streaming.portforward import Target
from oarlock.cluster.kubelet.streaming.remotecommand import Terms

SESSIONS_MAX = 512
"""Streaming requests at one time."""


class StreamingPods(Protocol):
    """What streaming asks of the agent."""

    def find(self, namespace: str, name: str) -> Pod | None:
        """Return the pod if it is here."""
        ...

    def runs(self, namespace: str, pod: str, container: str) -> list[ContainerStatus] | None: ...

    def address(self, uid: str) -> str:
        """Return where the pod listens; "" if it has no address yet."""
        ...

    async def exec(self, container_id: str, command: Sequence[str], *, stdin: bool, tty: bool) -> Streams: ...

    async def attach(self, container_id: str, *, stdin: bool) -> Streams: ...


class StreamingRoutes:
    """Serves the paths. Refusals are a line of text each, which upstream's clients show."""

    def __init__(self, pods: StreamingPods) -> None:
        self._pods = pods
        self._sessions = 0

    def routes(self) -> list[web.RouteDef]:
        """Return the routes, each with and without the pod's uid in its path."""
        served = [
            ("/exec/{namespace}/{pod}/{container}", self._exec),
            ("/exec/{namespace}/{pod}/{uid}/{container}", self._exec),
            ("/attach/{namespace}/{pod}/{container}", self._attach),
            ("/attach/{namespace}/{pod}/{uid}/{container}", self._attach),
            ("/portForward/{namespace}/{pod}", self._port_forward),
            ("/portForward/{namespace}/{pod}/{uid}", self._port_forward),
        ]
        return [web.route(method, path, handler) for path, handler in served for method in ("GET", "POST")]

    async def _exec(self, request: web.Request) -> web.StreamResponse:
        terms, run = self._asked(request)
        command = request.query.getall("command", [])
        if not command:
            raise web.HTTPBadRequest(text="you must specify a command")

        async def begin() -> Streams:
            return await self._pods.exec(run.id, command, stdin=terms.stdin, tty=terms.tty)

        return await self._bounded(lambda: remotecommand.serve(request, terms, begin))

    async def _attach(self, request: web.Request) -> web.StreamResponse:
        terms, run = self._asked(request)
        pod = self._pod(request)
        container = next(c for c in podspec.all_containers(pod) if c["name"] == run.name)
        stdin = terms.stdin and bool(container.get("stdin"))
        return await self._bounded(
            lambda: remotecommand.serve(request, terms, lambda: self._pods.attach(run.id, stdin=stdin))
        )

    async def _port_forward(self, request: web.Request) -> web.StreamResponse:
        pod = self._pod(request)
        uid = pod["metadata"]["uid"]
        address = self._pods.address(uid)
        if not address:
            raise web.HTTPInternalServerError(text="unable to forward port because pod is not running")
        target = Target(address, podspec.full_name(pod), uid)
        return await self._bounded(lambda: portforward.serve(request, target))

    def _pod(self, request: web.Request) -> Pod:
        found = self._pods.find(request.match_info["namespace"], request.match_info["pod"])
        if found is None or request.match_info.get("uid", found["metadata"]["uid"]) != found["metadata"]["uid"]:
            raise web.HTTPNotFound(text="pod does not exist")
        return found

    def _asked(self, request: web.Request) -> tuple[Terms, ContainerStatus]:
        self._pod(request)
        try:
            terms = remotecommand.read_terms(request.query)
        except ValueError as error:
            raise web.HTTPBadRequest(text=str(error)) from None
        name = request.match_info["container"]
        runs = self._pods.runs(request.match_info["namespace"], request.match_info["pod"], name) or []
        running = [run for run in runs if run.state is State.RUNNING]
        if not running:
            raise web.HTTPInternalServerError(text=f'container not found ("{name}")')
        return terms, running[-1]

    async def _bounded(self, serve: Callable[[], Awaitable[web.StreamResponse]]) -> web.StreamResponse:
        if self._sessions >= SESSIONS_MAX:
            raise web.HTTPTooManyRequests(text="too many streams on this node, please try again later")
        self._sessions += 1
        try:
            return await serve()
        finally:
            self._sessions -= 1
