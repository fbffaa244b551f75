"""The store's client: follows the leader, retries what is safe, resumes watches without gap or repeat.

It keeps a connection to every endpoint. Members tell their role on it whenever that changes, so a new leader is known
the moment it leads, with no polling. A command carries a request id: repeated after a lost answer, it gets the answer
it had. Watches are served by the leader, which is the first to know of a change; on a new one they go on with the
revision after the last that was seen.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Sequence
from typing import TypeVar

from oarlock.consensus.certificates import Certificates, Tls
from oarlock.consensus.commands import Action, Command, Compact, Grant, Revoke
from oarlock.consensus.encoding import decode_outcome, decoder, encode, encode_command
from oarlock.consensus.endpoints import Endpoint, stay_connected
from oarlock.consensus.link import Answer, Link, LinkLost
from oarlock.consensus.log import NotLeader, Overloaded
from oarlock.consensus.model import (
    InvalidRequest,
    LeaseStatus,
    MemberStatus,
    Range,
    RangeResult,
    StoreError,
    Transaction,
    TransactionResult,
    Unavailable,
    UnknownOutcome,
)
from oarlock.consensus.remotewatch import RemoteWatch
from oarlock.consensus.requestsequence import RequestSequence
from oarlock.consensus.validation import validate_grant, validate_range, validate_transaction, validate_watch
from oarlock.consensus.wire import Kind, Role

log = logging.getLogger(__name__)

WAIT_S = 10.0
BACK_OFF_S = 0.02
T = TypeVar("T", TransactionResult, LeaseStatus, int)

_range_result = decoder(RangeResult)
_lease_status = decoder(LeaseStatus)
_member_status = decoder(MemberStatus)
_integer = decoder(int)


class StoreClient:
    """Implements `model.Store` over the network. `wait_s` bounds how long any call waits for a leader's answer."""

    def __init__(
        self, endpoints: Sequence[str], tls: Tls | None = None, *, cluster_id: str = "", wait_s: float = WAIT_S
    ) -> None:
        """Take endpoints "host:port" (TLS, if `tls` is given) or "unix:/path"; an empty `cluster_id` is any cluster."""
        if not endpoints:
            raise ValueError("a store client needs an endpoint")
        certificates = Certificates(tls) if tls else None
        self._endpoints = [Endpoint.parse(endpoint, certificates) for endpoint in endpoints]
        self._cluster_id = cluster_id
        self._wait_s = wait_s
        self._rng = random.Random()
        self._client = random.SystemRandom().randrange(1, 1 << 63)
        self._sequence = RequestSequence()
        self._links: dict[Link, None] = {}
        self._leader: Link | None = None
        self._term = -1
        self._leader_known = asyncio.Event()
        self._watches: dict[RemoteWatch, None] = {}
        self._watchdog: asyncio.TimerHandle | None = None
        self._dialers: list[asyncio.Task[None]] = []
        self._revision_waiters: list[asyncio.Future[int]] = []
        self._rounds: set[asyncio.Task[None]] = set()
        self._trouble = "no connection yet"
        self._closed = False

    async def start(self) -> None:
        """Connect; return once a leader is known. Raises Unavailable after `wait_s`, with nothing left open."""
        self._dialers = [
            asyncio.create_task(stay_connected(endpoint, self._link, self._not_connected, self._rng))
            for endpoint in self._endpoints
        ]
        try:
            await self._find_leader(asyncio.get_running_loop().time() + self._wait_s)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """End watches and connections. Idempotent."""
        self._closed = True
        for task in [*self._dialers, *self._rounds]:
            task.cancel()
        await asyncio.gather(*self._dialers, *self._rounds, return_exceptions=True)
        self._dialers = []
        for watch in list(self._watches):
            watch.fail(Unavailable("the client is closed"))
        self._watches.clear()
        self._disarm()
        links = list(self._links)
        for link in links:
            link.close()
        if links:
            await asyncio.wait([link.lost for link in links], timeout=1.0)

    # Store

    async def range(self, request: Range, *, serializable: bool = False) -> RangeResult:
        validate_range(request)
        answer = await self._ask(Kind.RANGE, encode((request, serializable)), anyone=serializable)
        result = _range_result.decode(answer.result())
        return result._replace(kvs=tuple(answer.parts)) if answer.parts else result

    async def transact(self, transaction: Transaction) -> TransactionResult:
        validate_transaction(transaction)
        return await self._command(transaction, TransactionResult)

    async def revision(self) -> int:
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[int] = loop.create_future()
        if not self._revision_waiters:
            loop.call_soon(self._start_round)
        self._revision_waiters.append(waiter)
        return await waiter

    def watch(self, key: bytes, range_end: bytes, start_revision: int, *, previous: bool = False) -> RemoteWatch:
        watch = RemoteWatch(self._forget, key, range_end, start_revision, previous=previous)
        try:
            validate_watch(key, range_end, start_revision)
        except InvalidRequest as refusal:
            watch.fail(refusal)
            return watch
        if self._closed:
            watch.fail(Unavailable("the client is closed"))
            return watch
        self._watches[watch] = None
        if self._leader is not None:
            watch.subscribe(self._leader)
        else:
            self._arm()
        return watch

    async def lease_grant(self, ttl_ms: int, lease: int = 0) -> LeaseStatus:
        validate_grant(lease, ttl_ms)
        return await self._command(Grant(lease, ttl_ms), LeaseStatus)

    async def lease_keep_alive(self, lease: int) -> LeaseStatus:
        return _lease_status.decode((await self._ask(Kind.KEEP_ALIVE, encode(lease))).result())

    async def lease_revoke(self, lease: int) -> None:
        await self._command(Revoke(lease), int)

    async def lease_status(self, lease: int) -> LeaseStatus:
        return _lease_status.decode((await self._ask(Kind.LEASE, encode(lease))).result())

    async def compact(self, revision: int) -> None:
        await self._command(Compact(revision), int)

    async def status(self) -> list[MemberStatus]:
        deadline_s = asyncio.get_running_loop().time() + self._wait_s
        answers = [link.request(Kind.STATUS, b"", deadline_s, for_leader=False) for link in self._links]
        replies = await asyncio.gather(*answers, return_exceptions=True)
        members = [_member_status.decode(reply) for reply in replies if isinstance(reply, bytes)]
        if not members:
            raise Unavailable(f"no member answers: {self._trouble}")
        return members

    # Requests

    async def _command(self, action: Action, kind: type[T]) -> T:
        sequence, acknowledged = await self._sequence.take()
        try:
            body = encode_command(Command(action, self._client, sequence, acknowledged))
            answer = await self._ask(Kind.COMMAND, body, changes=True)
        finally:
            self._sequence.release(sequence)
        outcome = decode_outcome(action, answer.result())
        assert isinstance(outcome, kind)
        return outcome

    async def _ask(self, kind: Kind, body: bytes, *, changes: bool = False, anyone: bool = False) -> Answer:
        """Return the done answer of the leader, or of `anyone`, whatever happens to the leader meanwhile.

        Raises Unavailable if it was not carried out within `wait_s`, UnknownOutcome if it may have been (`changes`).
        """
        deadline_s = asyncio.get_running_loop().time() + self._wait_s
        lost_sight = False
        while True:
            try:
                link = self._leader or (anyone and next(iter(self._links), None)) or await self._find_leader(deadline_s)
            except Unavailable as trouble:
                raise UnknownOutcome(str(trouble)) if lost_sight else trouble from None
            term = self._term
            answer = link.request(kind, body, deadline_s, for_leader=not anyone)
            try:
                await answer
            except NotLeader:
                self._doubt(link, term)
            except Overloaded as overloaded:
                await self._back_off(deadline_s, overloaded)
            except LinkLost:
                lost_sight = changes
                if link is self._leader:
                    self._doubt(link, term)
            except UnknownOutcome as unknown:
                lost_sight = changes
                await self._back_off(deadline_s, unknown)
            except TimeoutError:
                message = f"no answer within {self._wait_s:g} s"
                raise (UnknownOutcome(message) if changes else Unavailable(message)) from None
            else:
                return answer

    async def _back_off(self, deadline_s: float, error: StoreError) -> None:
        """Wait a moment before a repeat; raise the error where none fits in."""
        if asyncio.get_running_loop().time() + BACK_OFF_S > deadline_s:
            raise error
        await asyncio.sleep(BACK_OFF_S * (0.5 + self._rng.random()))

    def _start_round(self) -> None:
        """Ask once for everybody who asked for the revision in this turn; later callers need a later answer."""
        waiters, self._revision_waiters = self._revision_waiters, []
        task = asyncio.get_running_loop().create_task(self._round(waiters))
        self._rounds.add(task)
        task.add_done_callback(self._rounds.discard)

    async def _round(self, waiters: list[asyncio.Future[int]]) -> None:
        try:
            revision = _integer.decode((await self._ask(Kind.REVISION, b"")).result())
        except StoreError as error:
            _settle(waiters, error)
        except asyncio.CancelledError:
            _settle(waiters, Unavailable("the client is closed"))
            raise
        else:
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_result(revision)

    # The leader

    async def _find_leader(self, deadline_s: float) -> Link:
        while self._leader is None:
            if self._closed:
                raise Unavailable("the client is closed")
            try:
                async with asyncio.timeout_at(deadline_s):
                    await self._leader_known.wait()
            except TimeoutError:
                raise Unavailable(f"no leader within {self._wait_s:g} s: {self._trouble}") from None
        return self._leader

    def on_role(self, link: Link, role: Role) -> None:
        """Follow the member that says it leads, of two the one with the later term."""
        self._links[link] = None
        if not role.leads:
            if link is self._leader:
                self._demote(link)
            return
        if role.term < self._term or link is self._leader:
            return
        if self._leader is not None:
            self._demote(self._leader)
        log.debug("store leader name=%s term=%d", role.name, role.term)
        self._leader = link
        self._term = role.term
        self._leader_known.set()
        self._disarm()
        for watch in list(self._watches):
            watch.subscribe(link)

    def _link(self) -> Link:
        return Link(self, self._client, self._cluster_id)

    def _not_connected(self, reason: str) -> None:
        self._trouble = reason

    def on_lost(self, link: Link, reason: str) -> None:
        self._links.pop(link, None)
        self._trouble = reason
        if link is self._leader:
            self._demote(link)

    def _doubt(self, link: Link, term: int) -> None:
        """It didn't lead when it was asked, in `term`; by now it may have been elected again."""
        if term == self._term:
            self._demote(link)

    def _demote(self, link: Link) -> None:
        """Expect nothing more of this leader: what waits for it is repeated with the next."""
        link.abandon(Unavailable("the leader has changed"))
        if link is not self._leader:
            return
        self._leader = None
        self._leader_known.clear()
        for watch in self._watches:
            watch.unsubscribe()
        if self._watches:
            self._arm()

    # Watches end when no leader is found for `wait_s`.

    def _arm(self) -> None:
        if self._watchdog is None and not self._closed:
            self._watchdog = asyncio.get_running_loop().call_later(self._wait_s, self._give_watches_up)

    def _disarm(self) -> None:
        if self._watchdog is not None:
            self._watchdog.cancel()
            self._watchdog = None

    def _give_watches_up(self) -> None:
        self._watchdog = None
        for watch in list(self._watches):
            watch.fail(Unavailable(f"no leader within {self._wait_s:g} s: {self._trouble}"))

    def _forget(self, watch: RemoteWatch) -> None:
        self._watches.pop(watch, None)


def _settle(waiters: list[asyncio.Future[int]], error: StoreError) -> None:
    for waiter in waiters:
        if not waiter.done():
            waiter.set_exception(error)
