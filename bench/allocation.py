"""What it costs to choose a Service's address and node port while so many are in use. No server, no IO."""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable

from bench.report import table
from oarlock.cluster.apiserver import clock
from oarlock.cluster.apiserver.allocation import ports
from oarlock.cluster.apiserver.allocation.addresses import Addresses
from oarlock.cluster.apiserver.allocation.ports import Ports
from oarlock.cluster.apiserver.allocation.ranges import AddressRange, Full, node_ports
from oarlock.cluster.apiserver.entries import Entry
from oarlock.cluster.apiserver.watchcache import WatchCache
from oarlock.cluster.objects import codec
from oarlock.cluster.objects.resources import Resource, lookup
from oarlock.consensus.memory import MemoryStore

SECONDS = 1.0
QUICK_SECONDS = 0.05
CIDR, MORE, SMALL = "10.0.0.0/16", "10.1.0.0/16", "10.0.0.0/20"
PORTS = (30000, 32767)


def measure(*, quick: bool = False) -> str:
    seconds = QUICK_SECONDS if quick else SECONDS
    rows = [
        (f"address, {CIDR}, {used:,} in use", _us_per_call(_address([CIDR], CIDR, used), seconds))
        for used in (0, 5_000, 30_000, 60_000, 65_500)
    ]
    rows.append(
        (f"address, {SMALL} full, {MORE} beside it", _us_per_call(_address([SMALL, MORE], SMALL, 4094), seconds))
    )
    rows.append((f"no address, {CIDR} full", _us_per_call(_address([CIDR], CIDR, 65_534), seconds)))
    rows += [
        (f"node port, {used:,} of {len(range(*PORTS)) + 1:,} in use", _us_per_call(_port(used), seconds))
        for used in (0, 1_000, 2_700, 2_767)
    ]
    rows.append(("the claim on an address", _us_per_call(_claim(), seconds)))
    return table(("choice", "CPU µs"), rows)


def _networking(plural: str) -> Resource:
    found = lookup("networking.k8s.io", "v1", plural)
    assert found is not None
    return found


def _cache(cidrs: list[str]) -> WatchCache:
    cache = WatchCache(MemoryStore())
    kind = _networking("servicecidrs")
    entries = []
    for number, cidr in enumerate(cidrs, 1):
        metadata = {"name": f"c{number}"}
        obj = {"kind": "ServiceCIDR", "apiVersion": kind.api_version, "metadata": metadata, "spec": {"cidrs": [cidr]}}
        entries.append(Entry(kind.key("", f"c{number}"), codec.encode(obj), number, number))
    cache.collection(kind.key_prefix).fill(entries)
    return cache


def _address(cidrs: list[str], used_of: str, used: int) -> Callable[[], object]:
    cache = _cache(cidrs)
    kind, taken = _networking("ipaddresses"), AddressRange.of(used_of)
    numbers = random.Random(1).sample(range(taken.span.first, taken.span.last + 1), used)
    keys = [kind.key("", taken.text(number)) for number in numbers]
    cache.collection(kind.key_prefix).fill(Entry(key, b"{}", 1, 1) for key in keys)
    addresses = Addresses([CIDR], cache, clock.now)

    def choose() -> None:
        with contextlib.suppress(Full):
            addresses.free("IPv4")

    return choose


def _port(used: int) -> Callable[[], object]:
    cache = _cache([])
    span = node_ports(*PORTS)
    numbers = random.Random(1).sample(range(span.first, span.last + 1), used)
    cache.collection(ports.PREFIX).fill(Entry(ports.PREFIX + str(one).encode(), b"{}", 1, 1) for one in numbers)
    pool = Ports(PORTS, cache)
    return lambda: pool.free(set())


def _claim() -> Callable[[], object]:
    addresses = Addresses([CIDR], _cache([CIDR]), clock.now)
    return lambda: addresses.claim("10.0.7.7", "default", "web")


def _us_per_call(work: Callable[[], object], seconds: float) -> str:
    work()
    calls, started = 0, time.process_time()
    while time.process_time() - started < seconds:
        work()
        calls += 1
    return f"{(time.process_time() - started) * 1e6 / calls:,.1f}"
