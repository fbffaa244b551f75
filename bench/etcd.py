"""The store against real etcd: three members each, on one machine, measured in turns.

Every measurement is taken of one system, then at once of the other, `ROUNDS` times with the order changing; the figures
are medians over the rounds. The members of both run all the time: whatever else the machine does strikes both.
"""

from __future__ import annotations

import shutil
import statistics
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from bench.client_process import ClientProcess, ClientSettings, client_process
from bench.report import ToolMissing, table
from bench.trios import EtcdTrio, OarlockTrio, Trio, trio
from bench.workloads import Sample

OPERATIONS = ("put", "transaction", "linearizable get", "serializable get", "range of 1,000", "lease")
IN_FLIGHT = (1, 64, 512)
WATCH = "watch, 1,000 watchers"
WATCHERS, WATCHED_PUTS = 1_000, 16
HEAD = ("operation", "in flight", "etcd /s", "Oarlock /s", "ratio", "etcd p50 / p99 ms", "Oarlock p50 / p99 ms")
CPU_HEAD = ("operation", "in flight", "etcd", "Oarlock", "etcd's client", "Oarlock's client")
MEMORY_HEAD = ("", "etcd", "Oarlock")
FILL_PREFIX, FILL_VALUE_BYTES = b"/registry/core/secrets/default/secret-", 256
SETTLE_S = 1.0

CONDITIONS = (
    "Three members each, mutual TLS 1.3 with certificates of one CA, data on the same filesystem, every batch of the "
    "log on disk before it is acknowledged; etcd with its defaults. Values of 1 KiB, one client process with one "
    "connection to the leader, on the servers' cores. Both clients run on uvloop; etcd's is a lean one of ours "
    "(`bench/http2.py`) that takes a quarter of grpcio's CPU and leaves the key-values of ranges undecoded, which "
    "Oarlock's decodes. A transaction compares the mod revision and puts, as Kubernetes updates; a lease is granted, "
    f"kept alive once and revoked; watches share 4 connections, {WATCHED_PUTS} puts are in flight, and what counts is "
    "deliveries. etcd is compacted before every round, as Kubernetes does; Oarlock compacts as it goes."
)

Cell = tuple[str, int]
Samples = Mapping[Cell, Sequence[Sample]]


@dataclass(frozen=True)
class Extent:
    """How much is measured. `seconds` is the length of one measurement."""

    rounds: int
    seconds: float
    fill_keys: int


FULL = Extent(5, 1.2, 200_000)
QUICK = Extent(1, 0.3, 5_000)


@dataclass(frozen=True)
class Memory:
    """Of all three members: resident bytes and, of those, private ones, before and after the fill."""

    resident: tuple[int, int]
    private: tuple[int, int]


@dataclass
class Contender:
    trio: Trio
    client: ClientProcess
    samples: defaultdict[Cell, list[Sample]]


def measure(*, quick: bool = False) -> str:
    """Return the tables. Raises ToolMissing where etcd isn't installed."""
    if shutil.which("etcd") is None:
        raise ToolMissing("etcd is not installed (Debian: etcd-server)")
    extent = QUICK if quick else FULL
    with _contender(EtcdTrio) as theirs, _contender(OarlockTrio) as ours:
        contenders = [theirs, ours]
        memories = [_memory(contender, extent.fill_keys) for contender in contenders]
        for contender in contenders:
            contender.client.prepare()
        for number in range(extent.rounds):
            _round(contenders, extent.seconds, number)
        versions = f"{theirs.trio.version()} and {ours.trio.version()}"
    etcd, oarlock = theirs.samples, ours.samples
    return "\n\n".join(
        (
            f"{versions}; medians of {extent.rounds} interleaved rounds of {extent.seconds:g} s. {CONDITIONS}",
            table(HEAD, _speed(etcd, oarlock)),
            "CPU µs per operation of the three servers together, and of the client's process:",
            table(CPU_HEAD, _cpu(etcd, oarlock)),
            f"Memory, with {extent.fill_keys:,} keys of {FILL_VALUE_BYTES} B put into the empty stores:",
            table(MEMORY_HEAD, _memory_rows(memories, extent.fill_keys)),
        )
    )


@contextmanager
def _contender(kind: type[Trio]) -> Iterator[Contender]:
    with trio(kind) as members, client_process(ClientSettings.of(members)) as client:
        yield Contender(members, client, defaultdict(list))


def _round(contenders: Sequence[Contender], seconds: float, number: int) -> None:
    turn = contenders if number % 2 == 0 else contenders[::-1]
    for contender in turn:
        contender.client.compact()
    time.sleep(SETTLE_S)  # for compaction's work in the background
    for operation in OPERATIONS:
        for in_flight in IN_FLIGHT:
            for contender in turn:
                sample = contender.client.measure(operation, in_flight, seconds)
                contender.samples[operation, in_flight].append(sample)
    for contender in turn:
        contender.samples[WATCH, WATCHED_PUTS].append(contender.client.watch(WATCHERS, WATCHED_PUTS, seconds))


def _memory(contender: Contender, keys: int) -> Memory:
    members = contender.trio
    resident, private = members.rss_bytes(), members.private_bytes()
    contender.client.fill(keys, FILL_VALUE_BYTES, FILL_PREFIX)
    time.sleep(SETTLE_S)
    return Memory((resident, members.rss_bytes()), (private, members.private_bytes()))


def _speed(etcd: Samples, oarlock: Samples) -> Iterable[Sequence[object]]:
    for cell in etcd:
        theirs, ours = middle(etcd[cell]), middle(oarlock[cell])
        ratio = f"{ours.per_second / theirs.per_second:.2f}"
        latencies = (f"{sample.p50_ms:.2f} / {sample.p99_ms:.2f}" for sample in (theirs, ours))
        yield *cell, theirs.per_second, ours.per_second, ratio, *latencies


def _cpu(etcd: Samples, oarlock: Samples) -> Iterable[Sequence[object]]:
    for cell in etcd:
        theirs, ours = middle(etcd[cell]), middle(oarlock[cell])
        yield *cell, theirs.servers_us, ours.servers_us, theirs.client_us, ours.client_us


def _memory_rows(memories: Sequence[Memory], keys: int) -> Iterable[Sequence[object]]:
    members = 3
    for name, sizes in (
        ("resident", [memory.resident for memory in memories]),
        ("resident, without mapped files", [memory.private for memory in memories]),
    ):
        yield f"{name}: bytes per key and member", *((after - before) / keys / members for before, after in sizes)
        yield f"{name}: MiB of the three members, empty", *(before / 2**20 for before, _ in sizes)
        yield f"{name}: MiB of the three members, filled", *(after / 2**20 for _, after in sizes)


def middle(samples: Sequence[Sample]) -> Sample:
    """Return the median of each figure by itself."""
    return Sample(*(statistics.median(figures) for figures in zip(*map(_figures, samples), strict=True)))


def _figures(sample: Sample) -> tuple[float, ...]:
    return sample.per_second, sample.p50_ms, sample.p99_ms, sample.servers_us, sample.client_us
