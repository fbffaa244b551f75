"""The client against members that answer as a script says: what it repeats, what it refuses to guess."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from oarlock.consensus.client import StoreClient
from oarlock.consensus.encoding import decode_command, decoder, encode, encode_error, encode_outcome
from oarlock.consensus.log import NotLeader, Overloaded
from oarlock.consensus.model import (
    Compacted,
    Event,
    EventKind,
    InvalidRequest,
    KeyValue,
    Put,
    Range,
    RangeResult,
    StoreError,
    Transaction,
    TransactionResult,
    Unavailable,
    UnknownOutcome,
    WatchBatch,
)
from oarlock.consensus.requestsequence import RequestSequence
from oarlock.consensus.sessions import OUTCOMES_MAX
from oarlock.consensus.wire import WATCH_CREDIT, Frame, FrameReader, Hello, Kind, Role, WatchRequest, frame

TRANSACTION = Transaction(success=(Put(b"k", b"v"),))
RESULT = TransactionResult(succeeded=True, revision=2)
Script = Callable[["Member", Frame], None]


class Member:
    """A scripted member on a Unix socket; it remembers every frame it got."""

    def __init__(self, folder: Path, name: str, script: Script, *, leads: bool = True, term: int = 1) -> None:
        self.endpoint = f"unix:{folder / name}"
        self.frames: list[Frame] = []
        self._name = name
        self._script = script
        self._role = (leads, term)
        self._writers: list[asyncio.StreamWriter] = []
        self._received = asyncio.Event()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_unix_server(self._serve, self.endpoint.removeprefix("unix:"))

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()

    def cut(self) -> None:
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    def send(self, kind: Kind, request: int, body: bytes = b"") -> None:
        self._writers[-1].write(frame(kind, request, body))

    def lead(self, *, leads: bool, term: int) -> None:
        self._role = (leads, term)
        self.send(Kind.ROLE, 0, encode(Role(self._name, "c", leads, term)))

    async def received(self, kind: Kind) -> None:
        """Return once a frame of this kind has come."""
        while not self.count(kind):
            self._received.clear()
            await self._received.wait()

    def count(self, kind: Kind) -> int:
        return sum(one.kind == kind for one in self.frames)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        frames = FrameReader()
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(1 << 16):
                for one in frames.feed(data):
                    self.frames.append(one)
                    self._received.set()
                    if one.kind == Kind.HELLO:
                        self.lead(leads=self._role[0], term=self._role[1])
                    else:
                        self._script(self, one)


@contextlib.asynccontextmanager
async def connected(*members: Member, wait_s: float = 5.0) -> AsyncIterator[StoreClient]:
    for member in members:
        await member.start()
    client = StoreClient([member.endpoint for member in members], wait_s=wait_s)
    try:
        await client.start()
        yield client
    finally:
        await client.close()
        for member in members:
            await member.stop()


def silent(_member: Member, _request: Frame) -> None:
    """Answer nothing."""


def agree(member: Member, request: Frame) -> None:
    if request.kind == Kind.COMMAND:
        member.send(Kind.RESULT, request.id, encode_outcome(RESULT))


def first(error: StoreError) -> Script:
    """Answer the first command with an error, later ones with success."""

    def script(member: Member, request: Frame) -> None:
        if member.count(Kind.COMMAND) == 1:
            member.send(Kind.ERROR, request.id, encode_error(error))
        else:
            agree(member, request)

    return script


@pytest.mark.parametrize("error", [UnknownOutcome("lost the lead"), Overloaded("full")])
def test_a_command_is_repeated_with_the_same_request_id(tmp_path: Path, error: StoreError) -> None:
    async def scenario() -> None:
        member = Member(tmp_path, "a", first(error))
        async with connected(member) as client:
            assert await client.transact(TRANSACTION) == RESULT
        commands = [decode_command(one.body) for one in member.frames if one.kind == Kind.COMMAND]
        assert len(commands) == 2
        assert commands[0] == commands[1]
        hello = decoder(Hello).decode(member.frames[0].body)
        assert commands[0].client == hello.client

    asyncio.run(scenario())


def test_a_lost_connection_repeats_and_the_next_request_acknowledges(tmp_path: Path) -> None:
    def script(member: Member, request: Frame) -> None:
        if member.count(Kind.COMMAND) == 1:
            member.cut()
        else:
            agree(member, request)

    async def scenario() -> None:
        member = Member(tmp_path, "a", script)
        async with connected(member) as client:
            await client.transact(TRANSACTION)
            await client.transact(TRANSACTION)
        ids = [
            (command.sequence, command.acknowledged)
            for command in (decode_command(one.body) for one in member.frames if one.kind == Kind.COMMAND)
        ]
        assert ids == [(1, 1), (1, 1), (2, 2)]

    asyncio.run(scenario())


def test_not_leader_waits_for_the_next_leader(tmp_path: Path) -> None:
    async def scenario() -> None:
        old = Member(tmp_path, "a", lambda member, one: member.send(Kind.ERROR, one.id, encode_error(NotLeader("b"))))
        new = Member(tmp_path, "b", agree, leads=False)
        async with connected(old, new) as client:
            asked = asyncio.ensure_future(client.transact(TRANSACTION))
            await asyncio.gather(old.received(Kind.COMMAND), new.received(Kind.HELLO))
            new.lead(leads=True, term=2)
            assert await asked == RESULT

    asyncio.run(scenario())


def test_a_silent_old_leader_is_left_as_soon_as_there_is_a_new_one(tmp_path: Path) -> None:
    async def scenario() -> None:
        old = Member(tmp_path, "a", silent)
        new = Member(tmp_path, "b", agree, leads=False)
        async with connected(old, new) as client:
            asked = asyncio.ensure_future(client.transact(TRANSACTION))
            await asyncio.gather(old.received(Kind.COMMAND), new.received(Kind.HELLO))
            new.lead(leads=True, term=2)
            assert await asked == RESULT
            old.lead(leads=True, term=1)
            assert await client.transact(TRANSACTION) == RESULT
            assert old.count(Kind.COMMAND) == 1

    asyncio.run(scenario())


def test_no_answer_is_unknown_for_a_write_and_unavailable_for_a_read(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with connected(Member(tmp_path, "a", silent), wait_s=0.3) as client:
            with pytest.raises(UnknownOutcome):
                await client.transact(TRANSACTION)
            with pytest.raises(Unavailable):
                await client.range(Range(b"k"))
            with pytest.raises(Unavailable):
                await client.revision()

    asyncio.run(scenario())


def test_nobody_there_is_unavailable(tmp_path: Path) -> None:
    async def scenario() -> None:
        with pytest.raises(Unavailable, match="No such file"):
            await StoreClient([f"unix:{tmp_path / 'none'}"], wait_s=0.2).start()

    asyncio.run(scenario())


def test_refusals_are_raised_as_they_are(tmp_path: Path) -> None:
    async def scenario() -> None:
        member = Member(tmp_path, "a", first(InvalidRequest("never")))
        async with connected(member) as client:
            with pytest.raises(InvalidRequest, match="never"):
                await client.transact(TRANSACTION)

    asyncio.run(scenario())


def test_callers_of_one_turn_share_a_revision_round(tmp_path: Path) -> None:
    def script(member: Member, request: Frame) -> None:
        member.send(Kind.RESULT, request.id, encode(40 + member.count(Kind.REVISION)))

    async def scenario() -> None:
        member = Member(tmp_path, "a", script)
        async with connected(member) as client:
            assert await asyncio.gather(*(client.revision() for _ in range(50))) == [41] * 50
            assert await client.revision() == 42

    asyncio.run(scenario())


def test_serializable_reads_need_no_leader(tmp_path: Path) -> None:
    def script(member: Member, request: Frame) -> None:
        member.send(Kind.RESULT, request.id, encode(RangeResult(7)))

    async def scenario() -> None:
        member = Member(tmp_path, "a", script)
        async with connected(member, wait_s=0.5) as client:
            member.lead(leads=False, term=2)
            assert (await client.range(Range(b"k"), serializable=True)).revision == 7
            with pytest.raises(Unavailable):
                await client.range(Range(b"k"))

    asyncio.run(scenario())


def event(revision: int) -> WatchBatch:
    return WatchBatch(revision, (Event(EventKind.PUT, KeyValue(b"k", b"", 2, revision, 1)),))


def test_a_watch_resumes_after_what_it_has_seen_and_ends_when_it_cannot(tmp_path: Path) -> None:
    asked: list[WatchRequest] = []

    def script(member: Member, request: Frame) -> None:
        asked.append(decoder(WatchRequest).decode(request.body))
        if len(asked) == 1:
            member.send(Kind.BATCH, request.id, encode(event(5)))
            member.send(Kind.BATCH, request.id, encode(WatchBatch(9, ())))
        elif len(asked) == 2:
            member.send(Kind.BATCH, request.id, encode(event(10)))
        else:
            member.send(Kind.ERROR, request.id, encode_error(Compacted(30)))

    async def scenario() -> None:
        member = Member(tmp_path, "a", script)
        async with connected(member) as client:
            watch = client.watch(b"k", b"", 3)
            assert [(await anext(watch)).revision for _ in range(2)] == [5, 9]
            member.cut()
            assert (await anext(watch)).revision == 10
            member.cut()
            with pytest.raises(Compacted):
                await anext(watch)
        assert [request.start_revision for request in asked] == [3, 10, 11]

    asyncio.run(scenario())


def test_a_watch_from_a_future_revision_resumes_there(tmp_path: Path) -> None:
    asked: list[WatchRequest] = []

    def script(member: Member, request: Frame) -> None:
        asked.append(decoder(WatchRequest).decode(request.body))
        member.send(Kind.BATCH, request.id, encode(WatchBatch(4, ()) if len(asked) == 1 else event(7)))

    async def scenario() -> None:
        member = Member(tmp_path, "a", script)
        async with connected(member) as client:
            watch = client.watch(b"k", b"", 7)
            assert (await anext(watch)).revision == 4
            member.cut()
            assert (await anext(watch)).revision == 7
        assert [request.start_revision for request in asked] == [7, 7]

    asyncio.run(scenario())


def test_a_slow_reader_holds_the_server_back(tmp_path: Path) -> None:
    def script(member: Member, request: Frame) -> None:
        if request.kind == Kind.WATCH:
            credit = decoder(WatchRequest).decode(request.body).credit
            for number in range(credit):
                member.send(Kind.BATCH, request.id, encode(event(2 + number)))

    async def scenario() -> None:
        member = Member(tmp_path, "a", script)
        async with connected(member) as client:
            watch = client.watch(b"k", b"", 2)
            for _ in range(WATCH_CREDIT):
                await anext(watch)
            await member.received(Kind.CREDIT)
            granted = [decoder(int).decode(one.body) for one in member.frames if one.kind == Kind.CREDIT]
            assert sum(granted) <= WATCH_CREDIT

    asyncio.run(scenario())


def test_a_watch_without_a_leader_ends_after_the_wait(tmp_path: Path) -> None:
    async def scenario() -> None:
        member = Member(tmp_path, "a", silent)
        async with connected(member, wait_s=0.3) as client:
            watch = client.watch(b"k", b"", 0)
            member.lead(leads=False, term=2)
            with pytest.raises(Unavailable):
                await anext(watch)
            late = client.watch(b"k", b"", 0)
            with pytest.raises(Unavailable):
                await anext(late)

    asyncio.run(scenario())


def test_request_numbers_stay_within_what_the_server_remembers() -> None:
    async def scenario() -> None:
        sequence = RequestSequence()
        oldest, _ = await sequence.take()
        for _ in range(OUTCOMES_MAX - 1):
            sequence.release((await sequence.take())[0])
        blocked = asyncio.ensure_future(sequence.take())
        await asyncio.sleep(0)
        assert not blocked.done()
        sequence.release(oldest)
        number, acknowledged = await blocked
        assert number == acknowledged == OUTCOMES_MAX + 1

    asyncio.run(scenario())


@pytest.mark.parametrize("endpoint", ["", "host", "host:", ":1", "host:x", "host:70000"])
def test_impossible_endpoints_are_refused(endpoint: str) -> None:
    with pytest.raises(ValueError, match="endpoint"):
        StoreClient([endpoint])
