"""Calls webhooks: HTTPS to a URL or to what is behind a Service, within a time and a size.

A webhook that hangs keeps nobody but its own callers waiting: how many wait for one, and for all, is bounded.
Source: apiserver pkg/util/webhook (client.go, authentication.go); what failures are called: client-go's rest client,
apimachinery pkg/api/errors (NewGenericServerResponse), Go's net/http and crypto/tls.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import Counter, OrderedDict
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp
import orjson
from yarl import URL

from oarlock.cluster.apiserver.backends import Backend, failure_words
from oarlock.cluster.apiserver.endpoints import Endpoints, NoEndpoint
from oarlock.cluster.objects import status
from oarlock.cluster.objects.gotext import quote
from oarlock.cluster.objects.webhook_client import ClientConfig

TIMEOUT_S = 30.0
ANSWER_BYTES_MAX = 16 << 20
CALLS_MAX = 400
CALLS_OF_ONE_MAX = 100
"""Calls under way at one time, of all webhooks and of each; who comes then is answered with 429."""
CONTEXTS_MAX = 500
_SHOWN_BYTES_MAX: Final = 2048
_HEADERS: Final = {
    "Accept": "application/json, */*",
    "Accept-Encoding": "identity",
    "Content-Type": "application/json",
    "User-Agent": "kube-apiserver-admission",
}

#: What an answer's code means where the body says nothing better.
_MEANINGS: Final = {
    400: "the server rejected our request for an unknown reason",
    401: "the server has asked for the client to provide credentials",
    404: "the server could not find the requested resource",
    405: "the server does not allow this method on the requested resource",
    409: "the server reported a conflict",
    422: "the server rejected our request due to an error in our request",
    429: "the server has received too many requests and has asked us to try again later",
    503: "the server is currently unable to handle the request",
    504: "the server was unable to return a response in the time allotted, but may still be processing the request",
}
_UNKNOWN_AUTHORITY: Final = "certificate signed by unknown authority"
#: Why OpenSSL refuses a certificate, by its number, in Go's words.
_REFUSALS: Final = {
    9: "certificate has expired or is not yet valid",
    10: "certificate has expired or is not yet valid",
    18: _UNKNOWN_AUTHORITY,
    19: _UNKNOWN_AUTHORITY,
    20: _UNKNOWN_AUTHORITY,
    21: _UNKNOWN_AUTHORITY,
}


class CallFailed(Exception):
    """A webhook gave no answer that can be used; the message is why."""


class Webhooks:
    """Calls webhooks over connections that are kept; a configuration that changes gets connections of its own."""

    def __init__(self, endpoints: Endpoints) -> None:
        self._endpoints = endpoints
        self._contexts: OrderedDict[ClientConfig, ssl.SSLContext] = OrderedDict()
        self._calls: Counter[ClientConfig] = Counter()
        self._session: aiohttp.ClientSession | None = None

    async def stop(self) -> None:
        """Close the connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def ask(self, config: ClientConfig, body: bytes) -> bytes:
        """Post `body`, a JSON document, and return the answer's. Raises CallFailed, and ApiError 429."""
        if self._calls[config] >= CALLS_OF_ONE_MAX or self._calls.total() >= CALLS_MAX:
            raise status.too_many_requests(f"too many requests wait for the webhook at {config.address}")
        url = _asked(config)
        self._calls[config] += 1
        try:
            async with asyncio.timeout(TIMEOUT_S):
                return await self._post(config, url, body)
        except TimeoutError:
            raise CallFailed(f"Post {quote(url)}: context deadline exceeded") from None
        except NoEndpoint as error:
            raise CallFailed(f"Post {quote(url)}: {error}") from None
        except (ssl.SSLError, ValueError) as error:
            raise CallFailed(f"unable to load root certificates: {error}") from None
        finally:
            self._calls[config] -= 1
            if not self._calls[config]:
                del self._calls[config]

    async def _post(self, config: ClientConfig, url: str, body: bytes) -> bytes:
        parts = urlsplit(url)
        name, port = parts.hostname or "", parts.port or 443
        service = config.service
        host, port = self._endpoints.behind(service.namespace, service.name, port) if service else (name, port)
        backend = Backend(host, port, self._context(config))
        target = URL(f"{backend.url}{parts.path}?{parts.query}", encoded=True)
        try:
            async with self._client().post(
                target,
                data=body,
                headers={**_HEADERS, "Host": parts.netloc},
                ssl=backend.tls or True,
                server_hostname=name,
                allow_redirects=False,
            ) as answer:
                return await _read(answer)
        except (aiohttp.ClientError, OSError) as error:
            raise CallFailed(f"Post {quote(url)}: {_words(error, backend, name)}") from None

    def _client(self) -> aiohttp.ClientSession:
        if self._session is None:
            # How many connections there are is bounded by the calls.
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0),
                timeout=aiohttp.ClientTimeout(total=None),
                auto_decompress=False,
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        return self._session

    def _context(self, config: ClientConfig) -> ssl.SSLContext:
        """Connections are shared by their context, so each configuration has its own."""
        found = self._contexts.get(config)
        if found is None:
            found = self._contexts[config] = _trusting(config.bundle)
            if len(self._contexts) > CONTEXTS_MAX:
                self._contexts.popitem(last=False)
        self._contexts.move_to_end(config)
        return found


