"""Where a store's members listen for clients, and staying connected to one of them."""

from __future__ import annotations

import asyncio
import contextlib
import random
import ssl
from collections.abc import Callable
from dataclasses import dataclass

from oarlock.consensus.certificates import Certificates, tls_trouble
from oarlock.consensus.link import Link

DIAL_TIMEOUT_S = 5.0
REDIAL_S = (0.05, 1.0)
"""The first and the longest wait between two dials; each is jittered by half."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A host and port, with TLS if there are `certificates`, or a Unix socket's `path`."""

    host: str
    port: int
    path: str
    certificates: Certificates | None

    @classmethod
    def parse(cls, text: str, certificates: Certificates | None) -> Endpoint:
        """Read "host:port", "[v6]:port" or "unix:/path". Raises ValueError."""
        if text.startswith("unix:"):
            return cls("", 0, text.removeprefix("unix:"), None)
        host, _, port = text.rpartition(":")
        with contextlib.suppress(ValueError):
            if host and 0 < int(port) < 1 << 16:
                return cls(host.strip("[]"), int(port), "", certificates)
        raise ValueError(f"a store endpoint is host:port or unix:/path, not {text!r}")

    def __str__(self) -> str:
        return self.path or f"{self.host}:{self.port}"

    async def dial(self, link: Callable[[], Link]) -> Link:
        """Return a new link that is connected. Raises OSError, TimeoutError and ssl.SSLError."""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(DIAL_TIMEOUT_S):
            if self.path:
                return (await loop.create_unix_connection(link, self.path))[1]
            context = self.certificates.dialling if self.certificates else None
            return (await loop.create_connection(link, self.host, self.port, ssl=context))[1]


async def stay_connected(
    endpoint: Endpoint, new_link: Callable[[], Link], on_trouble: Callable[[str], None], rng: random.Random
) -> None:
    """Dial, wait until the link is lost, dial again, until cancelled."""
    loop = asyncio.get_running_loop()
    shortest_s, longest_s = REDIAL_S
    delay_s = shortest_s
    while True:
        dialled_s = loop.time()
        try:
            link = await endpoint.dial(new_link)
        except (OSError, ssl.SSLError, TimeoutError) as error:
            on_trouble(f"{endpoint}: {tls_trouble(error)}")
        else:
            try:
                await asyncio.shield(link.lost)
            finally:
                link.close()
            if loop.time() - dialled_s > longest_s:
                delay_s = shortest_s
        await asyncio.sleep(delay_s * (0.5 + rng.random()))
        delay_s = min(delay_s * 2, longest_s)
