"""What the supervisor runs and what it knows of it: plain values that cross the control socket as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

PartState = Literal["waiting", "starting", "ready", "failed", "refused", "stopped"]
"""A failed part is started again; one that was refused has said that it would be in vain."""


@dataclass(frozen=True, slots=True)
class Part:
    """One process to keep running. It is first started when all of `after` have been ready once.

    `kind` is what people call it (store, apiserver, …), `role` names what `roles` builds from `settings`. Where
    `listens` names hosts and ports, the supervisor holds those sockets and gives them to the process: connections that
    come while there is no process wait, and a successor is started before its predecessor ends.
    """

    name: str
    kind: str
    role: str
    settings: Mapping[str, object]
    after: tuple[str, ...] = ()
    ready_within_s: float = 60.0
    environment: Mapping[str, str] = field(default_factory=dict)
    listens: tuple[tuple[str, int], ...] = ()
    stop_within_s: float = 10.0


@dataclass(slots=True)
class PartStatus:
    """What `oarlock status` prints of one part. `started` is in seconds of the Unix clock, 0 before the first start."""

    name: str
    kind: str
    state: PartState = "waiting"
    pid: int = 0
    address: str = ""
    metrics: str = ""
    started: float = 0.0
    restarts: int = 0
    error: str = ""
