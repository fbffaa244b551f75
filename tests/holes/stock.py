"""The cluster on stock pysyncobj: its public classes, with only clock, network and timeouts handed in."""

from __future__ import annotations

import pickle
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from holes.cluster import Cluster, Outcome, Sent
from pysyncobj import FAIL_REASON, SyncObj, SyncObjConf, replicated, syncobj
from pysyncobj.node import Node
from pysyncobj.transport import Transport

KINDS = {"append_entries": "append", "next_node_idx": "append reply", "request_vote": "vote request",
         "response_vote": "vote"}  # fmt: skip


class Wire(Transport):  # type: ignore[misc]
    def __init__(self, sender: str, send: Callable[[Sent], None]) -> None:
        super().__init__(None, None, None)
        self.sender = sender
        self._send = send

    def send(self, node: Any, message: dict[str, Any]) -> bool:
        kind = "snapshot" if message.get("serialized") else KINDS.get(message["type"], message["type"])
        self._send(Sent(self.sender, node.id, kind, pickle.loads(pickle.dumps(message))))
        return True


class NoSockets:
    """A poller for a process without sockets."""

    def subscribe(self, *_: Any) -> None: ...

    def unsubscribe(self, *_: Any) -> None: ...

    def poll(self, _: float) -> None: ...


class Ledger(SyncObj):  # type: ignore[misc]
    """The state machine: a list of what was put."""

    def __init__(self, wire: Wire, peers: str, conf: SyncObjConf) -> None:
        self._rng = random.Random(wire.sender)
        super().__init__(Node(wire.sender), [Node(peer) for peer in peers], conf=conf, transport=wire)
        self.entries: list[bytes] = []

    def _SyncObj__generateRaftTimeout(self) -> float:
        return self._rng.uniform(0.4, 1.4)

    @replicated  # type: ignore[untyped-decorator]
    def put(self, data: bytes) -> bytes:
        self.entries.append(data)
        return data


class Stock(Cluster):
    """Members run stock pysyncobj. Files are kept if `durable`."""

    hardened = False

    def __init__(
        self,
        folder: Path,
        size: int = 3,
        *,
        patch: pytest.MonkeyPatch,
        machine: type[Ledger] = Ledger,
        durable: bool = True,
        **options: Any,
    ) -> None:
        self.machine = machine
        self.durable = durable
        self.options = options
        patch.setattr(syncobj, "monotonicTime", lambda: self.now)
        patch.setattr(syncobj, "createPoller", lambda _: NoSockets())
        super().__init__(folder, size)

    def journal_file(self, name: str) -> Path:
        return self.folder / f"{name}.journal"

    def dump_file(self, name: str) -> Path:
        return self.folder / f"{name}.dump"

    def boot(self, name: str) -> None:
        files = {}
        if self.durable:
            files = {"journalFile": str(self.journal_file(name)), "fullDumpFile": str(self.dump_file(name))}
        conf = SyncObjConf(
            **{
                "autoTick": False, "raftMinTimeout": 0.4, "raftMaxTimeout": 1.4, "appendEntriesPeriod": 0.1,
                "logCompactionMinEntries": 10**9, "logCompactionMinTime": 10**9, "useFork": False, **files,
                **self.options,
            }
        )  # fmt: skip
        wire = Wire(name, self.send)
        member = self.machine(wire, self.names.replace(name, ""), conf)
        self.members[name] = member
        for peer in self.names.replace(name, ""):
            wire._onNodeConnected(Node(peer))

    def crash(self, name: str) -> None:
        self.members.pop(name).destroy()

    def tick(self, name: str) -> None:
        self.members[name].doTick(0)

    def receive(self, sent: Sent) -> None:
        member = self.members[sent.receiver]
        transport = member._SyncObj__transport
        transport._onMessageReceived(Node(sent.sender), pickle.loads(pickle.dumps(sent.message)))

    def propose(self, name: str, data: bytes) -> Outcome:
        outcome = Outcome()
        self.members[name].put(
            data, callback=lambda _, error: outcome.settle(acknowledged=error == FAIL_REASON.SUCCESS)
        )
        return outcome

    def leads(self, name: str) -> bool:
        return bool(self.members[name]._isLeader())

    def term(self, name: str) -> int:
        return int(self.members[name].raftCurrentTerm)

    def state(self, name: str) -> list[bytes]:
        return list(getattr(self.members[name], "entries", []))

    def log(self, name: str) -> list[tuple[int, bytes]]:
        return [(index, data) for data, index, _ in self.members[name]._SyncObj__raftLog[:]]

    def commit_index(self, name: str) -> int:
        return int(self.members[name].raftCommitIndex)

    def set_election(self, name: str, at: float) -> None:
        self.members[name]._SyncObj__raftElectionDeadline = at

    def compact(self, name: str) -> None:
        self.members[name].forceLogCompaction()
        self.run(0.1)
