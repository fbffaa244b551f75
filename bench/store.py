"""The store alone: three replica processes with journals on disk, mutual TLS, one client process."""

from __future__ import annotations

from typing import Any

import uvloop

from bench.clusters import BenchCluster, cluster
from bench.load import COLUMNS, run
from bench.report import table
from oarlock.cluster.boot.roles import store_client
from oarlock.consensus.client import StoreClient
from oarlock.consensus.model import Put, Range, Transaction

VALUE = b"x" * 1024
KEYS = 1_000
COUNTS = {1: 2_000, 64: 20_000, 512: 40_000}


def measure() -> str:
    # API servers and the rest idle beside it; only the replicas' CPU is counted.
    with cluster("--port", "0", "--nodes", "0", name="bench-store") as running:
        return uvloop.run(_measure(running))


async def _measure(running: BenchCluster) -> str:
    client = store_client(_endpoints(running), _admin(running))
    await client.start()
    replicas = running.named("store")
    try:
        rows = []
        for in_flight, count in COUNTS.items():
            put = await run(replicas, _put(client), count, in_flight)
            rows.append((f"put, {in_flight} in flight", *put.cells()))
            get = await run(replicas, _get(client), count, in_flight)
            rows.append((f"linearizable get, {in_flight} in flight", *get.cells()))
    finally:
        await client.close()
    return "Values of 1 KiB; CPU is that of the three replicas.\n\n" + table(("operation", *COLUMNS), rows)


def _endpoints(running: BenchCluster) -> list[str]:
    record = running.folder.load()
    assert record is not None
    return [f"127.0.0.1:{port}" for name, port in record.ports.items() if name.endswith("-client")]


def _admin(running: BenchCluster) -> dict[str, str]:
    files = {"ca_file": "ca.crt", "cert_file": "admin.crt", "key_file": "admin.key"}
    return {key: str(running.folder.pki / file) for key, file in files.items()}


def _put(client: StoreClient) -> Any:
    def operation(number: int) -> Any:
        return client.transact(Transaction(success=(Put(b"bench/%d" % (number % KEYS), VALUE),)))

    return operation


def _get(client: StoreClient) -> Any:
    return lambda number: client.range(Range(b"bench/%d" % (number % KEYS)))
