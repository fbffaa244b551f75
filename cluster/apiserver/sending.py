"""Answers on their way to the client: whole, in pieces, as streams, from another server, or as something not HTTP."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from functools import lru_cache
from http import HTTPStatus
from typing import cast

from aiohttp import HttpVersion10, web
from aiohttp.helpers import rfc822_formatted_time
from multidict import CIMultiDict

from oarlock.cluster.apiserver import wireform
from oarlock.cluster.apiserver.connection import ChunkedWire, Connection, NamelessStream, PlainWire
from oarlock.cluster.apiserver.exchange import (
    Parts,
    Relayed,
    Request,
    Response,
    Rest,
    Stream,
    Takeover,
    warning_headers,
)
from oarlock.cluster.takeover import Taken

_PHRASES = {code.value: code.phrase for code in HTTPStatus}
_BODYLESS = frozenset({204, 304})
PIECE_BYTES = 48 * 1024
"""Large bodies go out in pieces of this size, three TLS records, one in a turn of the loop however many clients are
being sent one. With larger pieces a list costs a few percent less CPU, and everybody else waits longer.
"""


async def send(raw: web.BaseRequest, request: Request, answer: Response | Relayed | Takeover) -> web.StreamResponse:
    """Send `answer` in the form that the request asks for. A stream has its own way: `stream`."""
    match answer:
        case Relayed():
            return await _relay(raw, answer)
        case Takeover():
            with _lasting(raw):
                return await _take_over(raw, answer)
    answer = await wireform.finished(request, answer)
    if isinstance(answer.body, Parts):
        return await _pieces(raw, answer, answer.body, request.warnings)
    return Whole(answer, request.warnings)


@contextlib.contextmanager
def _lasting(raw: web.BaseRequest) -> Iterator[None]:
    """Mark the connection while an answer lasts whose end is up to others."""
    connection = raw.protocol
    assert isinstance(connection, Connection)
    connection.is_lasting = True
    try:
        yield
    finally:
        connection.is_lasting = False


class Whole(web.StreamResponse):
    """An answer that is sent in one piece: what aiohttp asks of a response and no more, at a third of the cost."""

    def __init__(self, answer: Response, warnings: list[str]) -> None:  # no call of super: what it makes isn't used
        self._status = answer.status
        self._answer = answer
        self._warnings = warnings
        self._head = b""
        self._connection: Connection | None = None
        self._sends_body = True

    async def prepare(self, request: web.BaseRequest) -> None:
        answer, version = self._answer, request.version
        self._connection = cast(Connection, request.protocol)
        self._keep_alive = lasts = request.keep_alive
        lines = [_status_line(version.minor, answer.status)]
        if answer.headers:
            lines += [f"{name}: {value}" for name, value in _headers(answer).items()]
        else:
            lines.append(_usual_headers(answer.content_type))
        if self._warnings:
            lines += [f"Warning: {value}" for value in warning_headers(self._warnings)]
        lines.append(f"Date: {rfc822_formatted_time()}")
        if answer.status not in _BODYLESS:
            lines.append(f"Content-Length: {len(answer.body)}")
        if version == HttpVersion10:
            if lasts:
                lines.append("Connection: keep-alive")
        elif not lasts:
            lines.append("Connection: close")
        self._sends_body = request.method != "HEAD" and answer.status not in _BODYLESS
        self._head = "\r\n".join((*lines, "\r\n")).encode()

    async def write_eof(self, data: bytes = b"") -> None:  # noqa: ARG002 - aiohttp's signature
        connection = self._connection
        assert connection is not None
        transport = connection.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the client went away")
        body = bytes(self._answer.body) if self._sends_body else b""
        if len(body) <= PIECE_BYTES:
            transport.write(self._head + body)
        else:
            transport.writelines((self._head, body))
        await connection.drained()


@lru_cache(maxsize=256)
def _status_line(minor: int, status: int) -> str:
    return f"HTTP/1.{minor} {status} {_PHRASES.get(status, '')}"


@lru_cache(maxsize=64)
def _usual_headers(content_type: str) -> str:
    return "\r\n".join(f"{name}: {value}" for name, value in _headers(Response(content_type=content_type)).items())


def _headers(answer: Response | Stream) -> dict[str, str]:
    return {"Content-Type": answer.content_type, "Cache-Control": "no-cache, private", **answer.headers}


async def _pieces(raw: web.BaseRequest, answer: Response, body: Parts, warnings: list[str]) -> web.StreamResponse:
    response = NamelessStream(status=answer.status, headers=_headers(answer))
    response.content_length = len(body)
    for value in warning_headers(warnings):
        response.headers.add("Warning", value)
    await response.prepare(raw)
    if raw.method != "HEAD":
        turns = cast(Connection, raw.protocol).turns
        for piece in body.pieces(PIECE_BYTES):
            async with turns:
                await asyncio.sleep(0)
            await response.write(piece)  # which waits for slow readers, each for itself
    await response.write_eof()
    return response


async def stream(raw: web.BaseRequest, answer: Stream) -> web.StreamResponse:
    """Send an answer that is written while it is being made, and keep as little as possible meanwhile."""
    if answer.lasting:
        with _lasting(raw):
            return await _streamed(raw, answer)
    return await _streamed(raw, answer)


async def _streamed(raw: web.BaseRequest, answer: Stream) -> web.StreamResponse:
    response = NamelessStream(status=answer.status, headers=_headers(answer))
    has_chunks = raw.version > HttpVersion10
    if has_chunks:
        response.enable_chunked_encoding()
    else:
        response.force_close()
    await response.prepare(raw)
    if raw.method == "HEAD":
        return response
    connection = raw.protocol
    assert isinstance(connection, Connection)
    connection.keep_open()
    wire = ChunkedWire(connection) if has_chunks else PlainWire(connection)
    with contextlib.suppress(ConnectionError):
        rest = await answer.run(wire)
        if rest is not None:
            if has_chunks and raw.content.is_eof() and connection.left_to(rest, stays=bool(response.keep_alive)):
                wire.left()
                return Taken()
            await _ended(rest)
        await response.write_eof()
    return response


async def _ended(rest: Rest) -> None:
    """Wait for the end of an answer whose connection can't be left to it."""
    over = asyncio.Event()
    try:
        rest.begin(over.set)
        await over.wait()
    finally:
        rest.gone()


async def _relay(raw: web.BaseRequest, answer: Relayed) -> web.StreamResponse:
    response = NamelessStream(status=answer.status, headers=CIMultiDict(answer.headers))
    if raw.version == HttpVersion10 and response.content_length is None:
        response.force_close()
    try:
        await response.prepare(raw)
        if raw.method != "HEAD":
            async for piece in answer.pieces:
                await response.write(piece)
        await response.write_eof()
    except ConnectionError:
        # The client must not take half an answer for a whole one.
        if raw.transport is not None:
            raw.transport.abort()
    finally:
        answer.close()
    return response


async def _take_over(raw: web.BaseRequest, answer: Takeover) -> web.StreamResponse:
    connection = raw.protocol
    assert isinstance(connection, Connection)
    taken = connection.taken_over()
    with contextlib.suppress(ConnectionError):
        await taken.write(answer.head)
        await answer.run(taken)
    return Taken()
