"""A store's watch that tells everything late."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from typing import Any

from oarlock.consensus.model import WatchBatch


class LaggingWatch:
    """Waits before each batch for a number of the loop's turns that `rng` chooses, fewer than `turns_max`."""

    def __init__(self, watch: Any, rng: random.Random, turns_max: int) -> None:
        self._watch = watch
        self._rng = rng
        self._turns_max = turns_max

    async def __aiter__(self) -> AsyncIterator[WatchBatch]:
        async for batch in self._watch:
            for _ in range(self._rng.randrange(self._turns_max)):
                await asyncio.sleep(0)
            yield batch

    async def close(self) -> None:
        await self._watch.close()
