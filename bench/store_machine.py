"""What one transaction costs in the store's machine: `python bench/store_machine.py [keys]`.

Prints µs per transaction (1 KiB values, a compare and a put each) for the machine alone, with its log entry's decoding,
with a watch over everything, and for taking and loading a snapshot; and the memory of one key of 256 B.
"""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable

import psutil

from oarlock.consensus import checkpoint
from oarlock.consensus.commands import Command, Compact
from oarlock.consensus.encoding import decode_command, encode_command
from oarlock.consensus.machine import Machine
from oarlock.consensus.model import Compare, Put, Transaction
from oarlock.consensus.watch import WatchHub

COUNT = 20_000
VALUE = bytes(1024)


def update(machine: Machine, number: int) -> Command:
    key = b"/registry/core/pods/default/pod-%08d" % (number % 5000)
    kv = machine.history.current.get(key)
    compare = Compare(key, "mod", "==", kv.mod_revision if kv else 0)
    return Command(Transaction((compare,), (Put(key, VALUE),)), 7, number + 1, number)


def measure(name: str, step: Callable[[Machine, Command], None]) -> None:
    machine = Machine()
    spent = 0.0
    for number in range(COUNT):
        command = update(machine, number)
        started = time.perf_counter()
        step(machine, command)
        spent += time.perf_counter() - started
    print(f"{name:34} {spent / COUNT * 1e6:6.1f} us/transaction")


def machine_only(machine: Machine, command: Command) -> None:
    machine.apply(command)


def with_decoding(machine: Machine, command: Command) -> None:
    machine.apply(decode_command(encode_command(command)))


def with_compaction(machine: Machine, command: Command) -> None:
    machine.apply(command)
    if machine.revision % 1000 == 0 and machine.revision > 5000:
        machine.apply(Command(Compact(machine.revision - 4000)))


def watched() -> Callable[[Machine, Command], None]:
    hubs: dict[int, WatchHub] = {}

    def step(machine: Machine, command: Command) -> None:
        hub = hubs.get(id(machine))
        if hub is None:
            hub = hubs[id(machine)] = WatchHub(machine.history, machine.revision)
            watcher = hub.watch(b"\0", b"\0", 0, lambda: None)
            step.take = watcher.take  # type: ignore[attr-defined]
        _, change = machine.apply(command)
        assert change is not None
        hub.publish(*change)
        step.take()  # type: ignore[attr-defined]

    return step


def fill(keys: int) -> None:
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 1_000_000)
    process = psutil.Process()
    before = process.memory_info().rss
    machine = Machine()
    worst = 0.0
    started = time.perf_counter()
    for number in range(keys):
        key = b"/registry/core/configmaps/default/map-%09d" % (number * 7919 % keys)
        began = time.perf_counter()
        machine.apply(Command(Transaction(success=(Put(key, b"%d" % number + bytes(250)),))))
        if number % 1000 == 999:
            machine.apply(Command(Compact(machine.revision - 500)))
        worst = max(worst, time.perf_counter() - began)
    spent = time.perf_counter() - started
    used = process.memory_info().rss - before
    print(f"fill {keys} keys of 256 B: {spent / keys * 1e6:.1f} us/key, longest {worst * 1e3:.1f} ms, ", end="")
    print(f"{used / keys:.0f} B/key")
    started = time.perf_counter()
    chunks = checkpoint.take(machine)
    taken = time.perf_counter() - started
    longest = 0.0
    whole = []
    while True:
        began = time.perf_counter()
        chunk = next(chunks, None)
        longest = max(longest, time.perf_counter() - began)
        if chunk is None:
            break
        whole.append(chunk)
    wrote = time.perf_counter() - started
    print(f"snapshot: freeze {taken * 1e3:.1f} ms, whole {wrote:.2f} s, longest chunk {longest * 1e3:.1f} ms")
    started = time.perf_counter()
    loaded = checkpoint.load(whole)
    print(f"load: {time.perf_counter() - started:.2f} s")
    assert loaded.history.current.keys() == machine.history.current.keys()


def main() -> None:
    measure("machine", machine_only)
    measure("machine, encoded and decoded", with_decoding)
    measure("machine, compacting", with_compaction)
    measure("machine, one watch of everything", watched())
    fill(int(sys.argv[1]) if len(sys.argv) > 1 else 200_000)


if __name__ == "__main__":
    main()
