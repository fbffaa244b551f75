"""Elections: a trial first, then a vote that is counted by name and is on disk before it is told.

Source: Raft paper 5.2 and 5.4.1; thesis 9.6 (pre-vote), 4.2.3 and 6.2 (no votes while a leader is heard).
"""

from __future__ import annotations

from oarlock.consensus.chassis import CANDIDATE, FOLLOWER, LEADER
from oarlock.consensus.core import Core
from oarlock.consensus.joining import Joining
from oarlock.consensus.messages import VoteReply, VoteRequest

CONFIRM_S = 0.002
"""How long an overdue election waits, so that heartbeats which arrived while this process didn't run are read first."""


class Elections:
    """One member's part in elections: when it stands, whom it votes for, who votes for it."""

    def __init__(self, core: Core, joining: Joining) -> None:
        self._core = core
        self._joining = joining
        self._votes: set[str] = set()
        self._trial = False
        """True while `_votes` are answers to a trial."""
        self._confirming = False
        self._heard_at = float("-inf")
        """When a leader was last heard from, -inf once its connection broke."""

    # When to stand.

    def postpone(self) -> None:
        """Wait a whole election timeout from now."""
        self._core.election_deadline = self._core.clock() + self._core.election_timeout()

    def hurry(self) -> None:
        """Stand very soon: nobody leads."""
        core = self._core
        soon = core.clock() + core.rng.uniform(0, 2 * core.times.heartbeat_s)
        core.election_deadline = min(core.election_deadline, soon)
        core.driver.wake()

    def due(self, now: float) -> None:
        """The election timeout is over."""
        if not self._joining.may_vote:
            self._core.election_deadline = now + self._core.times.heartbeat_s  # to ask again
        elif self._confirming or self._core.quorum == 1:
            self._confirming = False
            self._stand(now)
        else:
            self._confirming = True
            self._core.election_deadline = now + CONFIRM_S

    def heard_leader(self) -> None:
        """A leader of this term is alive."""
        self._trial = self._confirming = False
        self._heard_at = self._core.clock()
        self.postpone()

    def lost_leader(self) -> None:
        """The leader is gone for certain, or was this member itself."""
        self._heard_at = float("-inf")

    @property
    def never_heard_leader(self) -> bool:
        return self._heard_at == float("-inf")

    def end_trial(self) -> None:
        self._trial = False

    def _leader_is_alive(self) -> bool:
        core = self._core
        return core.state == LEADER or core.clock() - self._heard_at < core.times.election_min_s

    # Standing.

    def _stand(self, now: float) -> None:
        """Ask whether a vote would be won; only then begin a term, so that a cut-off member disturbs nobody."""
        core = self._core
        self._trial = True
        core.set_leader("")
        self._votes = {core.name}
        core.election_deadline = now + core.election_timeout()
        if len(self._votes) >= core.quorum:
            self._campaign(now)
            return
        for peer in core.peers():
            core.driver.send(peer, self._request(core.term + 1, trial=True))
        core.driver.flush()

    def take_over(self, peer: str, term: int) -> None:
        """Stand at once, because the leader `peer` of `term` asks for it."""
        core = self._core
        if core.state == FOLLOWER and core.leader == peer and core.term == term and self._joining.may_vote:
            self._campaign(core.clock(), transfer=True)

    def _campaign(self, now: float, *, transfer: bool = False) -> None:
        core = self._core
        self._trial = False
        core.set_state(CANDIDATE)
        core.set_term(core.term + 1, core.name)
        self._votes = set()
        core.election_deadline = now + core.election_timeout()
        for peer in core.peers():
            core.disk.send(peer, self._request(core.term, trial=False, transfer=transfer))
        core.driver.wake()

    def _request(self, term: int, *, trial: bool, transfer: bool = False) -> VoteRequest:
        journal = self._core.journal
        return VoteRequest(term, journal.last_index, journal.last_term, trial, transfer)

    def reply(self, peer: str, reply: VoteReply) -> None:
        """Take in an answer to a trial or to a vote; repeated and late ones do no harm."""
        core = self._core
        if not reply.granted:
            if reply.term > core.term:
                core.step_down(reply.term)
        elif reply.trial:
            if self._trial and core.state != LEADER and reply.term == core.term + 1:
                self._votes.add(peer)
                if len(self._votes) >= core.quorum:
                    self._campaign(core.clock())
        elif core.state == CANDIDATE and reply.term == core.term:
            self._votes.add(peer)

    def count(self) -> None:
        """Lead once a majority has voted for this member; its own vote counts when it is on disk."""
        core = self._core
        if core.state == CANDIDATE and core.journal.durable_term >= core.term:
            self._votes.add(core.name)
            if len(self._votes) >= core.quorum:
                core.lead()

    # Voting.

    def request(self, peer: str, request: VoteRequest) -> None:
        """Answer a candidate, or not at all while a leader is alive that hasn't asked for the election."""
        core = self._core
        if not self._joining.may_vote or (self._leader_is_alive() and not request.transfer):
            return
        if request.term > core.term and not request.trial:
            core.step_down(request.term)
        granted = self._grants_trial(request) if request.trial else self._grants_vote(peer, request)
        core.disk.send(peer, VoteReply(request.term if granted else core.term, granted, request.trial))

    def _grants_trial(self, request: VoteRequest) -> bool:
        return self._is_complete(request) and request.term > self._core.term

    def _grants_vote(self, peer: str, request: VoteRequest) -> bool:
        core = self._core
        if not (
            self._is_complete(request)
            and request.term == core.term
            and core.vote in {None, peer}
            and core.state == FOLLOWER
        ):
            return False
        if core.vote is None:
            core.set_term(core.term, peer)
        self._trial = False
        self.postpone()
        return True

    def _is_complete(self, request: VoteRequest) -> bool:
        """True if the candidate's log holds all that this member's log may have promised."""
        journal = self._core.journal
        return (request.last_term, request.last_index) >= (journal.last_term, journal.last_index)
