"""What the rest of the agent knows of the network."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class NetworkState:
    """Whether this node's pods can be reached: `reason` and `message` say why not, both are "" when they can."""

    reason: str = ""
    message: str = ""

    @property
    def is_ready(self) -> bool:
        return not self.reason
