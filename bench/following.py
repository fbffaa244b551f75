"""What the processes that follow all pods pay for each change of one: scheduler and controllers, active and standby.

The changes are put into the store at an even pace, so that they come one by one and not in crowds, as they do in a
busy cluster that isn't overloaded. Nobody has anything to do for these pods: what is measured is the following.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterable

import uvloop

from bench import scraping
from bench.api import PATH, pod
from bench.controllers import PARTS, Bench, bench, cpu_s, until
from bench.report import table
from oarlock.cluster.apiserver.leases import LEASES
from oarlock.consensus.model import Delete, Operation, Put, Range, Transaction

PODS, PER_S = 6_000, 1_000
STANDBY = "{}, standby"
_KEY = b"/registry/core/pods/default/"
_SETTLE_S = 2.0
Form = Callable[[bytes], bytes]


def measure(*, quick: bool = False) -> str:
    """Return the table."""
    return uvloop.run(_measure(PODS // 20 if quick else PODS))


async def _measure(count: int) -> str:
    async with bench() as made:
        await until(lambda: _are_held(made), 60)
        for part in PARTS:
            await made.host(part, known_as=STANDBY.format(part))
        await until(lambda: _is_followed(made), 60)
        template = await _template(made)
        forms: dict[str, Form] = {
            "created": lambda value: value,
            "given a label": lambda value: value.replace(b'"app":', b'"also":"yes","app":'),
            "said to be starting": lambda value: value.replace(b'"phase":', b'"message":"pulling","phase":'),
        }
        rows = []
        for what, form in forms.items():
            value = form(template)
            rows.append((what, *await _cost(made, (_put(value, number) for number in range(count)), count)))
        rows.append(("deleted", *await _cost(made, (Delete(_key(number)) for number in range(count)), count)))
        head = ("a pod is", *made.hosts, "all", "API server and store")
    return f"CPU µs per change, {PER_S:,} changes a second.\n\n{table(head, rows)}"


async def _are_held(made: Bench) -> bool:
    """Whether the first copies have their leases, so that the next ones stand by."""
    found = [await made.store.range(Range(LEASES + part.encode())) for part in PARTS]
    return all(one.kvs for one in found)


async def _is_followed(made: Bench) -> bool:
    """Whether every copy watches pods."""
    page = await made.client.text("/metrics")
    watching = scraping.total([page], "apiserver_registered_watchers", group="", resource="pods")
    return watching >= 2 * len(PARTS)


async def _template(made: Bench) -> bytes:
    """Return a pod as the API server stores it, one that no scheduler of ours wants."""
    await until(lambda: _has_account(made), 60)
    await made.client.create(PATH, pod(0))
    found = await made.store.range(Range(_key(0)))
    await made.client.delete(f"{PATH}/pod-0")
    return found.kvs[0].value


async def _has_account(made: Bench) -> bool:
    """Whether the account is there that a pod needs; the controllers make it."""
    return bool((await made.client.list("/api/v1/namespaces/default/serviceaccounts"))["items"])


def _key(number: int) -> bytes:
    return _KEY + b"pod-%d" % number


def _put(template: bytes, number: int) -> Operation:
    return Put(_key(number), template.replace(b'"name":"pod-0"', b'"name":"pod-%d"' % number))


async def _cost(made: Bench, changes: Iterable[Operation], count: int) -> list[float]:
    """Return the CPU microseconds of a change in each process, in all of them, and here."""
    pids = [process.pid for process in made.hosts.values()] + [os.getpid()]
    await asyncio.sleep(_SETTLE_S)
    before = [cpu_s(pid) for pid in pids]
    due = time.monotonic()
    for change in changes:
        await made.store.transact(Transaction(success=(change,)))
        due = max(due + 1 / PER_S, time.monotonic())  # what is late isn't made up for, or it would be a crowd
        await asyncio.sleep(due - time.monotonic())
    await asyncio.sleep(_SETTLE_S)
    *copies, here = ((cpu_s(pid) - past) / count * 1e6 for pid, past in zip(pids, before, strict=True))
    return [*copies, sum(copies), here]
