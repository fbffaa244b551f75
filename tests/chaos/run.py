"""A run of real replicas under faults: `python tests/chaos/run.py --minutes 10 --seed 1 --replicas 5`.

Prints the seed, every fault, and at the end what was done and what is wrong. The history of a failed run is kept.
The seed gives the faults and the clients' choices; how the processes interleave is the machine's.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from chaos.cluster import Cluster
from chaos.nemesis import Nemesis, Unexpected
from chaos.network import missing
from chaos.recording import Recorder, ask_each
from chaos.workload import Client, numbers
from checking.history import History, save
from checking.report import describe
from checking.verdict import judge
from checking.watches import owes

from oarlock.consensus.client import StoreClient
from oarlock.consensus.model import Compacted, Put, Range, RangeResult, StoreError, Transaction

CLIENTS = 3
CALL_WAIT_S = 3.0
PROGRESS_S = 30.0
"""How soon after a fault a write must succeed, and all replicas must be alike."""
ANSWERS_MIN, WORK_S = 1000, 120.0
"""How many answers a judgement needs, and how long they may take after the last fault."""
AFTERMATH_S = 2.0
"""For how long after a fault leadership may still change."""
POLL_S = 0.05
"""Between two looks at replicas that catch up: none tells when it has."""
EVERYTHING = Range(b"\0", b"\0")


@dataclass(slots=True)
class Result:
    """What came of a run."""

    seed: int
    history: History = field(default_factory=History)
    faults: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    recovery_s: list[float] = field(default_factory=list)

    def summary(self) -> str:
        calls = self.history.calls
        kinds = Counter(call.kind for call in calls)
        told = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
        answered, refused, unknown = (sum(getattr(c, how) for c in calls) for how in ("answered", "refused", "unknown"))
        batches = sum(len(watch.batches) for watch in self.history.watches)
        lines = [
            f"seed {self.seed}: {len(calls)} calls ({told})",
            f"  answered {answered}, refused {refused}, unknown {unknown}; revision {self.history.last}",
            f"  {len(self.history.watches)} watches with {batches} batches",
            f"  {len(self.faults)} faults; a write succeeded after each within {max(self.recovery_s, default=0):.2f} s",
            f"  {len(self.failures)} failures",
        ]
        return "\n".join([*lines, *self.failures])


class Run:
    """One cluster, its clients and its faults. A `sabotage` of the simulation's breaks the replicas on purpose."""

    def __init__(self, folder: Path, seed: int, size: int, *, sabotage: str = "", verbose: bool = False) -> None:
        self.result = Result(seed)
        self._rng = random.Random(seed)
        self._cluster = Cluster(folder, size, sabotage)
        self._recorder = Recorder(self._cluster.lives)
        self._verbose = verbose
        self._disturbed: list[tuple[float, float]] = []
        self._probe = StoreClient(self._cluster.endpoints, self._cluster.tls, wait_s=PROGRESS_S)
        self._nemesis = Nemesis(self._cluster, random.Random(seed + 1), self._leader, self._alike)

    async def run(self, seconds: float, kinds: Sequence[str] = ()) -> Result:
        """Do harm for so long, or each of these kinds once; then judge."""
        async with AsyncExitStack() as stack:  # whatever becomes of one, the others are closed
            stack.push_async_callback(self._cluster.stop)
            await self._cluster.start()
            stack.push_async_callback(self._probe.close)
            await self._probe.start()
            follower = asyncio.create_task(self._recorder.follow(self._probe))
            stack.callback(follower.cancel)
            clients = await self._clients(stack)
            async with asyncio.TaskGroup() as group:
                for client in clients:
                    group.create_task(client.run())
                group.create_task(self._harm(seconds, kinds, clients))
            await self._finish()
        return self.result

    async def _clients(self, stack: AsyncExitStack) -> list[Client]:
        values = numbers()
        clients = []
        for number in range(1, CLIENTS + 1):
            store = StoreClient(self._cluster.endpoints, self._cluster.tls, wait_s=CALL_WAIT_S)
            stack.push_async_callback(store.close)
            await store.start()
            rng = random.Random(self._rng.getrandbits(64))
            clients.append(Client(number, store, self._recorder, rng, values))
        return clients

    async def _harm(self, seconds: float, kinds: Sequence[str], clients: list[Client]) -> None:
        until_s = time.monotonic() + seconds
        planned = list(kinds)
        try:
            while planned or (not kinds and time.monotonic() < until_s):
                await asyncio.sleep(self._rng.uniform(0.3, 1.5))
                await self._one(planned.pop(0) if planned else self._nemesis.choose())
            await self._worked()
        finally:
            for client in clients:
                client.stop()

    async def _worked(self) -> None:
        """Return once clients have been answered often enough for a judgement, however slow the machine is."""
        async with asyncio.timeout(WORK_S):
            while sum(call.answered for call in self._recorder.calls) < ANSWERS_MIN:  # noqa: ASYNC110 - as above
                await asyncio.sleep(POLL_S)

    async def _one(self, kind: str) -> None:
        """Let one fault last for a while, then see a write succeed."""
        began_s = time.monotonic()
        async with self._nemesis.fault(kind) as what:
            self.result.faults.append(f"{kind}: {what}")
            self._say(f"{kind}: {what}")
            await asyncio.sleep(self._rng.choice((0.2, 1.0, 2.5)))
        healed_s = time.monotonic()
        await self._write()
        self.result.recovery_s.append(time.monotonic() - healed_s)
        self._disturbed.append((began_s, time.monotonic() + AFTERMATH_S))

    async def _write(self) -> int:
        """Return the revision of a write that succeeds; an unknown outcome is tried again, a refusal fails the run."""
        number = len(self._recorder.calls)
        transaction = Transaction((), (Put(b"probe", b"probe %d" % number),))
        async with asyncio.timeout(PROGRESS_S):
            while True:
                answer = self._probe.transact(transaction)
                done = await self._recorder.call(0, "transact", transaction, answer)
                if done is not None:
                    return done.revision

    async def _leader(self) -> str:
        with suppress(StoreError, TimeoutError):
            async with asyncio.timeout(1.0):
                members = await self._probe.status()
                return max(members, key=lambda member: member.term).leader
        return ""

    async def _alike(self) -> None:
        """Return once every replica shows the same state at one revision."""
        request = EVERYTHING
        shown: dict[str, RangeResult] = {}
        answers: dict[str, RangeResult | StoreError] = {}
        try:
            async with asyncio.timeout(PROGRESS_S):
                while len(shown) < len(self._cluster.names):
                    if not answers or any(isinstance(one, Compacted) for one in answers.values()):
                        request = request._replace(revision=await self._write())
                    answers = await ask_each(self._probe, request, 2.0)
                    shown = {name: one for name, one in answers.items() if isinstance(one, RangeResult)}
                    await asyncio.sleep(POLL_S)
        except TimeoutError:
            raise Unexpected(f"replicas don't catch up with revision {request.revision}: {answers}") from None
        if len({(one.kvs, one.count) for one in shown.values()}) > 1:
            self.result.failures.append(f"replicas differ at revision {request.revision}: {shown}")

    async def _finish(self) -> None:
        """All is well again: compare the replicas, and judge what was seen."""
        await self._alike()
        async with asyncio.timeout(PROGRESS_S):
            await self._recorder.reached(await self._write())
        recorder, result = self._recorder, self.result
        result.history = History(recorder.calls, recorder.watches, recorder.log(), self._disturbed)
        found = judge(result.history)
        if found:
            result.failures.append(describe(result.history, found[:10]))
        self._say(f"{sum(owes(result.history, watch) for watch in recorder.watches)} watches were cut short")

    def _say(self, what: str) -> None:
        if self._verbose:
            print(f"{time.strftime('%H:%M:%S')} {what}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description="Real store replicas under faults. Needs root.")
    parser.add_argument("--sabotage", default="", help="break the store as the simulation does by this name")
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 31))
    parser.add_argument("--replicas", type=int, default=3, choices=(3, 5))
    parser.add_argument("--faults", nargs="*", default=[], help="do just these, in order")
    options = parser.parse_args()
    if lacks := missing():
        print(lacks, file=sys.stderr)
        return 2
    print(f"seed {options.seed}, {options.replicas} replicas", flush=True)
    folder = Path(tempfile.mkdtemp(prefix="oarlock-chaos-"))
    run = Run(folder, options.seed, options.replicas, sabotage=options.sabotage, verbose=True)
    try:
        result = asyncio.run(run.run(options.minutes * 60, options.faults))
    except BaseException:
        print(f"seed {options.seed} failed; its folder is {folder}", flush=True)
        raise
    print(result.summary())
    if result.failures:
        save(result.history, folder / "history.jsonl")
        print(f"the history and the replicas' logs are in {folder}")
        return 1
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
