"""Requests that fail while the cluster's own processes are replaced one by one under load: there should be none."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from shutil import which
from subprocess import DEVNULL, Popen

import uvloop

from bench.api_traffic import ApiTraffic, kubectl
from bench.clusters import BenchCluster, cluster
from bench.report import quantile, table
from oarlock.cluster.boot.network import free_ports
from oarlock.cluster.client.http import ApiClient
from oarlock.cluster.client.kubeconfig import load
from oarlock.cluster.client.settings import ClientSettings

CLIENTS, LIMIT_S = 8, 60.0
HEAD = (
    "restarted under load",
    "through",
    "s",
    "requests",
    "failed",
    "p50 ms",
    "p99 ms",
    "longest time without a write, s",
)


def measure(*, quick: bool = False) -> str:
    """Return the table: what was restarted, through which front, and what its clients saw of that."""
    with cluster("--port", "0", "--nodes", "1") as running:
        own = load(running.kubeconfig)
        rows = [_row(running, "embedded balancer", own, "API servers", "apiserver")]
        program = which("haproxy")
        with _haproxy(running, program) if program else nullcontext(0) as port:
            if port:
                front = replace(own, server=f"https://127.0.0.1:{port}")
                rows.append(_row(running, "HAProxy", front, "API servers", "apiserver"))
        if not quick:
            rows.append(_row(running, "embedded balancer", own, "balancer", "balancer"))
            rows.append(_row(running, "embedded balancer", own, "everything"))
    return (
        f"{CLIENTS} clients create, read, patch, list and delete, and a kubectl beside them; nobody repeats anything. "
        "Some keep their connections, some leave them idle for 3 s, some open one for each request.\n\n"
    ) + table(HEAD, rows)


def _row(running: BenchCluster, front: str, settings: ClientSettings, what: str, *parts: str) -> tuple[object, ...]:
    traffic, took_s = uvloop.run(_under_load(running, settings, parts))
    for failure in traffic.failures[:10]:
        print(f"{what}: {failure}", flush=True)
    times_s = sorted(traffic.times_s)
    requests = len(times_s) + traffic.commands + len(traffic.failures)
    p50_ms, p99_ms = quantile(times_s, 0.5) * 1e3, quantile(times_s, 0.99) * 1e3
    return what, front, took_s, requests, len(traffic.failures), p50_ms, p99_ms, traffic.longest_gap_s


async def _under_load(
    running: BenchCluster, settings: ClientSettings, parts: tuple[str, ...]
) -> tuple[ApiTraffic, float]:
    program = which("kubectl")
    command = kubectl(program, running.kubeconfig, running.root, settings.server) if program else ()
    traffic = ApiTraffic([settings], CLIENTS, command)
    async with traffic.flowing():
        began = time.monotonic()
        await asyncio.to_thread(running.oarlock, "restart", *parts)
        took_s = time.monotonic() - began
    return traffic, took_s


@contextmanager
def _haproxy(running: BenchCluster, program: str) -> Iterator[int]:
    """Run a HAProxy in front of the cluster and yield its port once it serves."""
    (port,) = free_ports(1)
    text = running.oarlock("haproxy-config", "--bind", f"127.0.0.1:{port}", "--connections", "1000")
    file = Path(running.root) / "haproxy.cfg"
    file.write_text(text)
    with Popen([program, "-db", "-f", str(file)], stdout=DEVNULL, stderr=DEVNULL) as process:
        try:
            uvloop.run(_serves(replace(load(running.kubeconfig), server=f"https://127.0.0.1:{port}")))
            yield port
        finally:
            process.terminate()


async def _serves(settings: ClientSettings) -> None:
    async with ApiClient(settings) as client, asyncio.timeout(LIMIT_S):
        await client.text("/readyz")
