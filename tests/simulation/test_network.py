"""Simulated connections lose nothing that TCP would not lose."""

from __future__ import annotations

import asyncio
import random
from collections import Counter

import pytest
from simulation.clock import HostClock, Schedule
from simulation.network import Network
from simulation.process import Process, Surroundings


class Reader(asyncio.Protocol):
    """Keeps what arrives."""

    def __init__(self) -> None:
        self.got = b""

    def data_received(self, data: bytes) -> None:
        self.got += data


@pytest.mark.parametrize("cut_after_s", [0.0, 0.0001, 0.0003, 0.0006, 0.001, 0.002, 0.01])
def test_bytes_written_behind_a_cut_arrive_after_it(cut_after_s: float) -> None:
    """Also if the cut falls while the two ends still shake hands."""
    schedule = Schedule()
    network = Network(schedule, random.Random(1), Counter(), lambda *_: None)
    errors: list[str] = []
    around = Surroundings(schedule, network, random.Random(2), lambda *what: errors.append(str(what)), lambda _: None)
    dialler, listener = (Process(around, host, HostClock(schedule, 0.0)) for host in ("a", "b"))
    reader = Reader()
    network.listen(listener, lambda: reader, "b", 1)

    async def write() -> None:
        transport, _ = await network.dial(dialler, asyncio.Protocol, "b", 1)
        transport.write(b"early")

    writing = dialler.start(write())
    schedule.after(cut_after_s, lambda: network.set_cuts({("a", "b"), ("b", "a")}))
    schedule.after(1.0, lambda: network.set_cuts(set()))
    schedule.run_until(schedule.now + 10)
    assert writing.done()
    assert (reader.got, errors) == (b"early", [])
    for process in (dialler, listener):
        process.loop.close()
