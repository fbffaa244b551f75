"""The node's own HTTPS server: logs, streams and pods as the node sees them, health. Clients need a certificate."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from aiohttp import web

from oarlock.cluster.kubelet import timestamps
from oarlock.cluster.kubelet.inotify import FolderWatch
from oarlock.cluster.kubelet.logs import LogOptions, LogReader
from oarlock.cluster.kubelet.podspec import Pod
from oarlock.cluster.kubelet.runtime import ContainerStatus, State
from oarlock.cluster.kubelet.settings import Tls
from oarlock.cluster.kubelet.streaming.routes import StreamingPods, StreamingRoutes

SHUTDOWN_S = 1.0


class Pods(StreamingPods, Protocol):
    """What the server asks of the agent."""

    def list_pods(self) -> Sequence[Pod]: ...

    def runs(self, namespace: str, pod: str, container: str) -> list[ContainerStatus] | None:
        """Return the container's runs, oldest first; None if the pod is not here."""
        ...

    def on_exit(self, container_id: str, callback: Callable[[], None]) -> Callable[[], None]:
        """Call back when the container ends; returns what cancels that."""
        ...


class NodeServer:
    """Serves the kubelet's read-only paths with mutual TLS."""

    def __init__(self, host: str, port: int, tls: Tls, pods: Pods) -> None:
        self._host, self._port, self._tls, self._pods = host, port, tls, pods
        self._runner: web.AppRunner | None = None

    @property
    def port(self) -> int:
        assert self._runner is not None
        return int(self._runner.addresses[0][1])

    async def start(self) -> None:
        """Listen. Raises OSError if the address is taken."""
        app = web.Application()
        app.add_routes(
            [
                web.get("/healthz", self._healthz),
                web.get("/pods", self._list),
                web.get("/containerLogs/{namespace}/{pod}/{container}", self._logs),
                *StreamingRoutes(self._pods).routes(),
            ]
        )
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=SHUTDOWN_S, handler_cancellation=True)
        await runner.setup()
        try:
            await web.TCPSite(runner, self._host, self._port, ssl_context=_context(self._tls)).start()
        except BaseException:
            await runner.cleanup()
            raise
        self._runner = runner

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _healthz(self, _: web.Request) -> web.Response:
        return web.Response(text="ok")

    async def _list(self, _: web.Request) -> web.Response:
        return web.json_response({"kind": "PodList", "apiVersion": "v1", "items": list(self._pods.list_pods())})

    async def _logs(self, request: web.Request) -> web.StreamResponse:
        namespace, pod, container = (request.match_info[name] for name in ("namespace", "pod", "container"))
        runs = self._pods.runs(namespace, pod, container)
        if runs is None:
            raise web.HTTPNotFound(text=f'pod "{namespace}/{pod}" not found\n')
        try:
            options = read_options(request.query, time.time())
        except ValueError as error:
            raise web.HTTPBadRequest(text=f"{error}\n") from None
        previous = request.query.get("previous") in ("true", "1")
        run = _chosen(runs, previous=previous)
        if run is None:
            what = "previous terminated container" if previous else "container"
            raise web.HTTPBadRequest(text=f'{what} "{container}" in pod "{pod}" not found\n')
        if not run.log_path:
            raise web.HTTPBadRequest(text=f'container "{container}" in pod "{pod}" writes no log: it is simulated\n')
        response = web.StreamResponse(headers={"Content-Type": "text/plain"})
        await response.prepare(request)
        await self._send(run, options, response)
        await response.write_eof()
        return response

    async def _send(self, run: ContainerStatus, options: LogOptions, response: web.StreamResponse) -> None:
        path = Path(run.log_path)
        reader = LogReader(path, options)
        if not options.follow:
            async for piece in reader.read(lambda: True):
                await response.write(piece)
            return
        over = run.state is State.EXITED

        def ended() -> bool:
            return over

        with FolderWatch(str(path.parent)) as watch:

            def note_end() -> None:
                nonlocal over
                over = True
                watch.touch()

            cancel = self._pods.on_exit(run.id, note_end)
            try:
                async for piece in reader.read(ended, watch):
                    await response.write(piece)
            finally:
                cancel()


def read_options(query: Mapping[str, str], now_s: float) -> LogOptions:
    """Return the log options of a query. Raises ValueError with a sentence for the client."""
    since_s: float | None = None
    if "sinceTime" in query:
        since_s = timestamps.parse(query["sinceTime"])
    if "sinceSeconds" in query:
        since_s = now_s - _number(query, "sinceSeconds")
    return LogOptions(
        follow=query.get("follow") in ("true", "1"),
        tail_lines=_number(query, "tailLines") if "tailLines" in query else None,
        since_s=since_s,
        timestamps=query.get("timestamps") in ("true", "1"),
        limit_bytes=_number(query, "limitBytes") if "limitBytes" in query else None,
    )


def _number(query: Mapping[str, str], name: str) -> int:
    if not query[name].isdigit():
        raise ValueError(f"{name} must be a number that is not negative")
    return int(query[name])


def _chosen(runs: Sequence[ContainerStatus], *, previous: bool) -> ContainerStatus | None:
    """Return the newest run that has begun, or the one before it."""
    begun = [run for run in runs if run.state is not State.CREATED]
    index = 2 if previous else 1
    return begun[-index] if len(begun) >= index else None


def _context(tls: Tls) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(tls.ca_file))
    context.load_cert_chain(str(tls.cert_file), str(tls.key_file))
    context.verify_mode = ssl.CERT_REQUIRED
    return context
