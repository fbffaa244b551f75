"""Does to a cluster what may happen to one, out of a seed, and undoes it.

A fault is a generator: it does harm up to its `yield`, and makes good afterwards. Faults that need all other replicas
to be healthy, as replacing a damaged folder does, wait for that first.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from chaos.cluster import Cluster, Refused
from chaos.network import CLIENT

Settled = Callable[[], Awaitable[None]]
FULL_S = 8.0
"""How long a replica with a full disk may take to notice."""


class Unexpected(Exception):
    """A replica didn't meet a fault as it promises to."""


class Nemesis:
    """Chooses faults by weight. `leader` tells who leads, "" if nobody; `settled` returns once all have caught up."""

    def __init__(
        self, cluster: Cluster, rng: random.Random, leader: Callable[[], Awaitable[str]], settled: Settled
    ) -> None:
        self._cluster = cluster
        self._rng = rng
        self._leader = leader
        self._settled = settled
        self._harm: dict[str, tuple[Callable[[], AsyncIterator[str]], int]] = {
            "kill": (self._kill, 4),
            "pause": (self._pause, 3),
            "part": (self._part, 3),
            "isolate": (self._isolate, 3),
            "mute": (self._mute, 2),
            "deafen": (self._deafen, 2),
            "bridge": (self._bridge, 1),
            "full disk": (self._fill, 2),
            "torn tail": (self._tear, 2),
            "cut tail": (self._cut_tail, 1),
            "damaged journal": (self._damage_journal, 1),
            "damaged snapshot": (self._damage_snapshot, 1),
        }

    @property
    def kinds(self) -> list[str]:
        return list(self._harm)

    def choose(self) -> str:
        return self._rng.choices(self.kinds, [weight for _, weight in self._harm.values()])[0]

    @asynccontextmanager
    async def fault(self, kind: str) -> AsyncIterator[str]:
        """Do harm, tell what, and make good at the end of the block."""
        harm, _ = self._harm[kind]
        steps = harm()
        try:
            yield await anext(steps)
        finally:
            await anext(steps, None)

    # Processes

    async def _some(self) -> list[str]:
        """Choose the leader, any one, a majority or all."""
        names = self._cluster.names
        majority = len(names) // 2 + 1
        count = self._rng.choice((0, 0, 1, majority, len(names)))
        leader = await self._leader() if not count else ""
        return [leader] if leader else sorted(self._rng.sample(names, max(count, 1)))

    async def _kill(self) -> AsyncIterator[str]:
        names = await self._some()
        await asyncio.gather(*(self._cluster.kill(name) for name in names))
        yield " ".join(names)
        await asyncio.gather(*(self._cluster.boot(name) for name in names))

    async def _pause(self) -> AsyncIterator[str]:
        names = await self._some()
        for name in names:
            self._cluster.pause(name)
        yield " ".join(names)
        for name in names:
            self._cluster.resume(name)

    # Network

    async def _part(self) -> AsyncIterator[str]:
        """Two halves; the clients are with either, or see both."""
        names = self._rng.sample(self._cluster.names, len(self._cluster.names))
        border = self._rng.randrange(1, len(names))
        some, others = names[:border], names[border:]
        self._rng.choice((some, others, []))[:0] = [CLIENT]
        await self._cluster.network.part(some, others)
        yield f"{' '.join(some)} | {' '.join(others)}"
        await self._cluster.network.heal()

    async def _victim(self) -> tuple[str, list[str]]:
        """Choose a replica, mostly the leader; return it and the others."""
        leader = await self._leader() if self._rng.random() < 0.7 else ""
        name = leader or self._rng.choice(self._cluster.names)
        return name, [other for other in self._cluster.names if other != name]

    async def _isolate(self) -> AsyncIterator[str]:
        """One is cut off from its peers, and perhaps from clients."""
        name, others = await self._victim()
        cut_off = others if self._rng.random() < 0.5 else [*others, CLIENT]
        await self._cluster.network.part([name], cut_off)
        yield f"{name} | {' '.join(cut_off)}"
        await self._cluster.network.heal()

    async def _mute(self) -> AsyncIterator[str]:
        """One hears its peers and isn't heard."""
        name, others = await self._victim()
        await self._cluster.network.cut([name], others)
        yield f"{name} -> {' '.join(others)}"
        await self._cluster.network.heal()

    async def _deafen(self) -> AsyncIterator[str]:
        """One is heard by its peers and doesn't hear them."""
        name, others = await self._victim()
        await self._cluster.network.cut(others, [name])
        yield f"{' '.join(others)} -> {name}"
        await self._cluster.network.heal()

    async def _bridge(self) -> AsyncIterator[str]:
        """Two groups that only one replica between them can reach."""
        names = self._rng.sample(self._cluster.names, len(self._cluster.names))
        middle = len(names) // 2
        some, others = names[:middle], names[middle + 1 :]
        await self._cluster.network.part(some, others)
        yield f"{' '.join(some)} | {' '.join(others)}, both reach {names[middle]}"
        await self._cluster.network.heal()

    # Disks

    async def _fill(self) -> AsyncIterator[str]:
        """A replica with a full disk stops, and serves again with space."""
        name, _ = await self._victim()
        self._cluster.fill_disk(name)
        stopped = await self._cluster.ended(name, FULL_S)
        yield f"{name}, which {'stopped' if stopped else 'went on'}"
        self._cluster.free_disk(name)
        await self._cluster.boot(name)

    async def _tear(self) -> AsyncIterator[str]:
        """A crash leaves part of a write that nobody was told of: nothing is lost by cutting it off."""
        name, _ = await self._victim()
        await self._cluster.kill(name)
        rest = self._rng.choice((b"OLJB", b"OLJB\0\1", bytes(100), bytes(5000)))
        path = self._cluster.journal(name)
        with path.open("r+b") as file:
            file.seek(_written_bytes(path))
            file.write(rest)
        yield f"{name}, {len(rest)} bytes"
        await self._cluster.boot(name)

    async def _cut_tail(self) -> AsyncIterator[str]:
        """The end of the last batch is lost though it was synced, which no journal can tell from a torn one.

        The others hold what it held, so the leader repairs it; with a second fault at once that isn't promised.
        """
        name, _ = await self._alone()
        await self._cluster.kill(name)
        path = self._cluster.journal(name)
        size = _written_bytes(path)
        with path.open("r+b") as file:
            file.truncate(size - self._rng.randrange(1, 8))
        yield f"{name}, now {path.stat().st_size} of {size} bytes"
        await self._cluster.boot(name)
        await self._settled()

    async def _damage_journal(self) -> AsyncIterator[str]:
        name, _ = await self._alone()
        await self._cluster.kill(name)
        # The first third of a segment is never its last batch, which may be torn.
        where = self._flip(self._cluster.journal(name), 0.3)
        await self._must_refuse(name)
        yield f"{name}, {where}"
        await self._replace(name)

    async def _damage_snapshot(self) -> AsyncIterator[str]:
        name, _ = await self._alone()
        await self._cluster.kill(name)
        path = self._cluster.snapshot(name)
        if path is None:
            yield f"{name} has none yet"
            await self._cluster.boot(name)
            return
        where = self._flip(path, 1.0)
        await self._must_refuse(name)
        yield f"{name}, {where}"
        await self._replace(name)

    async def _alone(self) -> tuple[str, list[str]]:
        """Choose a replica while all are healthy."""
        await self._settled()
        return await self._victim()

    def _flip(self, path: Path, share: float) -> str:
        """Turn one bit round in the first `share` of a file."""
        data = bytearray(path.read_bytes())
        place = self._rng.randrange(max(int(_written_bytes(path) * share), 1))
        data[place] ^= 1 << self._rng.randrange(8)
        path.write_bytes(data)
        return f"byte {place} of {len(data)} of {path.name}"

    async def _must_refuse(self, name: str) -> None:
        try:
            await self._cluster.boot(name)
        except Refused as refusal:
            if "fault:" not in str(refusal) or "Traceback" in str(refusal):
                raise Unexpected(f"{name} refuses a damaged file without a clear message: {refusal}") from None
            return
        raise Unexpected(f"{name} starts with a damaged file")

    async def _replace(self, name: str) -> None:
        """The others being healthy, start it empty: the leader fills it again."""
        self._cluster.move_folder_away(name)
        await self._cluster.boot(name)
        await self._settled()


def _written_bytes(path: Path) -> int:
    """Return the size of a file without the zeros at its end, over which a journal goes on."""
    return len(path.read_bytes().rstrip(b"\0"))
