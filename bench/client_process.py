"""A benchmark's client in a process of its own, told what to do over a pipe."""

from __future__ import annotations

import asyncio
import multiprocessing
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import uvloop

from bench.drivers import Driver, EtcdDriver, OarlockDriver
from bench.trios import EtcdTrio, Trio
from bench.workloads import Sample, Workloads, measure, measure_watch
from oarlock.cluster.boot.pki import CertificateFiles

ANSWER_S = 180.0
WATCH_CONNECTIONS = 4


@dataclass(frozen=True)
class ClientSettings:
    """`servers` are the processes whose CPU time is counted."""

    system: str
    endpoints: Sequence[tuple[str, int]]
    certificates: CertificateFiles
    servers: Sequence[int]

    @classmethod
    def of(cls, trio: Trio) -> ClientSettings:
        return cls(trio.system, list(trio.endpoints.values()), trio.client, list(trio.pids.values()))


class ClientProcess:
    """Calls of `_Client`'s methods in the other process. A failure there is raised here."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe

    def fill(self, keys: int, value_bytes: int, prefix: bytes) -> None:
        self._call("fill", keys, value_bytes, prefix)

    def prepare(self) -> None:
        self._call("prepare")

    def measure(self, name: str, in_flight: int, seconds: float) -> Sample:
        sample = self._call("measure", name, in_flight, seconds)
        assert isinstance(sample, Sample)
        return sample

    def watch(self, watchers: int, in_flight: int, seconds: float) -> Sample:
        sample = self._call("watch", watchers, in_flight, seconds)
        assert isinstance(sample, Sample)
        return sample

    def compact(self) -> None:
        self._call("compact")

    def _call(self, name: str, *arguments: object) -> object:
        self._pipe.send((name, arguments))
        if not self._pipe.poll(ANSWER_S):
            raise TimeoutError(f"{name}{arguments} took more than {ANSWER_S:g} s")
        answer = self._pipe.recv()
        if isinstance(answer, Exception):
            raise answer
        return answer


@contextmanager
def client_process(settings: ClientSettings) -> Iterator[ClientProcess]:
    """Run a client; its process is gone afterwards. Raises what its start raised."""
    context = multiprocessing.get_context("spawn")
    ours, its = context.Pipe()
    process = context.Process(target=_main, args=(settings, its), daemon=True)
    process.start()
    its.close()
    try:
        client = ClientProcess(ours)
        client._call("start")  # noqa: SLF001 - nobody else can call it before this
        yield client
        client._call("close")  # noqa: SLF001
        process.join(10)
    finally:
        ours.close()
        process.kill()
        process.join()


def new_driver(settings: ClientSettings) -> Driver:
    kind = EtcdDriver if settings.system == EtcdTrio.system else OarlockDriver
    return kind(list(settings.endpoints), settings.certificates)


class _Client:
    """What runs in the client's process."""

    def __init__(self, settings: ClientSettings) -> None:
        self._settings = settings
        self._driver = new_driver(settings)
        self._workloads = Workloads(self._driver)

    async def start(self) -> None:
        await self._driver.start()

    async def prepare(self) -> None:
        await self._workloads.prepare()

    async def fill(self, keys: int, value_bytes: int, prefix: bytes) -> None:
        await self._workloads.fill(keys, bytes(value_bytes), prefix)

    async def measure(self, name: str, in_flight: int, seconds: float) -> Sample:
        return await measure(self._workloads.step(name), in_flight, seconds, self._settings.servers)

    async def watch(self, watchers: int, in_flight: int, seconds: float) -> Sample:
        drivers = [new_driver(self._settings) for _ in range(WATCH_CONNECTIONS)]
        try:
            for driver in drivers:
                await driver.start()
            return await measure_watch(drivers, watchers, in_flight, seconds, self._settings.servers)
        finally:
            for driver in drivers:
                await driver.close()

    async def compact(self) -> None:
        await self._driver.compact()

    async def close(self) -> None:
        await self._driver.close()


def _main(settings: ClientSettings, pipe: Connection) -> None:
    uvloop.run(_serve(settings, pipe))


async def _serve(settings: ClientSettings, pipe: Connection) -> None:
    client = _Client(settings)
    loop = asyncio.get_running_loop()
    name = ""
    while name != "close":
        name, arguments = await loop.run_in_executor(None, pipe.recv)
        answer: Any
        try:
            answer = await getattr(client, name)(*arguments)
        except Exception as error:  # noqa: BLE001 - it is the other process' to judge
            answer = RuntimeError(f"{settings.system}: {name}{arguments}: {error!r}")
        pipe.send(answer)
