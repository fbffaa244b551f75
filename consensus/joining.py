"""A member whose folder is new takes no part that could contradict what it may have promised in an earlier life.

A folder can be new because the cluster is, or because the member lost it, with its votes and acknowledged entries.
- While it and enough others for a majority are blank, and nobody is known who isn't, the cluster is new: it joins.
- Else it first hears from every other member and enters the newest term that any of them knows, in which it votes
  for nobody: so no vote that it may have given can be given again. Until then it is silent, as if it were down.
- Then it follows and acknowledges, but neither votes nor stands until it holds what the leader held when asked:
  whatever it may have acknowledged is among that.
Source: decision 0010.
"""

from __future__ import annotations

import logging

from oarlock.consensus.core import Core
from oarlock.consensus.messages import Inquiry, Standing

log = logging.getLogger(__name__)


class Joining:
    """How far this member has come on its way in. Of no effect once it is in, which its journal remembers."""

    def __init__(self, core: Core) -> None:
        self.silent = core.journal.newcomer
        """True while nothing may be answered but inquiries."""
        self._core = core
        self._answers: dict[str, Standing] = {}
        self._nonce = core.rng.getrandbits(62)
        """Marks the answers to this life's questions."""
        self._asked_at: dict[str, float] = {}
        self._since = core.clock()

    @property
    def may_vote(self) -> bool:
        return not self._core.journal.newcomer

    def ask(self, peer: str) -> None:
        """Ask a member that can be reached now, if there is a need."""
        core = self._core
        if core.journal.newcomer:
            self._asked_at[peer] = core.clock()
            core.driver.send(peer, Inquiry(core.term, self._nonce))
            core.driver.flush()

    def inquiry(self, peer: str, inquiry: Inquiry) -> None:
        """Say where this member stands; leaves once what it says is on disk."""
        core = self._core
        last = core.journal.last_index
        core.disk.send(peer, Standing(core.term, inquiry.nonce, last, self._is_blank(), core.is_leader))

    def standing(self, peer: str, standing: Standing) -> None:
        """Take in an answer."""
        if self._core.journal.newcomer and standing.nonce == self._nonce:
            self._answers[peer] = standing

    def go_on(self) -> None:
        """Take the next step in, as far as the answers allow."""
        core = self._core
        if not core.journal.newcomer:
            return
        answers = self._answers.values()
        everybody = len(answers) == sum(1 for _ in core.peers())
        if self._is_blank() and self._enough(everybody=everybody) and all(answer.blank for answer in answers):
            self._join("a new cluster")
        elif everybody:
            term = max(answer.term for answer in answers)
            if self.silent:
                self._enter(term)
            held = [answer.last_index for answer in answers if answer.leads and answer.term == term]
            if held and min(core.commit_index, core.journal.durable_index) >= max(held):
                self._join("the log of a leader")
        for peer in core.peers():
            if core.clock() - self._asked_at.get(peer, float("-inf")) >= core.times.heartbeat_s:
                self.ask(peer)

    def _enough(self, *, everybody: bool) -> bool:
        """True if a new cluster may begin: with all its members, or after a moment with a majority."""
        core = self._core
        waited = core.clock() - self._since >= core.times.election_min_s
        return everybody or (waited and len(self._answers) + 1 >= core.quorum)

    def _is_blank(self) -> bool:
        """True if this member has never voted, nor stored anything."""
        return self._core.term == 0 and self._core.journal.last_index <= 1

    def _enter(self, term: int) -> None:
        core = self._core
        if term > core.term:
            core.step_down(term)
        if core.vote is None:
            core.set_term(core.term, core.name)
        self.silent = False
        log.info("member is new here, follows without a vote name=%s term=%d", core.name, core.term)

    def _join(self, reason: str) -> None:
        core = self._core
        core.journal.set_newcomer(False)
        if not core.leader:  # others are as far in a moment; whoever stands before that would make them wait
            core.election_deadline = core.clock() + core.rng.uniform(1, 3) * core.times.heartbeat_s
        self.silent = False
        self._answers.clear()
        log.info("member votes from now on name=%s reason=%s", core.name, reason)
