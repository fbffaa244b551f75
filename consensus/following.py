"""Following: a leader's entries join the log where it matches, and nothing that matches is ever dropped.

Source: Raft paper 5.3.
"""

from __future__ import annotations

from oarlock.consensus.chassis import FOLLOWER, LEADER
from oarlock.consensus.core import Core
from oarlock.consensus.elections import Elections
from oarlock.consensus.journal import Entry, Journal
from oarlock.consensus.messages import Append, AppendReply, append_reply


class Following:
    """What a member does with a leader's appends."""

    def __init__(self, core: Core, elections: Elections) -> None:
        self._core = core
        self._elections = elections

    def heard_leader(self, peer: str, term: int) -> bool:
        """Note a leader's message; False if its term is over."""
        core = self._core
        if term < core.term:
            return False
        if term > core.term or core.state != FOLLOWER or core.leader != peer:
            assert core.state != LEADER or term > core.term, "two leaders in one term"
            core.step_down(term, peer)
        self._elections.heard_leader()
        return True

    def append(self, peer: str, append: Append) -> None:
        """Take in entries or a heartbeat; the answer leaves once they are on disk."""
        core = self._core
        if not self.heard_leader(peer, append.term):
            # Tells a deposed leader of the newer term, and must mean nothing else to whoever leads in this one: the
            # append may be from an earlier life of that very member, whose confirmation rounds were counted anew.
            core.disk.send(peer, AppendReply(core.term, matched=False, index=0, previous_index=-1, round=0))
            return
        matched, index = merge(core.journal, core.commit_index, append)
        if matched:
            core.set_commit_index(max(core.commit_index, min(append.commit, index)))
        if matched and not append.entries and core.disk.busy and core.journal.durable_term == core.term:
            # A heartbeat is answered at once, with what is on disk, however long the disk takes.
            durable = min(index, core.journal.durable_index)
            core.driver.send(peer, append_reply(core.term, append, matched=True, index=durable))
            return
        core.disk.send(peer, append_reply(core.term, append, matched=matched, index=index))


def merge(journal: Journal, commit: int, append: Append) -> tuple[bool, int]:
    """Add what is new; return (logs agree, up to where), or on a conflict (False, where to try next).

    Entries that are here already stay, whatever comes behind them, so late and repeated appends do no harm.
    """
    index = append.previous_index
    entries = append.entries
    if index < commit:  # up to the commit index all logs agree
        entries = entries[commit - index :]
        index = commit
    else:
        previous = journal.at(index)
        if previous is None or previous.term != append.previous_term:
            return False, conflict_hint(journal, commit, index)
    for position, (term, data) in enumerate(entries, index + 1):
        present = journal.at(position)
        if present is not None:
            if present.term == term:
                continue
            assert position > commit, "a committed entry is never replaced"
            journal.truncate_from(position)
        journal.append(Entry(data, position, term))
    return True, index + len(entries)


def conflict_hint(journal: Journal, commit: int, index: int) -> int:
    """Return where to try next after a conflict at `index`: before its whole term, or at the end of a short log."""
    present = journal.at(index)
    if present is None:
        return max(journal.last_index, commit) if index > journal.last_index else commit
    hint = index - 1
    while hint > commit and (entry := journal.at(hint)) and entry.term == present.term:
        hint -= 1
    return max(hint, commit)
