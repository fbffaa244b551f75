"""The steps of a request and of a change, one by one, beside a recorded baseline.

`python -m bench request_path` compares; `python -m bench.request_path record` makes today's times the baseline.
Machines differ and so do hours: what is compared are multiples of a fixed piece of Python's own work, done in turn.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import orjson
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http_parser import HttpRequestParser

from bench import pod_checks
from bench.report import table, unit
from oarlock.cluster.apiserver import authorization, clock, rendering, requests
from oarlock.cluster.apiserver.audience import Interest
from oarlock.cluster.apiserver.authentication import Authenticator, User
from oarlock.cluster.apiserver.entries import Batch, Change, Entry
from oarlock.cluster.apiserver.exchange import Query, Request
from oarlock.cluster.apiserver.negotiation import negotiate
from oarlock.cluster.apiserver.rendering import Page, TableOptions
from oarlock.cluster.apiserver.watchcache import Collection
from oarlock.cluster.objects import codec
from oarlock.cluster.objects.decoding import decode
from oarlock.consensus.model import Event, EventKind, KeyValue

BASELINE = Path(__file__).parent / "request_path.json"
SLOWER = 1.5
"""More than that many times the baseline is a step that somebody has made slower."""
ROUNDS, ROUND_S = 40, 0.005
OTHERS, MANY, PAGE = 10_000, 100_000, 500
WATCHERS = 1_000
Step = Callable[[], object]


class Slower(Exception):
    """Somebody has made a step slower; the message names it."""


def measure() -> str:
    """Return the table. Raises Slower."""
    baseline, found = orjson.loads(BASELINE.read_bytes()), asyncio.run(_all())
    rows = [(name, one.us, one.units, baseline[name], one.units / baseline[name]) for name, one in found.items()]
    slower = [f"{row[0]} ({row[-1]:.2f} times)" for row in rows if row[-1] > SLOWER]
    if slower:
        raise Slower(", ".join(slower))
    return table(("step", "µs", "units", "baseline units", "factor"), rows)


@dataclass(frozen=True)
class Time:
    """A step's least time, and how many of the fixed pieces of work that are done beside it would fit in."""

    us: float
    units: float


async def _all() -> dict[str, Time]:
    return {name: least(step) for name, step in steps().items()}


def least(step: Step) -> Time:
    """Return the least of many rounds: whatever else runs only adds to the others."""
    count = _count(step)
    step_s = unit_s = float("inf")
    for _ in range(ROUNDS):
        began = time.perf_counter()
        for _ in range(count):
            step()
        between = time.perf_counter()
        unit()
        step_s, unit_s = min(step_s, (between - began) / count), min(unit_s, time.perf_counter() - between)
    return Time(step_s * 1e6, step_s / unit_s)


def _count(step: Step) -> int:
    """Return how many calls of a step make a round."""
    step()
    began = time.perf_counter()
    step()
    return max(1, int(ROUND_S / (time.perf_counter() - began)))


def steps() -> dict[str, Step]:
    """Return the steps by name. Needs a running event loop."""
    resource, _ = pod_checks.pods(1)
    body = orjson.dumps(pod_checks.POD)
    obj = decode(resource, body).object
    pod_checks.default_and_validate(resource, obj)
    encoded = codec.encode(obj)
    raw = (
        b"POST /api/v1/namespaces/default/pods HTTP/1.1\r\nHost: 127.0.0.1:6443\r\nUser-Agent: bench\r\n"
        b"Accept: application/json\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
    ) + body
    path = "/api/v1/namespaces/default/pods/web-6d4cf56db6-abcde/status"
    info = requests.parse("PATCH", path, Query("fieldManager=kubelet"))
    user = User("system:node:a", ("system:masters", "system:authenticated"))
    request = Request("GET", path, Query(""), {}, _no_body, peer=("system:node:a", ("system:nodes",)))
    authenticator = Authenticator({}, _NoBearers())
    entries = [_entry(number, encoded) for number in range(PAGE)]
    page, plain = Page(entries, 1_000), negotiate("application/json", is_list=True)
    options = TableOptions("Metadata", clock.now())
    return {
        "parse a create": lambda: _parse(raw),
        "route": lambda: requests.parse("PATCH", path, Query("fieldManager=kubelet")),
        "authenticate by certificate": lambda: _driven(authenticator.authenticate(request)),
        "authorize": lambda: authorization.allowed(user, info),
        "decode": lambda: decode(resource, body),
        "default and validate, decoded anew": lambda: pod_checks.default_and_validate(
            resource, decode(resource, body).object
        ),
        "encode": lambda: codec.with_revision(codec.encode(obj), 1_000),
        f"cache a change among {OTHERS:,}": _caching(encoded),
        f"cache an object's coming and going among {MANY:,}": _coming_and_going(encoded),
        f"take {PAGE} and count the rest among {MANY:,}": _paging(encoded),
        f"tell {WATCHERS:,} watchers of everything": _telling(encoded, None),
        f"tell one of {WATCHERS:,} watchers": _telling(encoded, _Number()),
        f"render a list of {PAGE}": lambda: rendering.page(resource, page, plain, options),
    }