def _trusting(bundle: bytes) -> ssl.SSLContext:
    """A context that trusts a bundle alone, as Go would: any certificate in it, and names in certificates' SANs only.

    Raises ssl.SSLError, ValueError.
    """
    context = ssl.create_default_context(cadata=bundle.decode("ascii", "replace") if bundle else None)
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    context.hostname_checks_common_name = False
    return context


def _asked(config: ClientConfig) -> str:
    address = config.address.rstrip("/")
    path = "" if urlsplit(address).path else "/"
    return f"{address}{path}?timeout={TIMEOUT_S:g}s"


async def _read(answer: aiohttp.ClientResponse) -> bytes:
    pieces: list[bytes] = []
    left = ANSWER_BYTES_MAX
    async for piece in answer.content.iter_any():
        left -= len(piece)
        if left < 0:
            answer.close()
            raise CallFailed(f"the answer is larger than {ANSWER_BYTES_MAX} bytes")
        pieces.append(piece)
    body = b"".join(pieces)
    if not 200 <= answer.status <= 206:
        raise CallFailed(_refusal(answer, body))
    if not body:
        kind = answer.headers.get("Content-Type", "")
        raise CallFailed(f"0-length response with status code: {answer.status} and content type: {kind}")
    return body


def _refusal(answer: aiohttp.ClientResponse, body: bytes) -> str:
    code, kind = answer.status, answer.headers.get("Content-Type", "")
    told = _told(body)
    if told:
        return told
    text = "unknown"
    if not kind or kind.startswith("text/"):
        text = body[:_SHOWN_BYTES_MAX].decode(errors="replace").strip()
    if code in _MEANINGS:
        return _MEANINGS[code]
    if code in (403, 406, 415):
        return text
    if code >= 500:
        return f"an error on the server ({quote(text)}) has prevented the request from succeeding"
    return f"the server responded with the status code {code} but did not return more information"


def _told(body: bytes) -> str:
    """The message of a Status that tells of a failure."""
    try:
        found: Any = orjson.loads(body)
    except orjson.JSONDecodeError:
        return ""
    if not isinstance(found, dict) or (found.get("kind"), found.get("status")) != ("Status", "Failure"):
        return ""
    return str(found.get("message") or "")


def _words(error: Exception, backend: Backend, name: str) -> str:
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return f"dial tcp: lookup {backend.host}: no such host"
    for inner in (getattr(error, "certificate_error", None), getattr(error, "os_error", None), error):
        if isinstance(inner, ssl.SSLCertVerificationError):
            why = _REFUSALS.get(inner.verify_code)
            if why is None:
                mismatch = inner.verify_code in (62, 64) or "match" in str(inner.verify_message)
                why = f"certificate is valid for other names, not {name}" if mismatch else inner.verify_message
            return f"tls: failed to verify certificate: x509: {why}"
        if isinstance(inner, ssl.SSLError) and inner.reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST"):
            return "http: server gave HTTP response to HTTPS client"
        if isinstance(inner, OSError) and inner.errno is not None:
            return failure_words(inner, backend)
    return "EOF"
