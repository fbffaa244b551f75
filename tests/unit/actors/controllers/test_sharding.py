"""Shards: every key is exactly one's, and controllers are hosted where they are named."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oarlock.actors.controllers.sharding import Shard, hosted

NAMES = ("deployment", "job", "cronjob")


@given(
    st.text("abc-/", min_size=1),
    st.one_of(st.none(), st.uuids()),
    st.integers(1, 9),
    st.sampled_from(["namespace", "uid"]),
)
def test_exactly_one_shard_owns_a_key(key: str, uid: object, count: int, by: str) -> None:
    obj = {"metadata": {"uid": str(uid)}} if uid is not None else None
    assert sum(Shard(number, count, by).owns(key, obj) for number in range(1, count + 1)) == 1


def test_a_namespace_stays_together() -> None:
    owners = {Shard(1, 2).owns(f"prod/{name}", None) for name in "abcdefgh"}
    assert len(owners) == 1


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (["*"], ["deployment", "job", "cronjob"]),
        (["*", "-job"], ["deployment", "cronjob"]),
        (["job"], ["job"]),
        ([], []),
    ],
)
def test_what_is_hosted(wanted: list[str], expected: list[str]) -> None:
    assert hosted(wanted, NAMES) == expected


def test_unknown_names_and_shards_are_refused() -> None:
    with pytest.raises(ValueError, match="unknown controllers: jobs"):
        hosted(["*", "-jobs"], NAMES)
    with pytest.raises(ValueError, match="no shard 3 of 2"):
        Shard(3, 2)


def test_some_controllers_act_only_where_they_are_named() -> None:
    assert hosted(["*"], ["a", "b"], asleep=("b",)) == ["a"]
    assert hosted(["*", "b"], ["a", "b"], asleep=("b",)) == ["a", "b"]
    assert hosted(["b"], ["a", "b"], asleep=("b",)) == ["b"]