def _parse(raw: bytes) -> None:
    loop = asyncio.get_running_loop()
    parser = HttpRequestParser(BaseProtocol(loop), loop, 2**16)
    messages, _, _ = parser.feed_data(raw)
    if len(messages) != 1:
        raise ValueError("the request wasn't understood")


def _driven(coroutine: Coroutine[Any, Any, object]) -> object:
    """Run what never has to wait."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        found: object = stop.value
        return found
    raise ValueError("it waits")


async def _no_body() -> bytes:
    return b""


class _NoBearers:
    async def user(self, token: str, audiences: object = (), warnings: object = None) -> User | None: ...


class _Null:
    """A watcher that encodes its lines and sends them nowhere."""

    def __init__(self) -> None:
        self.sent = 0

    def deliver(self, changes: Batch) -> None:
        self.sent += sum(len(change.chunk("MODIFIED")) for change in changes)

    def lost(self) -> None: ...


class _Number:
    """Which of the watchers an object is for."""

    def value(self, entry: Entry) -> int:
        return entry.create_revision


def _entry(number: int, encoded: bytes) -> Entry:
    key = b"/registry/core/pods/default/pod-%06d" % number
    return Entry(key, codec.with_revision(encoded, number + 1), number, number + 1)


def _collection(encoded: bytes) -> Collection:
    collection = Collection(b"/registry/core/pods/", 0)
    collection.fill(_entry(number, encoded) for number in range(OTHERS))
    return collection


def _caching(encoded: bytes) -> Step:
    collection, revision = _collection(encoded), OTHERS + 1

    def change() -> None:
        nonlocal revision
        revision += 1
        key = b"/registry/core/pods/default/pod-%06d" % (revision % OTHERS)
        collection.apply(Event(EventKind.PUT, KeyValue(key, encoded, 1, revision, 2)))

    return change


def _many(encoded: bytes) -> Collection:
    """Return a collection of objects that share their content: what it costs to hold them isn't asked here."""
    collection = Collection(b"/registry/core/pods/", 0)
    keys = (b"/registry/core/pods/default/pod-%06d" % number for number in range(MANY))
    collection.fill(Entry(key, encoded, 1, 1) for key in keys)
    return collection


def _paging(encoded: bytes) -> Step:
    collection = _many(encoded)

    def take() -> None:
        first = b"/registry/core/pods/default/pod-050000"
        if len(list(islice(collection.between(first, b"/registry/core/pods0"), PAGE))) != PAGE:
            raise ValueError("it isn't a page")
        collection.count(first, b"/registry/core/pods0")

    return take


def _coming_and_going(encoded: bytes) -> Step:
    collection, number = _many(encoded), 0

    def come_and_go() -> None:
        nonlocal number
        number += 1
        key = b"/registry/core/pods/default/pod-%06d-new" % (number * 7919 % MANY)
        collection.apply(Event(EventKind.PUT, KeyValue(key, encoded, 1, 1, 1)))
        collection.apply(Event(EventKind.DELETE, KeyValue(key, b"", 0, 2, 0)))

    return come_and_go


def _telling(encoded: bytes, aspect: _Number | None) -> Step:
    collection = _collection(encoded)
    for number, watcher in enumerate(_Null() for _ in range(WATCHERS)):
        collection.watchers.add(watcher, None if aspect is None else Interest(aspect, frozenset({number})))
    entry = _entry(7, encoded)

    def tell() -> None:
        for members, changes in collection.watchers.concerned([Change(entry.revision, entry, entry)]):
            for watcher in members:
                watcher.deliver(changes)

    return tell


def record() -> None:
    """Make today's times the baseline."""
    units = {name: round(one.units, 4) for name, one in asyncio.run(_all()).items()}
    BASELINE.write_bytes(orjson.dumps(units, option=orjson.OPT_INDENT_2) + b"\n")


if __name__ == "__main__" and sys.argv[1:] == ["record"]:
    record()
