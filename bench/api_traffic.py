"""Clients of the API that repeat nothing: every request that gets no success is a failure, and is kept.

Some keep their connection, some leave it idle for long between requests, some open one for each; a real kubectl goes
round beside them, and a watch is held against what was written.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import orjson

from oarlock.cluster.client.errors import Unreachable
from oarlock.cluster.client.http import MERGE_PATCH, ApiClient
from oarlock.cluster.client.settings import ClientSettings

MAPS = "/api/v1/namespaces/default/configmaps"
LABELS = {"traffic": "yes"}
SELECTED = {"labelSelector": "traffic=yes"}
LIMIT_S = 30.0
PAUSES_S = (0.02, 0.02, 0.1, 3.0)
"""Between a client's requests; clients differ."""
FRESH_EVERY = 3
"""Each of so many clients opens a connection for each request."""

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class ApiTraffic:
    """What the clients of some fronts of one cluster have seen so far. Times are in seconds."""

    def __init__(self, fronts: Sequence[ClientSettings], clients: int, kubectl: Sequence[str] = ()) -> None:
        self._fronts = list(fronts)
        self._clients = clients
        self._kubectl = list(kubectl)
        self._ending = asyncio.Event()
        self.times_s: list[float] = []
        self.failures: list[str] = []
        self.written: set[int] = set()
        """The revisions of all acknowledged creates and patches."""
        self.commands = 0
        self.longest_gap_s = 0.0
        """The longest time in which no write was acknowledged to anybody."""
        self.broken_watches = 0
        self._acknowledged_at = time.monotonic()

    @asynccontextmanager
    async def flowing(self) -> AsyncIterator[None]:
        """Have every client go round until the end of the block; then hold what the watches saw against the writes."""
        seen = [Seen() for _ in self._fronts]
        started = asyncio.Event()
        async with ApiClient(self._fronts[0]) as own:
            begin = int((await own.list(MAPS, SELECTED))["metadata"]["resourceVersion"])
            watching = [
                asyncio.create_task(self._watch(front, one, begin))
                for front, one in zip(self._fronts, seen, strict=True)
            ]
            try:
                async with asyncio.TaskGroup() as group:
                    for front in self._fronts:
                        for number in range(self._clients):
                            group.create_task(_Client(self, front, number, started).run())
                    if self._kubectl:
                        group.create_task(self._commands())
                    self._acknowledged_at = time.monotonic()
                    started.set()
                    try:
                        yield
                    finally:
                        self._ending.set()
                last = await own.create(MAPS, {"metadata": {"name": f"last-{time.time_ns()}", "labels": LABELS}})
                self.written.add(revision(last))
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(LIMIT_S):
                        await asyncio.gather(*(one.reached(revision(last)) for one in seen))
            finally:
                for task in watching:
                    task.cancel()
                await asyncio.gather(*watching, return_exceptions=True)
        for one in seen:
            self.failures += one.faults(self.written)

    @property
    def ending(self) -> bool:
        return self._ending.is_set()

    async def pause(self, pause_s: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._ending.wait(), pause_s)

    def done(self, began: float, answer: dict[str, Any], *, write: bool) -> None:
        now = time.monotonic()
        self.times_s.append(now - began)
        if write:
            self.written.add(revision(answer))
            self.longest_gap_s = max(self.longest_gap_s, now - self._acknowledged_at)
            self._acknowledged_at = now

    def failed(self, what: str) -> None:
        self.failures.append(f"{time.strftime('%X')} {what}")

    async def _watch(self, front: ClientSettings, seen: Seen, begin: int) -> None:
        """Follow all changes as a client does that was told `begin`: resume where the last event stood."""
        at = begin
        async with ApiClient(front) as client:
            while True:
                params = {**SELECTED, "resourceVersion": str(at), "allowWatchBookmarks": "true"}
                try:
                    async for event in client.watch(MAPS, params):
                        at = revision(event["object"])
                        seen.add(event)
                except Unreachable:
                    self.broken_watches += 1
                    await asyncio.sleep(0.01)

    async def _commands(self) -> None:
        number = 0
        while not self.ending:
            name = f"kubectl-{number}"
            number += 1
            for words in (
                ("create", "configmap", name),
                ("get", "configmap", name, "-o", "name"),
                ("patch", "configmap", name, "-p", '{"data":{"a":"b"}}'),
                ("get", "configmaps", "-o", "name"),
                ("delete", "configmap", name),
            ):
                run = await asyncio.create_subprocess_exec(
                    *self._kubectl,
                    *words,
                    stdout=asyncio.subprocess.PIPE,
                    stderr=asyncio.subprocess.STDOUT,
                    env=_plain(),
                )
                said, _ = await run.communicate()
                self.commands += 1
                if run.returncode:
                    self.failed(f"kubectl {' '.join(words)}: {said.decode()[-500:]}")


