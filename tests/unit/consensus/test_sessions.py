"""What is remembered for retries is bounded in number and bytes, and what is forgotten never runs twice."""

from __future__ import annotations

import pytest

from oarlock.consensus import checkpoint, sessions
from oarlock.consensus.commands import Command, Outcome, Revoke
from oarlock.consensus.machine import Machine
from oarlock.consensus.model import (
    Delete,
    InvalidRequest,
    Operation,
    Put,
    Range,
    Transaction,
    TransactionResult,
    UnknownOutcome,
)


def send(machine: Machine, client: int, sequence: int, *operations: Operation, acknowledged: int = 1) -> Outcome:
    return machine.apply(Command(Transaction(success=operations), client, sequence, acknowledged)).outcome


def filled(values: int, size: int) -> Machine:
    machine = Machine()
    for number in range(values):
        machine.apply(Command(Transaction(success=(Put(b"v%04d" % number, bytes(size)),))))
    return machine


def test_an_answer_too_large_to_keep_is_unknown_when_asked_for_again_and_has_run_once() -> None:
    machine = filled(3, sessions.OUTCOME_BYTES_MAX // 2)
    request = (Put(b"count", b""), Range(b"v", b"w"))
    first = send(machine, 5, 1, *request)
    assert isinstance(first, TransactionResult)
    assert isinstance(send(machine, 5, 1, *request), UnknownOutcome)
    assert machine.range(Range(b"count")).kvs[0].version == 1
    assert isinstance(send(machine, 5, 2, Put(b"count", b"")), TransactionResult)


def test_one_client_s_answers_are_bounded_in_bytes() -> None:
    machine = filled(1, sessions.OUTCOME_BYTES_MAX // 2)
    for sequence in range(1, 51):
        send(machine, 5, sequence, Put(b"count", b""), Range(b"v", b"w"))
    session = machine.sessions.clients[5]
    assert session.size <= sessions.SESSION_BYTES_MAX
    assert machine.sessions.size == session.size
    assert isinstance(send(machine, 5, 1, Put(b"count", b"")), UnknownOutcome)
    assert send(machine, 5, 50) == send(machine, 5, 50)
    assert machine.range(Range(b"count")).kvs[0].version == 50


@pytest.mark.parametrize("previous", [Delete(b"v", b"w", previous=True), Put(b"v0000", b"", previous=True)])
def test_all_clients_answers_together_are_bounded(previous: Operation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "BYTES_MAX", 1 << 20)
    machine = Machine()
    for client in range(1, 101):
        machine.apply(Command(Transaction(success=(Put(b"v0000", bytes(100_000)),))))
        send(machine, client, 1, previous, Put(b"count", b""))
    assert machine.sessions.size <= sessions.BYTES_MAX
    assert machine.sessions.size == sum(session.size for session in machine.sessions.clients.values())
    revision = machine.revision
    assert isinstance(send(machine, 1, 1, previous), UnknownOutcome)
    assert isinstance(send(machine, 100, 1, previous), TransactionResult)
    assert machine.revision == revision
    assert isinstance(send(machine, 1, 2, Put(b"count", b"")), TransactionResult)


def test_the_number_of_clients_and_of_their_answers_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "CLIENTS_MAX", 10)
    machine = Machine()
    for client in range(1, 31):
        send(machine, client, 1)
    assert list(machine.sessions.clients) == list(range(21, 31))
    for sequence in range(2, sessions.OUTCOMES_MAX + 10):
        send(machine, 30, sequence)
    assert len(machine.sessions.clients[30].outcomes) == sessions.OUTCOMES_MAX
    assert machine.sessions.size == sum(session.size for session in machine.sessions.clients.values())
    send(machine, 30, 5000, acknowledged=5000)
    assert machine.sessions.clients[30].size == sessions.OUTCOME_BYTES


def test_sessions_outlive_a_snapshot_with_their_size_and_order() -> None:
    machine = filled(2, 200_000)
    for client in (9, 3, 7):
        for sequence in range(1, 4):
            send(machine, client, sequence, Put(b"count", b""), Range(b"v", b"w"))
    machine.apply(Command(Transaction(), 8, 4, 4))
    machine.apply(Command(Revoke(1), 8, 5, 6))
    restored = checkpoint.load(checkpoint.take(machine))
    assert list(restored.sessions.clients) == [9, 3, 7, 8]
    assert restored.sessions.size == machine.sessions.size
    for client, session in machine.sessions.clients.items():
        assert restored.sessions.clients[client].outcomes.keys() == session.outcomes.keys()
        assert restored.sessions.clients[client].acknowledged == session.acknowledged
    assert send(restored, 3, 2) == send(machine, 3, 2)


def test_a_number_used_twice_for_different_requests_is_refused() -> None:
    machine = Machine()
    send(machine, 5, 1, Put(b"a", b""))
    assert isinstance(machine.apply(Command(Revoke(1), 5, 1, 1)).outcome, InvalidRequest)
