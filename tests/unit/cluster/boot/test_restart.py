"""In which order parts are restarted, and what is waited for in between."""

from __future__ import annotations

import pytest

from oarlock.cluster.boot.errors import BootError
from oarlock.cluster.boot.restart import in_order, lagging
from oarlock.cluster.boot.status import Row
from oarlock.consensus.model import MemberStatus


def row(name: str, kind: str, *, active: bool = False) -> Row:
    return Row(name, kind, "ready", 1, "127.0.0.1:1", active, 1.0, 0)


ROWS = [
    row("store-1", "store", active=True),
    row("store-2", "store"),
    row("apiserver-1", "apiserver"),
    row("node-1", "agent"),
    row("balancer", "balancer"),
    row("state-1", "resp"),
    row("ray-1", "ray", active=True),
    row("ray-2", "ray"),
    row("scheduler-a", "actor", active=True),
]


def test_what_others_lean_on_comes_first_and_who_leads_comes_last_of_its_kind() -> None:
    assert in_order(ROWS, []) == [
        *("store-2", "store-1", "apiserver-1", "balancer", "state-1", "ray-2", "ray-1", "node-1")
    ]


def test_parts_and_kinds_can_be_named_in_any_order() -> None:
    assert in_order(ROWS, ["node-1", "store", "balancer"]) == ["store-2", "store-1", "balancer", "node-1"]


@pytest.mark.parametrize("name", ["store-9", "scheduler-a", ""])
def test_what_is_no_part_is_named_with_what_there_is(name: str) -> None:
    with pytest.raises(BootError, match="there is no part .*\n.*store-1, store-2, apiserver-1") as refused:
        in_order(ROWS, ["store-1", name])
    assert name in refused.value.cause


def member(name: str, leader: str = "a", applied: int = 10) -> MemberStatus:
    return MemberStatus(name, leader, 1, applied, applied, 1, 0, 0)


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ([member("a"), member("b"), member("c")], ""),
        ([member("a", applied=12), member("b"), member("c", applied=11)], ""),
        ([member("a"), member("b")], "only 2 of 3 store replicas answer"),
        ([], "only 0 of 3 store replicas answer"),
        ([member("a"), member("b", leader=""), member("c")], "the store has no leader that all replicas know"),
        ([member(name, leader="") for name in "abc"], "the store has no leader that all replicas know"),
        ([member("a"), member("b"), member("c", applied=9)], "c is catching up"),
    ],
)
def test_the_next_replica_goes_only_while_all_others_have_everything(members: list[MemberStatus], said: str) -> None:
    assert lagging(members, 3, 10) == said
