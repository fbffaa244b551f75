"""The last step of an answer: indented for people, compressed for the network.

Source: apiserver pkg/endpoints/handlers/responsewriters/writers.go and pkg/endpoints/handlers/negotiation.
"""

from __future__ import annotations

import asyncio
import zlib

import orjson

from oarlock.cluster.apiserver.exchange import JSON, Parts, Request, Response

GZIP_BYTES_MIN = 128 * 1024
"""Source: upstream's defaultGzipThresholdBytes. Smaller bodies cost more to compress than to send."""
PRETTY_BYTES_MAX = 8 * 1024 * 1024
"""Larger bodies are sent as they are: nobody reads them, and indenting them would stall everybody else."""
_GZIP_LEVEL = 1
_GZIP_PIECE_BYTES = 64 * 1024
_GZIP_WINDOW = 31
_BROWSERS = ("curl", "Wget", "Mozilla/5.0")


async def finished(request: Request, answer: Response) -> Response:
    """Return `answer` in the form that its client wants. Only bodies of successful reads are compressed."""
    if answer.content_type == JSON and _wants_pretty(request):
        answer = _indented(answer)
    if request.method == "GET" and answer.status == 200 and len(answer.body) >= GZIP_BYTES_MIN:
        answer.headers["Vary"] = _joined(answer.headers.get("Vary", ""), "Accept-Encoding")
        if _takes_gzip(request.headers.get("Accept-Encoding", "")):
            answer.body = await asyncio.get_running_loop().run_in_executor(None, compress, answer.body)
            answer.headers["Content-Encoding"] = "gzip"
    return answer


def compress(body: bytes | Parts) -> Parts:
    """Return a body compressed. Runs beside the loop: zlib lets others run."""
    stream = zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, _GZIP_WINDOW)
    pieces = body.pieces(_GZIP_PIECE_BYTES) if isinstance(body, Parts) else iter((body,))
    made = [*(piece for one in pieces if (piece := stream.compress(one))), stream.flush()]
    return Parts(sum(map(len, made)), lambda: iter(made))


def _wants_pretty(request: Request) -> bool:
    if request.query.has("pretty"):
        return request.query.flag("pretty")
    return request.headers.get("User-Agent", "").startswith(_BROWSERS)


def _indented(answer: Response) -> Response:
    if not 0 < len(answer.body) <= PRETTY_BYTES_MAX:
        return answer
    return Response(
        answer.status,
        orjson.dumps(orjson.loads(bytes(answer.body)), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE),
        answer.content_type,
        answer.headers,
    )


def _takes_gzip(accepted: str) -> bool:
    """Whether gzip is named without a condition, as upstream reads the header."""
    return any(one.strip() == "gzip" for one in accepted.split(","))


def _joined(names: str, name: str) -> str:
    return f"{names}, {name}" if names else name
