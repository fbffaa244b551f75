"""What 500 CustomResourceDefinitions cost those who don't use them, and how soon one more is served.

API servers are started once without them and once with them.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import uvloop

from bench.clusters import Processes
from bench.load import run
from bench.report import quantile, table
from bench.trios import HOSTS, free_ports, tls_settings
from oarlock.cluster.boot.child import Child
from oarlock.cluster.boot.pki import MASTERS, Authority
from oarlock.cluster.client.http import ApiClient
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
    with tempfile.TemporaryDirectory(prefix="oarlock-bench-") as folder:
        return uvloop.run(_measure(_Site(Path(folder))))


async def _measure(site: _Site) -> str:
    async with site.store(), site.api_server("standing") as standing:
        without = await _figures(site, standing, "without")
        async with ApiClient(standing.settings) as client:
            began = time.perf_counter()
            for number in range(DEFINITIONS):
                await client.create(PATH, definition(number))
            seconds = time.perf_counter() - began
        with_them = await _figures(site, standing, "with")
    total = sum(len(json.dumps(definition(number))) for number in range(DEFINITIONS))
    rows = [(name, without[name], with_them[name]) for name in without]
    return (
        f"{DEFINITIONS} definitions in {GROUPS} groups, {total / 2**20:.1f} MiB together, each with CEL rules; created "
        f"in {seconds:.0f} s, one after another. Two API servers on one store; one of them is measured. Documents: "
        "OpenAPI v2, all of v3, and aggregated discovery.\n\n" + table(("", "no definitions", f"{DEFINITIONS:,}"), rows)
    )


async def _figures(site: _Site, standing: _Server, name: str) -> dict[str, object]:
    found: dict[str, object] = {}
    starts: list[float] = []
    for number in range(STARTS):
        async with site.api_server(f"{name}-{number}") as one:
            starts.append(one.start_cpu_s)
            if number + 1 < STARTS:
                continue
            found["API server's start, median of three (CPU s)"] = quantile(sorted(starts), 0.5)
            found["its memory, RSS (MiB)"] = _rss_mib(one.pid)
            found |= await _documents(one)
            found |= await _served(standing, one, name)
            found |= await _config_maps(one, name)
    return found


@dataclass(frozen=True)
class _Server:
    """An API server process, and the processor time that its start took."""

    pid: int
    settings: ClientSettings
    start_cpu_s: float


class _Site:
    """A store and API servers, each a process, with certificates of their own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._authority = Authority(folder)
        self._store_port, self._peer_port = free_ports(2)

    @asynccontextmanager
    async def store(self) -> AsyncIterator[None]:
        """Run the store until the block ends."""
        identity = self._authority.issue("store-1", "system:oarlock:store:store-1", (MASTERS,), HOSTS)
        settings = {
            "name": "store-1",
            "members": {"store-1": ("127.0.0.1", self._peer_port)},
            "data_dir": str(self._folder / "store-1"),
            "cluster_id": "bench",
            "host": "127.0.0.1",
            "port": self._store_port,
            "tls": tls_settings(identity),
        }
        async with self._process("store", "store-1", settings):
            yield

    @asynccontextmanager
    async def api_server(self, name: str) -> AsyncIterator[_Server]:
        """Run an API server until the block ends."""
        serving = self._authority.issue("apiserver", "kube-apiserver", hosts=HOSTS)
        client = self._authority.issue("client", "bench", (MASTERS,))
        (port,) = free_ports(1)
        settings = {
            "name": name,
            "host": "127.0.0.1",
            "port": port,
            "store": [f"127.0.0.1:{self._store_port}"],
            "tls": tls_settings(serving),
            "client_tls": tls_settings(client),
            "service_account_key": str(self._authority.service_account_key()),
            "service_cidr": "10.96.0.0/16",
            "token_file": None,
            "advertise": ["127.0.0.1", port],
        }
        async with self._process("apiserver", name, settings) as pid:
            address = ClientSettings(
                f"https://127.0.0.1:{port}",
                ca_file=str(client.ca),
                cert_file=str(client.cert),
                key_file=str(client.key),
            )
            yield _Server(pid, address, Processes((pid,)).cpu_s())

    @asynccontextmanager
    async def _process(self, role: str, name: str, settings: dict[str, Any]) -> AsyncIterator[int]:
        file = self._folder / f"{name}.json"
        await asyncio.to_thread(file.write_text, json.dumps(settings))
        child = await Child.start(role, file, self._folder / f"{name}.log", {})
        try:
            await child.ready(START_S_MAX)
            yield child.pid
        finally:
            await child.stop()


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


async def _served(standing: _Server, one: _Server, name: str) -> dict[str, object]:
    """From a definition's creation until both API servers have answered a list of its kind."""
    times: list[float] = []
    async with ApiClient(standing.settings) as here, ApiClient(one.settings) as there:
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
