"""What 500 CustomResourceDefinitions cost those who don't use them, and how soon one more is served.

An API server of its own is started beside the cluster's, once without and once with them.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import aiohttp
import uvloop

from bench.clusters import BenchCluster, Processes, cluster
from bench.load import run
from bench.report import quantile, table
from oarlock.cluster.boot.child import Child
from oarlock.cluster.client.http import ApiClient
from oarlock.cluster.client.kubeconfig import load
from oarlock.cluster.client.settings import ClientSettings
from oarlock.cluster.objects.status import ApiError

DEFINITIONS = 500
GROUPS = 25
STARTS = 3
SERVED_TRIALS = 20
REQUESTS = 1_000
DOCUMENT_TRIALS = 20
IN_FLIGHT = 8
START_S_MAX = 120.0
SERVED_S_MAX = 30.0
#: Bytes of a definition, and of a hundred definitions how many are so large.
SIZES = ((4_000, 30), (12_000, 40), (40_000, 22), (100_000, 8))
PATH = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"
AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
_FIELD_BYTES = 330


def measure() -> str:
    with cluster("--port", "0", "--nodes", "0") as running:
        return uvloop.run(_measure(running))


async def _measure(running: BenchCluster) -> str:
    without = await _figures(running, "without")
    async with ApiClient(load(running.kubeconfig)) as client:
        began = time.perf_counter()
        await _created(client, DEFINITIONS)
        seconds = time.perf_counter() - began
    with_them = await _figures(running, "with")
    total = sum(len(json.dumps(definition(number))) for number in range(DEFINITIONS))
    rows = [(name, without[name], with_them[name]) for name in without]
    return (
        f"{DEFINITIONS} definitions in {GROUPS} groups, {total / 2**20:.1f} MiB together, each with CEL rules; created "
        f"in {seconds:.0f} s, one after another. Documents: OpenAPI v2 and all of v3, and aggregated discovery.\n\n"
        + table(("", "no definitions", f"{DEFINITIONS:,}"), rows)
    )


async def _figures(running: BenchCluster, name: str) -> dict[str, object]:
    found: dict[str, object] = {}
    starts: list[float] = []
    for number in range(STARTS):
        async with _api_server(running, f"bench-{name}-{number}") as one:
            starts.append(one.start_s)
            if number + 1 < STARTS:
                continue
            found["API server's start, median of three (s)"] = quantile(sorted(starts), 0.5)
            found["its memory, RSS (MiB)"] = _rss_mib(one.pid)
            found |= await _documents(one)
            found |= await _served(running, one, name)
            found |= await _config_maps(one, name)
    return found


@dataclass(frozen=True)
class _Server:
    """An API server process, by itself."""

    pid: int
    settings: ClientSettings
    start_s: float


@asynccontextmanager
async def _api_server(running: BenchCluster, name: str) -> AsyncIterator[_Server]:
    """One more API server on the cluster's store; it ends with the block."""
    settings = json.loads((running.folder.settings / "apiserver-1.json").read_bytes())
    settings |= {"name": name, "port": 0}
    file, log = running.root / f"{name}.json", running.root / f"{name}.log"
    await asyncio.to_thread(_write, file, settings)
    began = time.perf_counter()
    child = await Child.start("apiserver", file, log, {})
    try:
        await child.ready(START_S_MAX)
        seconds = time.perf_counter() - began
        client = replace(load(running.kubeconfig), server=f"https://127.0.0.1:{_port(child.pid)}")
        yield _Server(child.pid, client, seconds)
    finally:
        await child.stop()


def _write(file: Path, settings: dict[str, Any]) -> None:
    file.touch(mode=0o600)
    file.write_text(json.dumps(settings))


def _port(pid: int) -> int:
    """The port that a process listens on."""
    sockets = {str(one.readlink()) for one in Path(f"/proc/{pid}/fd").iterdir() if one.is_symlink()}
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[3] == "0A" and f"socket:[{fields[9]}]" in sockets:
            return int(fields[1].rpartition(":")[2], 16)
    raise LookupError(f"process {pid} listens on nothing")


