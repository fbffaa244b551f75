"""How a host asks join servers: first whether they are of the right cluster, and only then with anything secret."""

from __future__ import annotations

import http.client
import importlib.metadata
import json
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from oarlock.cluster.boot.errors import BootError
from oarlock.cluster.boot.hosts import PORTS
from oarlock.cluster.boot.joining import judging
from oarlock.cluster.boot.joining.judging import Asked, Refused
from oarlock.cluster.boot.joining.paths import OPEN
from oarlock.cluster.boot.jointokens import Token, ca_hash

ANSWER_S = 10.0
ANSWER_BYTES_MAX = 1 << 20
NOT_YET = 503


class NotReached(Exception):
    """A join server that doesn't answer, or not yet; another one may."""


@dataclass(frozen=True, slots=True)
class Met:
    """A join server of the right cluster: its address, the cluster's CA, and what it says of itself."""

    host: str
    port: int
    ca_pem: str
    instance: str
    version: str


def parse_url(text: str) -> tuple[str, int]:
    """Return host and port of `--join`. Raises BootError."""
    parts = urlsplit(text if "//" in text else f"https://{text}")
    try:
        port = parts.port or PORTS["join"]
    except ValueError:
        port = 0
    if parts.scheme != "https" or not parts.hostname or not port or parts.path not in ("", "/"):
        raise BootError(f"--join {text!r} is no join server", f"Write https://HOST:{PORTS['join']}.")
    return parts.hostname, port


def meet(host: str, port: int, wanted_hash: str, now: Callable[[], float] = time.time) -> Met:
    """Return a join server whose CA has the wanted hash. Nothing secret is said. Raises NotReached and BootError."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    status, document = _exchange(host, port, context, "GET", OPEN, {}, None)
    try:
        if status != http.client.OK:
            raise KeyError(f"status {status}")
        pem, at_s = str(document["ca"]), float(document["time_s"])
        found, met = ca_hash(pem), Met(host, port, pem, str(document["instance"]), str(document["version"]))
    except (KeyError, TypeError, ValueError):
        raise BootError(
            f"https://{host}:{port} is no join server",
            f"Name a server's port {PORTS['join']}, or the one it was given.",
        ) from None
    if found != wanted_hash:
        raise BootError(
            f"the token is of another cluster than the one at https://{host}:{port}: its CA has a different hash",
            "Take the token from that cluster (oarlock token), or join the one that the token is of.",
        )
    with refusals():
        # Before any certificate is looked at: with a wrong clock they all seem invalid.
        judging.check_clock(now() - at_s)
        judging.check_version(importlib.metadata.version("oarlock"), met.version)
    return met


def join(met: Met, path: str, token: Token, asked: Asked, more: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return what the cluster gives a host that has the token. Raises NotReached and BootError."""
    headers = {"Authorization": f"Bearer {token.secret}"}
    body = {**asdict(asked), **(more or {})}
    return _granted(met, _exchange(met.host, met.port, _verifying(met), "POST", path, headers, body))


def ask_as_host(
    met: Met, method: str, path: str, certificate: tuple[Path, Path], body: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return an answer to a host of the cluster, which shows its certificate. Raises NotReached and BootError."""
    context = _verifying(met)
    context.load_cert_chain(*certificate)
    return _granted(met, _exchange(met.host, met.port, context, method, path, {}, body))


def first_that_answers(
    urls: Sequence[str], wanted_hash: str, use: Callable[[Met], dict[str, Any]]
) -> tuple[Met, dict[str, Any]]:
    """Return what the first join server that answers gives. Raises NotReached, naming each, and BootError."""
    troubles = []
    for host, port in map(parse_url, urls):
        try:
            met = meet(host, port, wanted_hash)
            return met, use(met)
        except NotReached as trouble:
            troubles.append(str(trouble))
    raise NotReached("; ".join(troubles))


class refusals:  # noqa: N801 - reads as a statement
    """Turns what the judging functions refuse into what the command line prints."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, Refused):
            raise BootError(error.cause, error.way_out) from None


def _granted(met: Met, answer: tuple[int, dict[str, Any]]) -> dict[str, Any]:
    status, document = answer
    if status == http.client.OK:
        return document
    cause = str(document.get("cause") or f"it answers with status {status}")
    where = f"https://{met.host}:{met.port}"
    if status == NOT_YET:
        raise NotReached(f"{where}: {cause}")
    raise BootError(f"{where} refuses: {cause}", str(document.get("way_out") or ""))


def _verifying(met: Met) -> ssl.SSLContext:
    return ssl.create_default_context(cadata=met.ca_pem)


def _exchange(
    host: str,
    port: int,
    context: ssl.SSLContext,
    method: str,
    path: str,
    headers: Mapping[str, str],
    body: Mapping[str, Any] | None,
) -> tuple[int, dict[str, Any]]:
    connection = http.client.HTTPSConnection(host, port, timeout=ANSWER_S, context=context)
    try:
        payload = None if body is None else json.dumps(body).encode()
        connection.request(method, path, payload, dict(headers))
        answer = connection.getresponse()
        document = json.loads(answer.read(ANSWER_BYTES_MAX))
        return answer.status, document if isinstance(document, dict) else {}
    except ssl.SSLCertVerificationError as error:
        raise NotReached(f"https://{host}:{port}: its certificate is refused: {error.verify_message}") from None
    except (OSError, http.client.HTTPException) as error:
        raise NotReached(f"https://{host}:{port}: {getattr(error, 'strerror', '') or error}") from None
    except ValueError:
        return 0, {}
    finally:
        connection.close()
