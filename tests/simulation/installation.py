"""Puts the store's modules into simulated surroundings: files, threads and clocks are the running process'."""

from __future__ import annotations

import contextlib
import fcntl
import os
import random
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from zlib import crc32

from pysyncobj import syncobj
from simulation.files import SimFcntl, SimOs
from simulation.process import Thread, running

import oarlock.consensus.client
import oarlock.consensus.server
import oarlock.consensus.table
from oarlock.consensus.diskthread import DiskThread

REPLACED = {id(os): SimOs(), id(fcntl): SimFcntl(), id(ThreadPoolExecutor): Thread, id(DiskThread): Thread}
"""By identity: what a module of the store may have imported, and what stands in for it."""

KNOBS: dict[tuple[str, str], tuple[int, ...]] = {
    ("retention", "STEP_REVISIONS"): (10, 30),
    ("machine", "SWEEP_MIN"): (1, 7, 64),
    ("index", "CHUNK_MAX"): (2, 5, 1024),
    ("sessions", "OUTCOME_BYTES_MAX"): (2000, 1 << 20),
    ("checkpoint", "CHUNK_BYTES"): (200, 2000, 256 << 10),
    ("checkpoint", "ROWS_MAX"): (3, 500),
    ("watch", "PENDING_MAX"): (2, 10, 1024),
    ("watch", "BATCH_EVENTS_MAX"): (2, 20, 1000),
    ("watch", "SCAN_MAX"): (3, 5000),
    ("replication", "APPEND_BYTES_MAX"): (200, 2000, 1 << 20),
    ("replication", "WINDOW_APPENDS"): (2, 256),
    ("replication", "PIECE_BYTES"): (300, 3000, 1 << 20),
    ("proposals", "BATCH_BYTES_MAX"): (200, 1 << 20),
    ("raft", "APPLY_ENTRIES_PER_TURN"): (1, 5, 256),
    ("leading", "UNSYNCED_ENTRIES_MAX"): (1, 4),
    ("wire", "PIECE_BYTES"): (300, 3000, 1 << 20),
    ("connection", "PART_BYTES"): (100, 256 << 10),
    ("connection", "UNSENT_BYTES_HIGH"): (2000, 1 << 20),
}
"""Limits that a world may lower so far that it meets them: (module, name) → what they may be."""


@contextlib.contextmanager
def installed(rng: random.Random) -> Iterator[None]:
    """Have the store run on simulated files, threads and clocks, with limits chosen by `rng`, within the block."""
    changes: list[tuple[Any, str, Any]] = [
        (syncobj, "monotonicTime", _monotonic),
        (threading.Thread, "start", _no_thread),
        (oarlock.consensus.server, "_spare_the_collector", lambda: None),
        (oarlock.consensus.table, "hash", crc32),  # Python's own differs from process to process
    ]
    for name in sorted(name for name in sys.modules if name.startswith("oarlock.consensus.")):
        module = sys.modules[name]
        changes += [(module, key, REPLACED[id(value)]) for key, value in vars(module).items() if id(value) in REPLACED]
    for (name, limit), choices in KNOBS.items():
        changes += [(sys.modules[f"oarlock.consensus.{name}"], limit, rng.choice(choices))]
    before = [(module, key, getattr(module, key, None)) for module, key, _ in changes]
    for module, key, value in changes:
        setattr(module, key, value)
    try:
        yield
    finally:
        for module, key, value in before:
            if value is None:
                delattr(module, key)
            else:
                setattr(module, key, value)


def _monotonic() -> float:
    return running().clock.time()


def _no_thread(thread: threading.Thread) -> None:
    raise AssertionError(f"{thread} can't be simulated: add it to tests/simulation/installation.py")