class Seen:
    """The events of one watch."""

    def __init__(self) -> None:
        self._revisions: list[int] = []
        self._changed = asyncio.Condition()

    def add(self, event: dict[str, Any]) -> None:
        if event["type"] in ("ADDED", "MODIFIED"):
            self._revisions.append(revision(event["object"]))

    async def reached(self, wanted: int) -> None:
        while not self._revisions or self._revisions[-1] < wanted:  # noqa: ASYNC110 - what another task does
            await asyncio.sleep(0.01)

    def faults(self, written: set[int]) -> list[str]:
        """Return what the watch missed or repeated of the acknowledged writes."""
        missed = sorted(written - set(self._revisions))
        order = [after for before, after in zip(self._revisions, self._revisions[1:], strict=False) if after <= before]
        faults = [f"a watch missed {len(missed)} changes, the first at {missed[0]}"] if missed else []
        return faults + ([f"a watch repeated {len(order)} changes, the first at {order[0]}"] if order else [])


class _Client:
    """Creates, reads, patches, lists and deletes, round and round."""

    def __init__(self, traffic: ApiTraffic, front: ClientSettings, number: int, started: asyncio.Event) -> None:
        self._traffic, self._started = traffic, started
        url = urlsplit(front.server)
        self._address = (url.hostname or "", url.port or 443)
        self._context = front.ssl_context()
        self._kept = number % FRESH_EVERY != FRESH_EVERY - 1
        self._pause_s = PAUSES_S[number % len(PAUSES_S)]
        self._name = f"t-{self._address[1]}-{number}-{time.time_ns()}"
        self._connection: Connection | None = None

    async def run(self) -> None:
        await self._started.wait()
        number = 0
        while not self._traffic.ending:
            name = f"{self._name}-{number}"
            number += 1
            made = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": LABELS}}
            await self._ask("POST", MAPS, made)
            await self._ask("GET", f"{MAPS}/{name}")
            await self._ask("PATCH", f"{MAPS}/{name}", {"data": {"a": "b"}})
            await self._ask("GET", f"{MAPS}?limit=5")
            await self._ask("DELETE", f"{MAPS}/{name}")
        self._leave()

    async def _ask(self, method: str, path: str, body: object = None) -> None:
        await self._traffic.pause(self._pause_s)
        began = time.monotonic()
        try:
            async with asyncio.timeout(LIMIT_S):
                answer = await self._exchange(await self._connected(), method, path, body)
        except (OSError, EOFError, ValueError, TimeoutError) as error:
            kind = "kept" if self._kept else "fresh"
            where = f"port {self._address[1]} {kind} every {self._pause_s} s"
            self._traffic.failed(f"{where} {method} {path}: {error!r}")
            self._leave()
        else:
            self._traffic.done(began, answer, write=method in ("POST", "PATCH"))

    async def _connected(self) -> Connection:
        """Return the kept connection, unless the other end has closed it meanwhile; else a new one."""
        if self._connection is not None and self._connection[0].at_eof():
            self._leave()
        if self._connection is None:
            self._connection = await asyncio.open_connection(*self._address, ssl=self._context)
        return self._connection

    async def _exchange(self, connection: Connection, method: str, path: str, body: object) -> dict[str, Any]:
        reader, writer = connection
        content = b"" if body is None else orjson.dumps(body)
        kind = MERGE_PATCH if method == "PATCH" else "application/json"
        head = f"{method} {path} HTTP/1.1\r\nHost: api\r\nContent-Type: {kind}\r\nContent-Length: {len(content)}\r\n"
        writer.write(head.encode() + (b"" if self._kept else b"Connection: close\r\n") + b"\r\n" + content)
        said = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower().splitlines()
        fields = dict(line.split(": ", 1) for line in said[1:] if line)
        answer = orjson.loads(await reader.readexactly(int(fields["content-length"])))
        if not self._kept or fields.get("connection") == "close":
            self._leave()
        if not said[0].split()[1].startswith("2"):
            raise ValueError(f"{said[0]} {answer.get('message')}")
        return dict(answer)

    def _leave(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection[1].close()


def revision(obj: dict[str, Any]) -> int:
    return int(obj["metadata"]["resourceVersion"])


def kubectl(path: str, kubeconfig: Path, home: Path, server: str = "") -> list[str]:
    """Return the command of a kubectl that goes to `server`, by default where the kubeconfig says."""
    return [
        path,
        f"--kubeconfig={kubeconfig}",
        f"--cache-dir={home / 'cache'}",
        *([f"--server={server}"] if server else []),
    ]


def _plain() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "KUBECONFIG"}
