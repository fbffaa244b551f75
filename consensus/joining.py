"""A member whose folder is new takes no part that could contradict what it may have promised in an earlier life.

A folder can be new because the cluster is, or because the member lost it, with its votes and acknowledged entries.
- While it and enough others for a majority are blank, and nobody is known who isn't, the cluster is new: it joins.
- Else it first has every other member give it the seat, so that its earlier life is let in nowhere any more, and enters
  the newest term that any of them knows, in which it votes for nobody: so no vote that it may have given can be given
  again. Until then it is silent, as if it were down. It asks for the seat only once all have answered that it could.
- Then it follows and acknowledges, but neither votes nor stands until it holds what the leader held when asked:
  whatever it may have acknowledged is among that.
Source: decisions 0010 and 0040.
"""

from __future__ import annotations

import logging

from oarlock.consensus.core import Core
from oarlock.consensus.messages import Inquiry, Standing
from oarlock.consensus.seats import Seats

log = logging.getLogger(__name__)


class Joining:
    """How far this member has come on its way in. Of no effect once it is in, which its journal remembers."""

    def __init__(self, core: Core, seats: Seats) -> None:
        self.silent = core.journal.newcomer
        """True while nothing may be answered but inquiries."""
        self._core = core
        self._seats = seats
        self._answers: dict[str, Standing] = {}
        """The newest of each member."""
        self._takes = False
        """True while inquiries ask for the seat."""
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
            core.driver.send(peer, Inquiry(core.term, self._nonce, self._seats.instance, self._takes))
            core.driver.flush()

    def inquiry(self, peer: str, inquiry: Inquiry) -> None:
        """Say where this member stands, having given the seat if asked; leaves once what it says is on disk."""
        core, seats = self._core, self._seats
        if inquiry.takes and not seats.take(peer, inquiry.instance):
            return
        last = core.journal.last_index
        blank, leads = self._is_blank(), core.is_leader
        mine = seats.instance, core.journal.newcomer, core.journal.seats.copy()
        core.disk.send(peer, Standing(core.term, inquiry.nonce, last, blank, leads, *mine))

    def standing(self, peer: str, standing: Standing) -> None:
        """Take in an answer."""
        if self._core.journal.newcomer and standing.nonce == self._nonce:
            self._answers[peer] = standing

    def go_on(self) -> None:
        """Take the next step in, as far as the answers allow."""
        core = self._core
        if not core.journal.newcomer:
            return
        given = {peer: answer for peer, answer in self._answers.items() if self._is_given(answer)}
        answers = given.values()
        agreed = self._agree(given)
        if agreed and self._is_new_cluster(given) and self._is_new_cluster(self._answers):
            self._join("a new cluster")
        elif self._is_everybody(given) and (agreed or not self.silent):
            term = max(answer.term for answer in answers)
            if self.silent:
                self._enter(term)
            held = [answer.last_index for answer in answers if answer.leads and answer.term == term]
            if held and min(core.commit_index, core.journal.durable_index) >= max(held):
                self._join("the log of a leader")
        takes = self._is_new_cluster(self._answers) or self._is_everybody(self._answers)
        takes = takes and self._agree(self._answers, newcomers=True)
        begins, self._takes = takes and not self._takes, takes
        for peer in core.peers():
            if begins or core.clock() - self._asked_at.get(peer, float("-inf")) >= core.times.heartbeat_s:
                self.ask(peer)

    def _is_given(self, answer: Standing) -> bool:
        """True if a member that answers lets in only this folder from now on; one of an old release lets in any."""
        name, instance = self._core.name, self._seats.instance
        return not answer.instance or answer.seats.get(name, ())[-1:] == (instance,)

    def _is_everybody(self, answers: dict[str, Standing]) -> bool:
        return len(answers) == sum(1 for _ in self._core.peers())

    def _is_new_cluster(self, answers: dict[str, Standing]) -> bool:
        """True if all are blank: all members, or after a moment a majority."""
        core = self._core
        waited = core.clock() - self._since >= core.times.election_min_s
        enough = self._is_everybody(answers) or (waited and len(answers) + 1 >= core.quorum)
        return self._is_blank() and enough and all(answer.blank for answer in answers.values())

    def _agree(self, answers: dict[str, Standing], *, newcomers: bool = False) -> bool:
        """True if those who answer have their seats, for all that any of them knows; `newcomers` may yet take them."""
        known = [self._core.journal.seats, *(answer.seats for answer in answers.values())]
        return all(
            not (had := seats.get(peer, ()))
            or had[-1] == answer.instance
            or (newcomers and answer.newcomer and answer.instance not in had)
            for peer, answer in answers.items()
            for seats in known
        )

    def _is_blank(self) -> bool:
        """True if this member has never voted, nor stored anything."""
        return self._core.term == 0 and self._core.journal.last_index <= 1

    def _enter(self, term: int) -> None:
        core = self._core
        self._learn()
        if term > core.term:
            core.step_down(term)
        if core.vote is None:
            core.set_term(core.term, core.name)
        self.silent = False
        log.info("member is new here, follows without a vote name=%s term=%d", core.name, core.term)

    def _learn(self) -> None:
        """Know from now on, as everybody does, who has which seat: a folder that comes back finds no way in here."""
        for peer, answer in self._answers.items():
            self._seats.learn(peer, answer.instance)

    def _join(self, reason: str) -> None:
        core = self._core
        self._learn()
        core.journal.set_newcomer(False)
        if not core.leader:  # others are as far in a moment; whoever stands before that would make them wait
            core.election_deadline = core.clock() + core.rng.uniform(1, 3) * core.times.heartbeat_s
        self.silent = False
        self._answers.clear()
        log.info("member votes from now on name=%s reason=%s", core.name, reason)