def _rss_mib(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise LookupError(pid)


async def _documents(one: _Server) -> dict[str, object]:
    """Ask for every document, and for discovery again and again."""
    process = Processes((one.pid,))
    connector = aiohttp.TCPConnector(ssl=one.settings.ssl_context() or False)
    async with aiohttp.ClientSession(one.settings.base_url, connector=connector) as session:
        before_s = process.cpu_s()
        body, etag = await _asked(session, "/apis", {"Accept": AGGREGATED})
        first_s = process.cpu_s() - before_s
        before_s = process.cpu_s()
        for _ in range(DOCUMENT_TRIALS):
            await _asked(session, "/apis", {"Accept": AGGREGATED, "If-None-Match": etag})
        again_s = (process.cpu_s() - before_s) / DOCUMENT_TRIALS
        before_s = process.cpu_s()
        await _asked(session, "/openapi/v2", {"Accept": "application/json"})
        index, _ = await _asked(session, "/openapi/v3", {})
        for path in json.loads(index)["paths"].values():
            await _asked(session, path["serverRelativeURL"], {})
        openapi_s = process.cpu_s() - before_s
    return {
        "its memory once documents were asked for, RSS (MiB)": _rss_mib(one.pid),
        "aggregated discovery (KiB)": len(body) / 1024,
        "aggregated discovery, first time (CPU ms)": first_s * 1e3,
        "aggregated discovery, unchanged (CPU ms)": again_s * 1e3,
        "OpenAPI, first time (CPU s)": openapi_s,
    }


async def _asked(session: aiohttp.ClientSession, path: str, headers: dict[str, str]) -> tuple[bytes, str]:
    async with session.get(path, headers=headers) as answer:
        answer.raise_for_status()
        return await answer.read(), answer.headers.get("ETag", "")


async def _served(running: BenchCluster, one: _Server, name: str) -> dict[str, object]:
    """From a definition's creation until both API servers have answered a list of its kind."""
    times: list[float] = []
    async with ApiClient(load(running.kubeconfig)) as here, ApiClient(one.settings) as there:
        for number in range(SERVED_TRIALS):
            body = definition(number, prefix=f"{name}-late", size=12_000)
            began = time.perf_counter()
            await here.create(PATH, body)
            path = f"/apis/{body['spec']['group']}/v1/{body['spec']['names']['plural']}"
            await asyncio.gather(*(_until_served(client, path) for client in (here, there)))
            times.append((time.perf_counter() - began) * 1e3)
        for number in range(SERVED_TRIALS):
            late = definition(number, prefix=f"{name}-late", size=12_000)
            await here.delete(f"{PATH}/{late['metadata']['name']}")
    times.sort()
    return {
        "a new kind is served everywhere, p50 (ms)": quantile(times, 0.5),
        "a new kind is served everywhere, p99 (ms)": quantile(times, 0.99),
    }


async def _until_served(client: ApiClient, path: str) -> None:
    async with asyncio.timeout(SERVED_S_MAX):
        while True:
            try:
                await client.get(path)
            except ApiError as error:
                if error.code != 404:
                    raise
            else:
                return
            await asyncio.sleep(0.002)


async def _config_maps(one: _Server, name: str) -> dict[str, object]:
    process = Processes((one.pid,))
    async with ApiClient(one.settings) as client:

        async def create(number: int) -> object:
            body = {"metadata": {"name": f"{name}-{number}"}, "data": {"key": "x" * 100}}
            return await client.create(CONFIG_MAPS, body)

        async def get(number: int) -> object:
            return await client.get(f"{CONFIG_MAPS}/{name}-{number}")

        created = await run(process, create, REQUESTS, IN_FLIGHT)
        read = await run(process, get, REQUESTS, IN_FLIGHT)
    return {"ConfigMap, create (CPU µs)": created.cpu_us, "ConfigMap, get (CPU µs)": read.cpu_us}


async def _created(client: ApiClient, count: int) -> None:
    for number in range(count):
        await client.create(PATH, definition(number))


def definition(number: int, *, prefix: str = "bench", size: int | None = None) -> dict[str, Any]:
    """A definition of about `size` bytes, by default as large as many are, with rules and printer columns."""
    kind, group = f"Thing{number}", f"{prefix}-{number % GROUPS}.example.org"
    plural = f"thing{number}s"
    spec = _spec(_size(number) if size is None else size)
    schema = {
        "type": "object",
        "description": f"{kind} is one of many.",
        "properties": {"spec": spec, "status": {"type": "object", "properties": {"ready": {"type": "boolean"}}}},
    }
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "subresources": {"status": {}},
        "schema": {"openAPIV3Schema": schema},
        "additionalPrinterColumns": [{"name": "Ready", "type": "boolean", "jsonPath": ".status.ready"}],
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"plural": plural, "kind": kind, "singular": plural[:-1], "listKind": f"{kind}List"},
            "versions": [version],
        },
    }


def _size(number: int) -> int:
    place = number * 37 % 100
    for size, share in SIZES:
        if place < share:
            return size
        place -= share
    return SIZES[-1][0]


def _spec(size: int) -> dict[str, Any]:
    """Fields like those of well-known projects: sections of texts, numbers, lists and maps, with descriptions."""
    sections = max(1, size // (8 * _FIELD_BYTES))
    return {
        "type": "object",
        "description": "What is wanted.",
        "properties": {f"section{index}": _section(index) for index in range(sections)},
        "x-kubernetes-validations": [
            {"rule": "!has(self.section0.minimum) || self.section0.minimum <= self.section0.maximum"},
            {"rule": "self.section0.name == oldSelf.section0.name", "message": "the name is fixed"},
        ],
    }


def _section(index: int) -> dict[str, Any]:
    text = "How this is meant is said here at some length, as authors of definitions do, so that explain tells it. "
    fields: Sequence[tuple[str, dict[str, Any]]] = (
        ("name", {"type": "string", "maxLength": 63, "pattern": "^[a-z0-9-]+$"}),
        ("minimum", {"type": "integer", "format": "int32", "minimum": 0}),
        ("maximum", {"type": "integer", "format": "int32", "default": 10}),
        ("labels", {"type": "object", "additionalProperties": {"type": "string"}}),
        ("mode", {"type": "string", "enum": ["Never", "Always", "OnDemand"], "default": "OnDemand"}),
        ("resources", {"x-kubernetes-int-or-string": True}),
        ("since", {"type": "string", "format": "date-time"}),
        ("targets", {"type": "array", "maxItems": 64, "items": {"type": "string", "maxLength": 253}}),
    )
    return {
        "type": "object",
        "description": f"Section {index}. {text}",
        "required": ["name"],
        "properties": {name: {"description": text * 2, **schema} for name, schema in fields},
        "x-kubernetes-validations": [{"rule": "!has(self.targets) || self.targets.all(x, x != '')"}],
    }
