"""Ownership: exactly the right objects go."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from oarlock.actors.controllers.actions import Delete, Patch
from oarlock.actors.controllers.garbage import decide, judge

Object = dict[str, Any]


def obj(
    name: str, *owners: str, deleting: bool = False, finalizers: tuple[str, ...] = (), block: bool = True
) -> Object:
    references = [{"uid": owner, "name": owner, "kind": "ConfigMap", "blockOwnerDeletion": block} for owner in owners]
    metadata: Object = {
        "name": name,
        "uid": name,
        "namespace": "d",
        "resourceVersion": "1",
        "ownerReferences": references,
    }
    if deleting:
        metadata["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    if finalizers:
        metadata["finalizers"] = list(finalizers)
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}


def outcome(one: Object, owners: dict[str, Object | None], dependents: tuple[Object, ...] = ()) -> list[Any]:
    return decide(one, judge(one, owners), dependents)


def test_with_its_only_owner_gone_an_object_goes_in_the_background() -> None:
    (action,) = outcome(obj("a", "o"), {"o": None})
    assert isinstance(action, Delete)
    assert action.propagation == "Background"


def test_with_an_owner_left_it_forgets_the_one_that_is_gone() -> None:
    (action,) = outcome(obj("a", "o", "p"), {"o": None, "p": obj("p")})
    assert isinstance(action, Patch)
    assert [one["uid"] for one in action.patch["metadata"]["ownerReferences"]] == ["p"]  # type: ignore[index]


def test_with_all_owners_there_nothing_happens() -> None:
    assert outcome(obj("a", "o"), {"o": obj("o")}) == []
    assert outcome(obj("a"), {}) == []


def test_a_waiting_owners_dependent_goes_in_the_foreground_when_it_has_dependents_itself() -> None:
    waiting = obj("o", deleting=True, finalizers=("foregroundDeletion",))
    (leaf,) = outcome(obj("a", "o"), {"o": waiting})
    assert leaf.propagation == "Background"
    (middle,) = outcome(obj("a", "o"), {"o": waiting}, (obj("b", "a"),))
    assert middle.propagation == "Foreground"


def test_a_foreground_deletion_ends_when_nothing_blocks_it() -> None:
    waiting = obj("o", deleting=True, finalizers=("foregroundDeletion", "mine"))
    assert outcome(waiting, {}, (obj("a", "o"),)) == []
    (action,) = outcome(waiting, {}, (obj("a", "o", block=False),))
    assert action.patch["metadata"]["finalizers"] == ["mine"]


def test_orphaning_frees_dependents_first() -> None:
    owner = obj("o", deleting=True, finalizers=("orphan",))
    actions = outcome(owner, {}, (obj("a", "o", "p"),))
    assert [action.obj["metadata"]["name"] for action in actions] == ["a", "o"]
    assert [one["uid"] for one in actions[0].patch["metadata"]["ownerReferences"]] == ["p"]
    assert actions[1].patch["metadata"]["finalizers"] is None


@given(st.integers(2, 8).flatmap(lambda n: st.lists(st.tuples(st.integers(0, n - 1), st.integers(0, n)), max_size=16)))
@settings(max_examples=150, deadline=None)
def test_exactly_what_lost_all_owners_goes(edges: list[tuple[int, int]]) -> None:
    """Random graphs, cycles included: node 0 is deleted; an object goes when all its owners have gone."""
    names = {f"n{number}" for edge in edges for number in edge} | {"n0"}
    owners = {name: {f"n{owner}" for owned, owner in edges if f"n{owned}" == name} for name in names}
    alive = {name: obj(name, *sorted(owners[name])) for name in names}
    del alive["n0"]
    expected = set(alive)
    while gone := {name for name in expected if owners[name] and not owners[name] & expected}:
        expected -= gone
    while True:
        acted = False
        for name, one in list(alive.items()):
            present = {uid: alive.get(uid) for uid in (ref["uid"] for ref in one["metadata"]["ownerReferences"] or ())}
            for action in outcome(one, present):
                acted = True
                if isinstance(action, Delete):
                    del alive[name]
                else:
                    one["metadata"]["ownerReferences"] = action.patch["metadata"]["ownerReferences"]  # type: ignore[index]
        if not acted:
            break
    assert set(alive) == expected
