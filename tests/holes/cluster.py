"""A cluster in one thread with a virtual clock and network, whichever library drives it.

A scenario written against `Cluster` runs on stock pysyncobj (`holes.stock`) and on our replica (`holes.ours`) alike.
"""

from __future__ import annotations

import abc
import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

STEP_S = 0.02


class Sent(NamedTuple):
    """A message on its way. `kind` is one of append, append reply, vote request, vote, snapshot, snapshot reply."""

    sender: str
    receiver: str
    kind: str
    message: Any


class Outcome:
    """What a proposer was told: nothing yet, success, or a failure."""

    def __init__(self) -> None:
        self.settled = False
        self.acknowledged = False

    def settle(self, *, acknowledged: bool) -> None:
        assert not self.settled, "told twice"
        self.settled, self.acknowledged = True, acknowledged


class Cluster(abc.ABC):
    """Members A, B, C…, whose state is the list of what was proposed."""

    hardened: ClassVar[bool]

    def __init__(self, folder: Path, size: int = 3) -> None:
        self.folder = folder
        self.now = 1000.0
        self.names = "ABCDE"[:size]
        self.members: dict[str, Any] = {}
        self.passes: Callable[[Sent], bool] = lambda _: True
        """Which messages the network delivers; the others are lost."""
        self.seen: list[Sent] = []
        """Every message that was ever sent, delivered or lost."""
        self._queue: list[Sent] = []
        for name in self.names:
            self.boot(name)

    # What each library does its own way.

    @abc.abstractmethod
    def boot(self, name: str) -> None:
        """Start a member on the folder it has."""

    @abc.abstractmethod
    def crash(self, name: str) -> None:
        """End a member; its files stay as they are."""

    @abc.abstractmethod
    def tick(self, name: str) -> None:
        """Let a member do what is due."""

    @abc.abstractmethod
    def receive(self, sent: Sent) -> None:
        """Deliver a message."""

    @abc.abstractmethod
    def propose(self, name: str, data: bytes) -> Outcome: ...

    @abc.abstractmethod
    def leads(self, name: str) -> bool:
        """True if the member believes that it leads."""

    @abc.abstractmethod
    def term(self, name: str) -> int: ...

    @abc.abstractmethod
    def state(self, name: str) -> list[bytes]:
        """What the member has applied."""

    @abc.abstractmethod
    def log(self, name: str) -> list[tuple[int, bytes]]:
        """The (index, data) of the entries in the member's log."""

    @abc.abstractmethod
    def commit_index(self, name: str) -> int: ...

    @abc.abstractmethod
    def set_election(self, name: str, at: float) -> None:
        """Set when the member stands for election unless it hears a leader."""

    @abc.abstractmethod
    def compact(self, name: str) -> None:
        """Have the member write a snapshot and drop the log that it covers."""

    # Time and network.

    def send(self, sent: Sent) -> None:
        self.seen.append(sent)
        self._queue.append(sent)

    def step(self, *, deliver: bool = True) -> None:
        self.now += STEP_S
        for name in list(self.members):
            self.tick(name)
        if deliver:
            self.deliver()

    def deliver(self) -> None:
        queue, self._queue = self._queue, []
        for sent in queue:
            if sent.receiver in self.members and self.passes(sent):
                self.receive(sent)

    def run(self, seconds: float) -> None:
        for _ in range(round(seconds / STEP_S)):
            self.step()

    def run_until(self, condition: Callable[[], bool], limit_s: float = 60.0) -> float:
        """Run until `condition` holds and return how long that took; AssertionError after `limit_s`."""
        began = self.now
        while not condition():
            self.step()
            assert self.now - began < limit_s, "never happened"
        return self.now - began

    def isolate(self, *names: str) -> None:
        """Cut the links between `names` and all others, both ways."""
        self.passes = lambda sent: (sent.sender in names) == (sent.receiver in names)

    def cut_off(self) -> None:
        """Cut all links."""
        self.passes = lambda _: False

    def heal(self) -> None:
        self.passes = lambda _: True

    # Composed of the above.

    def elect(self, name: str) -> None:
        """Have this member lead, and no other one stand."""
        for _ in range(100):
            for other in self.members:
                self.set_election(other, self.now + (0 if other == name else 5))
            self.step()
            self.step()
            if self.leads(name):
                self.run(0.1)
                return
        raise AssertionError(f"{name} wasn't elected")

    def propose_all(self, name: str, entries: Sequence[bytes]) -> list[Outcome]:
        """Propose entries one after another, giving each time to spread."""
        outcomes = []
        for data in entries:
            outcomes.append(self.propose(name, data))
            self.run(0.2)
        return outcomes

    def leaders(self) -> list[str]:
        return [name for name in self.members if self.leads(name)]

    def log_end(self, name: str) -> int:
        return self.log(name)[-1][0]

    def holders(self, data: bytes) -> list[str]:
        """The members whose log or state has what was proposed as `data`."""
        return [
            name
            for name in self.members
            if data in self.state(name) or any(data in entry for _, entry in self.log(name))
        ]


def numbered(prefix: bytes, count: int) -> list[bytes]:
    return [prefix + b"-%02d-end" % number for number in itertools.islice(itertools.count(), count)]
