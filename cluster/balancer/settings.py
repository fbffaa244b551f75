"""What a balancer is told: where to listen, whom to share connections among, how soon to notice a failure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

Address = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Tls:
    """PEM files for the health checks. Certificate and key are optional: /readyz is open to everybody."""

    ca_file: str | Path
    cert_file: str | Path | None = None
    key_file: str | Path | None = None


@dataclass(frozen=True, slots=True)
class BalancerSettings:
    """Times in seconds. A killed backend is noticed at once (its health connection ends). A silent one gets no new
    connections after `check_interval_s + check_timeout_s` at most, and loses those it has after `silence_s` more.

    `also` are further addresses to listen on. `handovers` is, by "host:port", the Unix socket at which a backend of
    this host takes connections themselves.

    `hold_s` is how long a new connection waits for a backend when none takes it; `held_max` bounds how many may wait.
    A balancer that stops ends connections whose last word was the backend's and is `quiet_s` old, the others as they
    end or get quiet, and cuts what is left after `drain_s`.
    """

    host: str
    port: int
    backends: tuple[Address, ...]
    tls: Tls
    also: tuple[str, ...] = ()
    check_interval_s: float = 0.25
    check_timeout_s: float = 1.0
    silence_s: float = 5.0
    retry_interval_s: float = 0.25
    connect_timeout_s: float = 1.0
    hold_s: float = 5.0
    held_max: int = 1024
    handovers: Mapping[str, str] = field(default_factory=dict[str, str])
    quiet_s: float = 1.0
    drain_s: float = 20.0

    def __post_init__(self) -> None:
        if not self.backends:
            raise ValueError("a balancer needs at least one backend")
        if min(self.check_interval_s, self.check_timeout_s, self.retry_interval_s, self.connect_timeout_s) <= 0:
            raise ValueError("a balancer's intervals and timeouts must be above 0")
