"""`oarlock restart`: replaces the processes of a running cluster one at a time, so that nobody notices.

The next one goes only once the one before is ready and all that leans on it is whole again. The same command, after an
upgrade of the package, is a rolling upgrade: each process begins with the code that is installed then.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, TextIO

from oarlock.cluster.boot import control, processes
from oarlock.cluster.boot.access import Access, access_to
from oarlock.cluster.boot.errors import BootError
from oarlock.cluster.boot.state import StateFolder
from oarlock.cluster.boot.status import Row, gather, store_members

if TYPE_CHECKING:
    from oarlock.consensus.model import MemberStatus

ORDER = ("store", "apiserver", "balancer", "resp", "ray", "agent", "hollow")
"""What others lean on first: each kind is whole again before those that need it follow."""
RESTART_S = 150.0
WHOLE_S = 120.0
LOOK_S = 0.2


def restart(folder: StateFolder, name: str, wanted: Sequence[str], out: TextIO) -> None:
    """Restart the named parts, or all, one at a time. Raises BootError at the first that fails; the rest is left."""
    rows = gather(folder, name)
    access = access_to(folder)
    if access is None:
        raise BootError(f"there is no cluster {name} in {folder.path}", f"Make it: oarlock up --name {name}.")
    if access.single:
        again = "Stop it and start it again: oarlock down, oarlock up."
        raise BootError(f"the cluster {name} is one process, which can't be replaced part by part", again)
    whole = Wholeness(folder, name, access, rows)
    for part in in_order(rows, wanted):
        whole.wait()
        began = time.monotonic()
        answer = next(control.ask(folder.control_socket, "restart", RESTART_S, part))
        if answer["error"]:
            log = folder.logs / f"{part}.log"
            raise BootError(f"{part} was not restarted: {answer['error']}", f"No other part was touched. See {log}.")
        print(f" \u2713 {part:<16} {time.monotonic() - began:5.1f} s", file=out, flush=True)
    whole.wait()


def in_order(rows: Iterable[Row], wanted: Sequence[str]) -> list[str]:
    """Return the parts to restart: by kind, the store's leader and Ray's head after the others of theirs.

    A named part stands where the order has it; a kind's name means all of that kind. Raises BootError.
    """
    parts = [row for row in rows if row.kind in ORDER]
    known = {row.name for row in parts} | {row.kind for row in parts}
    unknown = [one for one in wanted if one not in known]
    if unknown:
        raise BootError(f"there is no part {unknown[0]}", f"These are: {', '.join(row.name for row in parts)}.")
    chosen = [row for row in parts if not wanted or row.name in wanted or row.kind in wanted]
    return [row.name for row in sorted(chosen, key=lambda row: (ORDER.index(row.kind), row.active))]


class Wholeness:
    """What the cluster was like at the beginning, and must be like again before another process may go."""

    def __init__(self, folder: StateFolder, name: str, access: Access, rows: Sequence[Row]) -> None:
        self._folder, self._name, self._access = folder, name, access
        self._at_home = self._homely(rows)
        self._active = sum(row.kind == "actor" and row.active for row in rows)

    def wait(self) -> None:
        """Return once every part is ready, replicas and actors too. Raises BootError after two minutes."""
        deadline = time.monotonic() + WHOLE_S
        target = max((member.index for member in self._members()), default=0)
        while missing := self._missing(target):
            if time.monotonic() > deadline:
                raise BootError(
                    f"the cluster is not whole: {missing}", "No other part was touched. See oarlock status."
                )
            time.sleep(LOOK_S)

    def _missing(self, target: int) -> str:
        """Return what is not as it was, "" if all is."""
        rows = gather(self._folder, self._name)
        for row in rows:
            if row.state != "ready":
                return f"{row.name} is {row.state}"
        return lagging(self._members(), len(self._access.stores), target) or self._missing_actors(rows)

    def _members(self) -> list[MemberStatus]:
        return store_members(self._access, [f"{host}:{port}" for host, port in self._access.stores])

    def _missing_actors(self, rows: Sequence[Row]) -> str:
        at_home = self._homely(rows)
        if at_home < self._at_home:
            return f"only {at_home} of {self._at_home} actors are where they belong"
        active = sum(row.active for row in rows if row.kind == "actor")
        return "" if active >= self._active else f"only {active} of {self._active} components have an active copy"

    def _homely(self, rows: Iterable[Row]) -> int:
        """Return how many of this host's actors run where they are at home.

        An actor's registration outlives it for a while: its process tells, and on which Ray node that runs.
        """
        return sum(row.kind == "actor" and row.pid in self._at(row.name.rpartition("-")[2]) for row in rows)

    def _at(self, position: str) -> list[int]:
        from oarlock.actors.shell.ray_processes import MARK

        return processes.marked(f"{MARK}={self._folder.runtime / position}")


def lagging(members: Sequence[MemberStatus], count: int, target: int) -> str:
    """Return what keeps the store from losing another replica, "" if all follow one leader and have `target`."""
    if len(members) < count:
        return f"only {len(members)} of {count} store replicas answer"
    if len({member.leader for member in members}) > 1 or not members[0].leader:
        return "the store has no leader that all replicas know"
    behind = [member.name for member in members if member.applied < target]
    return f"{behind[0]} is catching up" if behind else ""
