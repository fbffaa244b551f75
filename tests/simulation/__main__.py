"""Runs simulated worlds: `python tests/simulation [SEED]`, or see `--help`.

With a seed: that one world, told in full. Without: `--worlds` of them on all cores, or with `--worlds 0` as many as
`--minutes` allow. Fewer worlds than were asked for are a failure.
"""

from __future__ import annotations

import argparse
import gc
import multiprocessing
import os
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from multiprocessing.queues import Queue
from pathlib import Path
from queue import Empty
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parent.parent))

from simulation.faults import FAULTS
from simulation.sabotage import SABOTAGES, sabotaged
from simulation.world import Broken, World

REPLAY = "make sim SEED={seed}"
FAULT = "fault_"
TELL_EVERY_S = 30.0
MANY = 1_000_000_000
"""More worlds than any run gets to."""


class WorkerDied(Exception):
    """A process that lived through worlds ended by itself; the message tells how."""


class Result(NamedTuple):
    """How one world went: what it counted, and what was wrong, "" for nothing."""

    seed: int
    stats: Counter[str]
    wrong: str


def live(seed: int) -> Result:
    """Live through the world of a seed."""
    world = World(seed)
    wrong = ""
    try:
        world.run()
    except Broken as broken:
        wrong = str(broken)
    except Exception:  # noqa: BLE001 - a fault of the simulation itself must name its seed too
        wrong = traceback.format_exc()
    stats = world.stats + Counter(
        operations=len(world.recorder.calls), revisions=len(world.oracle.events), terms=world.oracle.terms
    )
    world.dismantle()
    return Result(seed, stats, wrong)


def live_many(first: int, worlds: int, workers: int, until_s: float) -> Iterator[Result]:
    """Yield the results of consecutive seeds until there are enough or the time is over. Raises WorkerDied."""
    fork = multiprocessing.get_context("fork")
    results: Queue[Result] = fork.Queue(maxsize=1000)
    running = [
        fork.Process(target=_work, args=(range(first + number, first + worlds, workers), until_s, results), daemon=True)
        for number in range(workers)
    ]
    for worker in running:
        worker.start()
    while True:
        alive = any(worker.is_alive() for worker in running)
        try:
            yield results.get(timeout=0.5)
        except Empty:
            if not alive:
                break
    died = [f"worker {number} ended with {worker.exitcode}" for number, worker in enumerate(running) if worker.exitcode]
    if died:
        raise WorkerDied(f"{'; '.join(died)}; worker n of {workers} had seeds {first} + n, every {workers}th")


def _work(seeds: range, until_s: float, results: Queue[Result]) -> None:
    """Runs in a process of its own."""
    gc.freeze()
    for seed in seeds:
        if time.monotonic() > until_s:
            return
        results.put(live(seed))


def replay(seed: int, sabotage: str) -> int:
    """Tell all of one world."""
    world = World(seed, verbose=True)
    chosen = [one for one in SABOTAGES if one.name == sabotage]
    if chosen:
        world = World(seed, kinds=chosen[0].kinds, settings=chosen[0].settings, verbose=True)
    print(f"seed={seed} {world.settings}")
    try:
        with sabotaged(chosen[0] if chosen else None):
            world.run()
    except Broken as broken:
        print(f"seed={seed} trace={world.digest} BROKEN: {broken}")
        return 1
    print(f"seed={seed} trace={world.digest} calls={len(world.recorder.calls)} all is well")
    return 0


def run(arguments: argparse.Namespace) -> int:
    """Live through many worlds; the last line sums up."""
    began_s, total, failures, worlds = time.monotonic(), Counter[str](), 0, 0
    told_s = began_s
    asked = arguments.worlds or MANY
    print(f"seeds from {arguments.first} on, {arguments.worlds or 'any number of'} worlds, workers {arguments.workers}")
    try:
        for result in live_many(arguments.first, asked, arguments.workers, began_s + arguments.minutes * 60):
            worlds += 1
            total += result.stats
            if result.wrong:
                failures += 1
                replayed = REPLAY.format(seed=result.seed)
                print(f"seed {result.seed} FAILED: {result.wrong}\n  replay: {replayed}", flush=True)
            if time.monotonic() > told_s + TELL_EVERY_S:
                told_s = time.monotonic()
                print(f"… {worlds} worlds, {failures} failures, {told_s - began_s:.0f} s", flush=True)
    except WorkerDied as died:
        failures += 1
        print(f"the simulation itself FAILED: {died}", flush=True)
    if arguments.worlds and worlds < arguments.worlds:
        failures += 1
        print(f"only {worlds} of {arguments.worlds} worlds in {arguments.minutes:g} minutes", flush=True)
    return report(total, worlds, failures, time.monotonic() - began_s)


def report(total: Counter[str], worlds: int, failures: int, seconds: float) -> int:
    """Print what happened how often; return the exit status."""
    faults = {name.removeprefix(FAULT): count for name, count in total.items() if name.startswith(FAULT)}
    print("faults:   " + " ".join(f"{name}={count}" for name, count in sorted(faults.items())))
    others = {name: count for name, count in total.items() if not name.startswith(FAULT)}
    print("happened: " + " ".join(f"{name}={count}" for name, count in sorted(others.items())))
    missing = sorted(set(FAULTS) - set(faults))
    if missing and worlds >= 1000:
        print(f"no world had the faults {', '.join(missing)}")
        failures += 1
    print(
        f"worlds={worlds} operations={total['operations']} faults={sum(faults.values())} failures={failures} "
        f"seconds={seconds:.0f}"
    )
    return 1 if failures else 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests/simulation", description=__doc__)
    parser.add_argument("seed", nargs="?", type=int, help="replay this world and tell all of it")
    parser.add_argument("--sabotage", default="", help="replay it with this breakage and its faults")
    parser.add_argument("--first", type=int, default=1, help="the first of many seeds")
    parser.add_argument("--worlds", type=int, default=1000, help="0: as many as the time allows")
    parser.add_argument("--minutes", type=float, default=60.0, help="stop after this time")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    arguments = parser.parse_args()
    return replay(arguments.seed, arguments.sabotage) if arguments.seed is not None else run(arguments)


if __name__ == "__main__":
    sys.exit(main())
