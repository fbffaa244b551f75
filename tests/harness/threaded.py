"""An API server in a thread of its own, for clients that block: without nodes, and with controllers if asked for."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeVar

from harness.apiserver import controllers_beside, start_api_server

from oarlock.consensus.memory import MemoryStore

T = TypeVar("T")
PATIENCE_S = 60


class ThreadedApiServer:
    """May be stopped and started again, at the same address and over the same store."""

    def __init__(self, folder: Path, settings: dict[str, Any], *, controllers: bool = False) -> None:
        self._folder, self._settings, self._controllers = folder, settings, controllers
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._store = self._run(_made(MemoryStore))
        self._running: AsyncExitStack | None = None

    @property
    def kubeconfig(self) -> Path:
        return self._folder / "kubeconfig"

    def start(self) -> None:
        self._running = AsyncExitStack()
        context = start_api_server(self._folder, self._store, **self._settings)
        running = self._run(self._running.enter_async_context(context))
        self._settings["port"] = running.server.port
        if self._controllers:
            self._run(self._running.enter_async_context(controllers_beside(running)))

    def stop(self) -> None:
        running, self._running = self._running, None
        if running is not None:
            self._run(_ended(running))

    def close(self) -> None:
        """Stop the server, and the thread too."""
        self.stop()
        self._run(self._store.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE_S)
        self._loop.close()

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(PATIENCE_S)


async def _ended(running: AsyncExitStack) -> None:
    """Leave the context, and cut off what a process that ends would: connections accepted at the last moment."""
    await running.aclose()
    strays = asyncio.all_tasks() - {asyncio.current_task()}
    for task in strays:
        task.cancel()
    await asyncio.gather(*strays, return_exceptions=True)


async def _made(make: type[T]) -> T:
    return make()


@contextmanager
def threaded_api_server(folder: Path, *, controllers: bool = False, **settings: Any) -> Iterator[ThreadedApiServer]:
    """Run an API server beside the test; `settings` are fields of ApiServerSettings."""
    server = ThreadedApiServer(folder, settings, controllers=controllers)
    try:
        server.start()
        yield server
    finally:
        server.close()
