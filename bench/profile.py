"""Where an API server's microseconds go: samples of its stacks while it serves one operation, by what they are for.

A sample belongs to the innermost frame of a file in `PARTS`: what a library does for us counts for who asked for it.
"""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import orjson
import uvloop

from bench.api import PATH, applied, connected, pod
from bench.clusters import BenchCluster, cluster
from bench.http_client import Target, timed
from bench.report import ToolMissing, table
from oarlock.cluster.client.kubeconfig import load

SECONDS, SAMPLES_PER_S = 12, 250
CONNECTIONS = 32
BEFORE = 1_000
WATCHERS = 100
PARTS = (
    ("HTTP: aiohttp and our front", ("aiohttp/", "apiserver/http", "apiserver/sending", "apiserver/connection")),
    ("who, what, and how it went", ("apiserver/dispatch", "apiserver/requests", "apiserver/auth", "apiserver/observ")),
    ("the object from its bytes", ("objects/decoding", "objects/conforming", "objects/schemas", "apiserver/bodies")),
    ("its defaults", ("default", "objects/strategy")),
    (
        "its validation and warnings",
        ("validation", "objects/names", "label_syntax", "quantity", "warnings", "objects/known"),
    ),
    ("who owns its fields", ("objects/apply/", "apiserver/applying", "apiserver/patching", "objects/patches")),
    ("admission and quotas", ("apiserver/admission", "apiserver/allocation")),
    ("the store's client", ("consensus/", "apiserver/storage")),
    (
        "watch cache and watches",
        ("apiserver/watch", "apiserver/lens", "apiserver/audience", "apiserver/fanout", "apiserver/selection"),
    ),
    ("the rest of ours", ("oarlock/", "/cluster/", "apiserver/", "objects/", "boot/")),
    ("event loop, TLS and sockets", ("uvloop", "asyncio/", "ssl.py")),
)
OTHER = "the rest"
Requests = Callable[[int], bytes]


def measure() -> str:
    """Return the table. Raises ToolMissing without py-spy."""
    spy = shutil.which("py-spy", path=str(Path(sys.executable).parent)) or shutil.which("py-spy")
    if spy is None:
        raise ToolMissing("py-spy is not installed (pip install py-spy)")
    with cluster("--port", "0", "--nodes", "0") as running:
        shares = uvloop.run(_measure(running, spy))
    names = [name for name, _ in PARTS] + [OTHER]
    rows = [
        (name, *(one[name] for one in shares.values())) for name in names if any(one[name] for one in shares.values())
    ]
    return f"Shares, in %, of one API server's samples.\n\n{table(('', *shares), rows)}"


async def _measure(running: BenchCluster, spy: str) -> dict[str, dict[str, float]]:
    (server,) = running.named("apiserver-1").pids
    target = Target(load(running.kubeconfig))
    made = iter(range(1 << 30))

    def create(_: int) -> bytes:
        return target.request("POST", PATH, orjson.dumps(pod(next(made))))

    async with connected(target, CONNECTIONS) as connections:
        await timed(connections, (create(number) for number in range(BEFORE)))

        async def shares(form: Requests) -> dict[str, float]:
            with tempfile.NamedTemporaryFile("r", prefix="oarlock-bench-", suffix=".txt") as found:
                command = (spy, "record", "-d", str(SECONDS), "-r", str(SAMPLES_PER_S), "-f", "raw", "-o", found.name)
                quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
                recording = await asyncio.create_subprocess_exec(*command, "--pid", str(server), **quiet)
                await timed(connections, _until_ended(recording, form))
                await recording.wait()
                return share(found)

        found = {
            "create": await shares(create),
            "get": await shares(lambda number: target.request("GET", f"{PATH}/pod-{number % BEFORE}")),
            "apply": await shares(lambda number: applied(target, number % BEFORE, f"n{number}")),
        }
        async with _watched(target):
            found[f"create, {WATCHERS} watches"] = await shares(create)
    return found


def _until_ended(process: asyncio.subprocess.Process, form: Requests) -> Iterator[bytes]:
    number = 0
    while process.returncode is None:
        yield form(number)
        number += 1


@asynccontextmanager
async def _watched(target: Target) -> AsyncIterator[None]:
    watchers = [await target.watcher(f"{PATH}?watch=1&resourceVersion=0", lambda _: None) for _ in range(WATCHERS)]
    try:
        yield
    finally:
        for watcher in watchers:
            watcher.close()


def share(stacks: Iterable[str]) -> dict[str, float]:
    """Return the percentage of samples that each part has; `stacks` are py-spy's raw lines, `OUTER;…;INNER COUNT`."""
    counted: Counter[str] = Counter()
    for line in stacks:
        frames, _, count = line.rpartition(" ")
        counted[_part(frames.split(";"))] += int(count)
    whole = counted.total() or 1
    return Counter({name: count / whole * 100 for name, count in counted.items()})


def _part(frames: list[str]) -> str:
    for frame in reversed(frames):
        for name, files in PARTS:
            if any(file in frame for file in files):
                return name
    return OTHER
