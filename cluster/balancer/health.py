"""Active health checks: one kept-open HTTPS connection a backend, so that a backend's death is an event."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from oarlock.cluster.balancer.pool import Backend, Health
from oarlock.cluster.balancer.settings import BalancerSettings, Tls

T = TypeVar("T")
log = logging.getLogger(__name__)

BODY_BYTES_MAX = 64 << 10
# A server that is about to stop says so in this check of /readyz. Source: kube-apiserver's "shutdown" readiness check.
SHUTDOWN_MARK = b"[-]shutdown"


class CheckError(Exception):
    """The backend did not answer as an HTTP server does."""


class HealthCheck:
    """Follows one backend's /readyz and tells `changed` about each new state."""

    def __init__(
        self, backend: Backend, settings: BalancerSettings, context: ssl.SSLContext, changed: Callable[[Backend], None]
    ) -> None:
        self._backend = backend
        self._settings = settings
        self._context = context
        self._changed = changed
        self._wake = asyncio.Event()
        self._heard = 0.0
        """When the backend last answered, or was asked for the first time: one that is late then is not yet dead."""

    def now(self) -> None:
        """Check at once: a connection to this backend has just failed."""
        self._wake.set()

    async def run(self) -> None:
        """Check until cancelled; never raises for what a backend does."""
        self._heard = asyncio.get_running_loop().time()
        while True:
            try:
                await self._follow_connection()
            except TimeoutError:
                self._late()
            except (OSError, EOFError, CheckError, ValueError) as error:
                self._report(Health.DEAD, str(error) or type(error).__name__)
            await self._pause(self._settings.retry_interval_s)

    async def _follow_connection(self) -> None:
        """Check over one connection while it lasts. Returns when a backend has closed it, or says that it will."""
        reader, writer = await self._answer(asyncio.open_connection(*self._backend.address, ssl=self._context))
        try:
            while True:
                health, reason, kept = await self._answer(self._ask(reader, writer))
                self._heard = asyncio.get_running_loop().time()
                self._report(health, reason)
                if not kept:
                    return
                interval = (
                    self._settings.check_interval_s if health is Health.READY else self._settings.retry_interval_s
                )
                if await self._ended(reader, interval):
                    # The answer to the next connection attempt decides whether it is dead.
                    self._wake.set()
                    return
        finally:
            writer.transport.abort()

    async def _answer(self, asked: Coroutine[Any, Any, T]) -> T:
        """Return what comes of it. Raises TimeoutError after half the time at which silence means death.

        An answer that is late tells that the backend is slow, and that it lives: only silence tells that it may not.
        """
        settings = self._settings
        answer = asyncio.get_running_loop().create_task(asked)
        try:
            await asyncio.wait({answer}, timeout=settings.check_timeout_s)
            if not answer.done():
                self._late()
                await asyncio.wait({answer}, timeout=max(0.0, settings.silence_s / 2 - settings.check_timeout_s))
            if not answer.done():
                raise TimeoutError
            return answer.result()
        finally:
            answer.cancel()

    def _late(self) -> None:
        """Report a backend that has not answered in time."""
        silent_s = asyncio.get_running_loop().time() - self._heard
        health = Health.SLOW if silent_s < self._settings.silence_s else Health.DEAD
        self._report(health, "no answer in time")

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> tuple[Health, str, bool]:
        """Return how the backend is, in words too, and whether it keeps the connection."""
        host, port = self._backend.address
        writer.write(f"GET /readyz HTTP/1.1\r\nHost: {host}:{port}\r\nAccept: */*\r\n\r\n".encode())
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError:
            raise CheckError("the answer to /readyz has an endless head") from None
        lines = head.split(b"\r\n")
        status = int(lines[0].split(b" ", 2)[1])
        headers = dict(line.lower().split(b":", 1) for line in lines[1:] if b":" in line)
        length = int(headers.get(b"content-length", b"-1"))
        if not 0 <= length <= BODY_BYTES_MAX:
            raise CheckError("the answer to /readyz has no usable Content-Length")
        body = await reader.readexactly(length)
        kept = headers.get(b"connection", b"").strip() != b"close"
        if status == 200:
            return Health.READY, "ready", kept
        if SHUTDOWN_MARK in body:
            return Health.DRAINING, "shutting down", kept
        return Health.NOT_READY, f"/readyz answers {status}", kept

    async def _ended(self, reader: asyncio.StreamReader, interval_s: float) -> bool:
        """Wait for the next check's time and tell whether the backend closed the connection meanwhile."""
        self._wake.clear()
        waits = [asyncio.ensure_future(reader.read(1)), asyncio.ensure_future(self._wake.wait())]
        try:
            done, _ = await asyncio.wait(waits, timeout=interval_s, return_when=asyncio.FIRST_COMPLETED)
            return waits[0] in done
        finally:
            for wait in waits:
                wait.cancel()
            await asyncio.gather(*waits, return_exceptions=True)

    async def _pause(self, interval_s: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._wake.wait(), interval_s)
        self._wake.clear()

    def _report(self, health: Health, reason: str) -> None:
        if self._backend.set_health(health, reason):
            level = logging.INFO if health is Health.READY else logging.WARNING
            log.log(level, "backend=%s health=%s reason=%r", self._backend.name, health.name.lower(), reason)
            self._changed(self._backend)


def client_context(tls: Tls) -> ssl.SSLContext:
    """Return a context that trusts the cluster's CA alone."""
    context = ssl.create_default_context(cafile=str(tls.ca_file))
    if tls.cert_file and tls.key_file:
        context.load_cert_chain(str(tls.cert_file), str(tls.key_file))
    return context
