"""Where Ray's GCS keeps its state: hashes behind the RESP front of this host, under the lease's epoch.

Beside the GCS's own hashes there is one of ours: of which generation the state is, and which actors there have to be.
A cluster that was brought up anew has a new generation and begins with an empty state; what Ray's programs would have a
driver write into it first is written here. Source: Ray 2.60, gcs_kv_manager.cc (`@namespace_<namespace>:<key>`).
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import platform
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict
from importlib.metadata import version
from typing import Final

from oarlock.actors.shell.ray_processes import NAMESPACE, SESSION, HeadSettings, Hosted

_OURS: Final = "oarlock"
_CONNECT_S: Final = 12.0
"""Longer than the front holds a reply while the store has no leader."""
_ANSWERS_S: Final = 15.0
_LINE_BYTES_MAX: Final = 1 << 20

Words = Sequence[bytes | str]


class StateUnreachable(Exception):
    """The front doesn't answer, or refuses; the message tells which."""


def cluster_id(generation: str) -> str:
    """Return Ray's id of the cluster, 28 bytes in hexadecimal: known to all nodes without asking."""
    return hashlib.sha224(generation.encode()).hexdigest()


async def prepare(head: HeadSettings, fence: str, wanted: Sequence[Hosted]) -> tuple[bool, tuple[Hosted, ...]]:
    """Return whether the state was made anew, and the actors that there have to be.

    Raises StateUnreachable; a state that was half made is made anew by the next.
    """
    async with _session(head, fence) as session, asyncio.timeout(_ANSWERS_S):
        if await session.ask("HGET", _OURS, "generation") == head.generation.encode():
            kept = await session.ask("HGET", _OURS, "actors")
            assert isinstance(kept, bytes), "the generation is written last"
            return False, tuple(Hosted(**entry) for entry in json.loads(kept))
        await session.ask("FLUSHDB")
        await session.ask("HSET", f"RAY{NAMESPACE}@KV", *_first_words(head.generation))
        await session.ask("HSET", _OURS, "actors", json.dumps([asdict(one) for one in wanted]))
        await session.ask("HSET", _OURS, "generation", head.generation)
        return True, tuple(wanted)


async def until_cut(head: HeadSettings, fence: str) -> None:
    """Hold a connection under the fence until the front ends it, or itself. Raises StateUnreachable."""
    async with _session(head, fence) as session:
        await session.ended()
    raise StateUnreachable("the front has closed the connection")


def _first_words(generation: str) -> Words:
    versions = {"ray_version": version("ray"), "python_version": platform.python_version()}
    return (
        "@namespace_cluster:ray_cluster_id",
        bytes.fromhex(cluster_id(generation)),
        "@namespace_cluster:CLUSTER_METADATA",
        json.dumps(versions),
        "@namespace_session:session_name",
        SESSION,
    )


class _Session:
    """One authenticated connection to the front."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def ask(self, *words: bytes | str) -> bytes | int | None:
        """Return the reply, a status as bytes. Raises StateUnreachable for an error."""
        parts = [word.encode() if isinstance(word, str) else word for word in words]
        self._writer.write(b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%b\r\n" % (len(one), one) for one in parts))
        line = (await self._reader.readuntil(b"\r\n"))[:-2]
        kind, rest = line[:1], line[1:]
        if kind == b"$":
            size = int(rest)
            return None if size < 0 else (await self._reader.readexactly(size + 2))[:-2]
        if kind == b"-":
            raise StateUnreachable(rest.decode(errors="replace"))
        return int(rest) if kind == b":" else rest

    async def ended(self) -> None:
        """Return when the front has closed, which says nothing unasked."""
        await self._reader.read(1)


@asynccontextmanager
async def _session(head: HeadSettings, fence: str) -> AsyncIterator[_Session]:
    try:
        async with asyncio.timeout(_CONNECT_S):
            where = (head.state_host, head.state_port)
            reader, writer = await asyncio.open_connection(*where, ssl=_tls(head), limit=_LINE_BYTES_MAX)
        try:
            session = _Session(reader, writer)
            async with asyncio.timeout(_CONNECT_S):
                await session.ask("AUTH", fence, head.state_password)
            yield session
        finally:
            writer.close()
    except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
        raise StateUnreachable(str(error) or type(error).__name__) from error


def _tls(head: HeadSettings) -> ssl.SSLContext | None:
    if not head.state_ca_file:
        return None
    context = ssl.create_default_context(cafile=head.state_ca_file)
    context.load_cert_chain(head.state_cert_file, head.state_key_file)
    return context
