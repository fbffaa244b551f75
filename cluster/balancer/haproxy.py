"""A configuration with which HAProxy (2.4 or newer) does what the embedded balancer does: a pure function."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from oarlock.cluster.balancer.settings import Address

SERVING: Final = "/oarlock/v1/serving"
"""Where an API server says 404 while it leaves: HAProxy then gives it nothing new and lets go on what it has.

By /readyz, which says 500 to both, HAProxy could not tell that from a failure, and would cut what is under way.
"""
NAME: Final = "kubernetes"
"""A name that every API server's certificate holds: another certificate of the same CA is no API server's."""


@dataclass(frozen=True, slots=True)
class HaproxySettings:
    """`bind` is where clients connect. Times in milliseconds.

    A server that was asked in vain `checks_failed_max` times is down. HAProxy gives the connection and TLS of a check
    no longer than the interval, whatever its timeouts say, and a machine under load takes longer now and then: so there
    are many, and none is needed to notice a killed server, whose connections the kernel ends, or one that leaves.
    `connections_max` needs twice as many file descriptors.
    """

    bind: Address
    backends: Sequence[Address]
    ca_file: str
    check_interval_ms: int = 250
    checks_failed_max: int = 10
    connections_max: int = 4000
    metrics: Address | None = None


def configuration(settings: HaproxySettings) -> str:
    """Return the file's text. TLS passes through: clients' certificates are judged by the API servers.

    Timeouts of an open connection are long, for a watch may be silent for an hour and an exec for longer; the kernel's
    probes find peers that are gone. What a dead server had is cut at once, and its clients come back to another.
    """
    lines = [_HEAD.format(maxconn=settings.connections_max)]
    lines.append(_FRONT.format(bind=_joined(settings.bind)))
    often, fall = settings.check_interval_ms, settings.checks_failed_max
    check = _CHECK.format(interval=often, fall=fall, ca=_quoted(settings.ca_file), name=NAME)
    lines.append(_BACK.format(path=SERVING, name=NAME, check=check))
    lines += [
        f"    server apiserver-{number} {_joined(address)}\n"
        for number, address in enumerate(settings.backends, start=1)
    ]
    if settings.metrics is not None:
        lines.append(_METRICS.format(bind=_joined(settings.metrics)))
    return "".join(lines)


def _joined(address: Address) -> str:
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _quoted(text: str) -> str:
    """Return a word as HAProxy reads it back, whatever is in it but line ends. Source: HAProxy manual 2.2."""
    return "'" + text.replace("'", "'\\''") + "'"


_HEAD = """\
global
    log stdout format raw daemon notice
    maxconn {maxconn}
    hard-stop-after 1h

defaults
    log global
    mode tcp
    timeout connect 1s
    timeout check 1s
    timeout client 2h
    timeout server 2h
    timeout tunnel 2h
    timeout client-fin 10s
    timeout server-fin 10s
    option clitcpka
    option srvtcpka
    option log-health-checks
    retries 3
    option redispatch 1
"""
_FRONT = """
frontend kubernetes
    bind {bind}
    default_backend apiservers
"""
_CHECK = (
    "check check-ssl verify required verifyhost {name} ca-file {ca} inter {interval}ms fall {fall} rise 1 "
    "on-marked-down shutdown-sessions"
)
_BACK = """
backend apiservers
    balance leastconn
    option httpchk
    http-check send meth GET uri {path} ver HTTP/1.1 hdr Host {name} hdr Connection close
    http-check disable-on-404
    default-server {check}
"""
_METRICS = """
frontend metrics
    mode http
    bind {bind}
    timeout client 10s
    http-request use-service prometheus-exporter if {{ path /metrics }}
"""
