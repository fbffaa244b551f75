"""An API server for tests that send it whatever they like, and what every answer must keep to."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import pytest
from harness.apiserver import start_api_server

SECRET = "s3cr3t-t0k3n"


@dataclass
class Target:
    """A server that trusts everybody; `complaints` are what it logged as failures of its own."""

    url: str
    complaints: list[str] = field(default_factory=list)

    @property
    def address(self) -> tuple[str, int]:
        parts = urlsplit(self.url)
        assert parts.hostname
        assert parts.port
        return parts.hostname, parts.port

    def check(self, code: int, content_type: str, body: bytes) -> None:
        """Fail unless the answer is one that a client may get, whatever it sent."""
        assert not self.complaints, self.complaints
        assert code < 500 or code in (503, 504), (code, body)
        assert SECRET.encode() not in body
        assert b"Traceback" not in body
        if code >= 400 and content_type.startswith("application/json"):
            answer = json.loads(body)
            assert (answer["kind"], answer["status"], answer["code"]) == ("Status", "Failure", code)


class _Complaints(logging.Handler):
    def __init__(self, target: Target) -> None:
        super().__init__(logging.WARNING)
        self._target = target

    def emit(self, record: logging.LogRecord) -> None:
        self._target.complaints.append(self.format(record))


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    folder = tmp_path_factory.mktemp("fuzzed")
    started: list[Target] = []
    ready, ends = threading.Event(), []

    async def serve() -> None:
        stop = asyncio.Event()
        # Without controllers nobody makes the accounts that pods would wait for.
        disabled = ("ServiceAccount",)
        async with start_api_server(folder, tls=None, kubelet_tls=None, disabled_plugins=disabled) as api:
            started.append(Target(api.url))
            ends.append((asyncio.get_running_loop(), stop))
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    assert ready.wait(30)
    handler = _Complaints(started[0])
    loggers = [logging.getLogger(name) for name in ("oarlock", "aiohttp.server", "asyncio")]
    for logger in loggers:
        logger.addHandler(handler)
    yield started[0]
    for logger in loggers:
        logger.removeHandler(handler)
    loop, stop = ends[0]
    loop.call_soon_threadsafe(stop.set)
    thread.join(30)


@pytest.fixture(scope="session")
def secret() -> str:
    return SECRET


Check = Callable[[int, str, bytes], Any]
