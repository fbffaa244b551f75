"""Ownership: exactly the right objects go."""

from __future__ import annotations

import copy
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oarlock.actors.controllers.actions import Action, Delete, Patch
from oarlock.actors.controllers.garbage import (
    FOREGROUND,
    ORPHAN,
    Misplaced,
    UnknownKind,
    decide,
    invalid_namespace,
    is_waiting,
    judge,
    locate,
)
from oarlock.cluster.objects.patches import merge_patch
from oarlock.cluster.objects.resources import Resource, by_kind

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
    references = [] if one["metadata"].get("deletionTimestamp") else one["metadata"]["ownerReferences"]
    return decide(one, judge(references, [owners[reference["uid"]] for reference in references]), dependents)


def test_with_its_only_owner_gone_an_object_goes_in_the_background() -> None:
    (action,) = outcome(obj("a", "o"), {"o": None})
    assert isinstance(action, Delete)
    assert action.propagation == "Background"


@pytest.mark.parametrize(("finalizer", "policy"), [(ORPHAN, "Orphan"), (FOREGROUND, "Foreground"), ("x", "Background")])
def test_an_objects_own_finalizer_says_how_it_goes(finalizer: str, policy: str) -> None:
    (action,) = outcome(obj("a", "o", finalizers=(finalizer,)), {"o": None})
    assert action.propagation == policy


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


def test_a_circle_of_waiting_objects_is_opened_before_it_is_closed() -> None:
    waiting = obj("o", "a", deleting=True, finalizers=("foregroundDeletion",))
    (freed,) = outcome(obj("a", "o"), {"o": waiting}, (waiting,))
    assert freed.patch["metadata"]["ownerReferences"][0]["blockOwnerDeletion"] is False
    (deleted,) = outcome(obj("a", "o", block=False), {"o": waiting}, (waiting,))
    assert deleted.propagation == "Foreground"


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


def test_an_owner_is_looked_for_where_the_api_allows_it_to_be() -> None:
    config_map, node = by_kind("", "v1", "ConfigMap"), by_kind("", "v1", "Node")
    reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": "o", "uid": "u"}
    where = locate(obj("a"), reference, config_map)
    assert (where.namespace, where.name, where.uid) == ("d", "o", "u")
    assert locate(obj("a"), reference, node).namespace == ""
    with pytest.raises(UnknownKind):
        locate(obj("a"), reference, None)
    with pytest.raises(Misplaced):
        locate({"metadata": {"name": "cluster-wide"}}, reference, config_map)


def test_an_owner_in_another_namespace_is_told_in_upstreams_words() -> None:
    reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": "o", "uid": "u"}
    event = invalid_namespace(obj("a"), reference)
    assert (event.kind, event.reason) == ("Warning", "OwnerRefInvalidNamespace")
    assert event.message == 'ownerRef [v1/ConfigMap, namespace: d, name: o, uid: u] does not exist in namespace "d"'


# Random graphs -------------------------------------------------------------------------------------------------

_KINDS: dict[str, Resource | None] = {
    "ConfigMap": by_kind("", "v1", "ConfigMap"),
    "PersistentVolume": by_kind("", "v1", "PersistentVolume"),
    "Widget": None,
}


class Graph:
    """Objects under an API server's rules of deletion, collected one random object at a time until nothing changes."""

    def __init__(self, objects: list[Object], seed: int) -> None:
        self.objects = {one["metadata"]["uid"]: one for one in objects}
        self.random = random.Random(seed)

    def delete(self, uid: str, policy: str) -> None:
        metadata = self.objects[uid]["metadata"]
        finalizers = [one for one in metadata.get("finalizers") or [] if one not in (FOREGROUND, ORPHAN)]
        extra = {"Foreground": [FOREGROUND], "Orphan": [ORPHAN]}.get(policy, [])
        metadata["finalizers"] = [*finalizers, *extra]
        metadata["deletionTimestamp"] = "2026-01-01T00:00:00Z"
        self._leave(uid)

    def collect(self) -> None:
        for _ in range(400):
            uids = list(self.objects)
            self.random.shuffle(uids)
            acted = [self._one(uid) for uid in uids if uid in self.objects]
            if not any(acted):
                return
        raise AssertionError("collecting never ends")

    def _one(self, uid: str) -> bool:
        one = copy.deepcopy(self.objects[uid])
        references = [] if one["metadata"].get("deletionTimestamp") else _references(one)
        try:
            owners = [self._owner(one, reference) for reference in references]
        except (UnknownKind, Misplaced):
            return False
        dependents = [
            copy.deepcopy(other)
            for other in self.objects.values()
            if any(reference["uid"] == uid for reference in _references(other))
        ]
        actions = decide(one, judge(references, owners), dependents)
        for action in actions:
            self._act(action)
        return bool(actions)

    def _act(self, action: Action) -> None:
        assert isinstance(action, Delete | Patch)
        uid = action.obj["metadata"]["uid"]
        if isinstance(action, Delete):
            self.delete(uid, action.propagation or "")
        else:
            self.objects[uid] = merge_patch(self.objects[uid], action.patch)  # type: ignore[arg-type]
            self._leave(uid)

    def _leave(self, uid: str) -> None:
        metadata = self.objects[uid]["metadata"]
        if metadata.get("deletionTimestamp") and not metadata.get("finalizers"):
            del self.objects[uid]

    def _owner(self, one: Object, reference: Object) -> Object | None:
        where = locate(one, reference, _KINDS[reference["kind"]])
        found = self.objects.get(where.uid)
        if found is None or found["metadata"].get("namespace", "") != where.namespace:
            return None
        return found if found["metadata"]["name"] == where.name else None


@st.composite
def graphs(draw: st.DrawFn, mistakes: bool = True) -> list[Object]:
    """Up to nine objects, each with up to three owners; with mistakes in two namespaces or none, missing, misnamed."""
    count = draw(st.integers(1, 9))
    places = draw(st.lists(st.sampled_from(["a", "a", "b", ""] if mistakes else ["a"]), min_size=count, max_size=count))
    made = []
    for number, place in enumerate(places):
        kind = "ConfigMap" if place else "PersistentVolume"
        metadata: Object = {"name": f"n{number}", "uid": f"u{number}", "resourceVersion": "1", "ownerReferences": []}
        if place:
            metadata["namespace"] = place
        for owner in draw(st.lists(st.integers(0, count if mistakes else count - 1), max_size=3, unique=True)):
            where = places[owner] if owner < count else "a"
            wrong = draw(st.sampled_from([None, None, None, None, "name", "kind"] if mistakes else [None]))
            metadata["ownerReferences"].append(
                {
                    "apiVersion": "v1",
                    "kind": "Widget" if wrong == "kind" else "ConfigMap" if where else "PersistentVolume",
                    "name": "other" if wrong == "name" else f"n{owner}",
                    "uid": f"u{owner}",
                    "blockOwnerDeletion": draw(st.booleans()),
                }
            )
        made.append({"apiVersion": "v1", "kind": kind, "metadata": metadata})
    return made


def _survivors(objects: list[Object], first: str) -> set[str]:
    """What must be left: an object goes when it has owners, all can be looked up, and none of them is left."""
    by_uid = {one["metadata"]["uid"]: one for one in objects}

    def owned_by(one: Object, reference: Object) -> str | None:
        """The owner's uid, "" for one that can't exist, None when it can't be told."""
        namespace = one["metadata"].get("namespace", "")
        if reference["kind"] == "Widget" or (reference["kind"] == "ConfigMap" and not namespace):
            return None
        owner = by_uid.get(reference["uid"])
        wanted = namespace if reference["kind"] == "ConfigMap" else ""
        same = owner is not None and owner["metadata"]["name"] == reference["name"]
        return reference["uid"] if same and owner["metadata"].get("namespace", "") == wanted else ""  # type: ignore[index]

    left = set(by_uid) - {first}
    while True:
        gone = set()
        for uid in left:
            owners = [owned_by(by_uid[uid], one) for one in by_uid[uid]["metadata"]["ownerReferences"]]
            if owners and None not in owners and not any(owner in left for owner in owners):
                gone.add(uid)
        if not gone:
            return left
        left -= gone


@given(graphs(), st.integers(0, 8), st.sampled_from(["Background", "Foreground"]), st.integers(0, 2**16))
@settings(max_examples=400, deadline=None)
def test_exactly_what_lost_all_owners_goes(objects: list[Object], first: int, policy: str, seed: int) -> None:
    """Cycles, missing owners, other namespaces, unknown kinds: background and foreground take the same objects."""
    uid = f"u{first % len(objects)}"
    expected = _survivors(objects, uid)
    graph = Graph(copy.deepcopy(objects), seed)
    graph.delete(uid, policy)
    graph.collect()
    left = set(graph.objects)
    # What can't be judged, because an owner's kind isn't known, is never deleted: in the foreground its owner waits.
    waiting = {one for one in left - expected if is_waiting(graph.objects[one])}
    assert left - waiting == expected - waiting
    for one in waiting:
        assert any(_holds(other, one) for other in graph.objects.values()), "waits for nothing"


def _holds(other: Object, uid: str) -> bool:
    return any(one["uid"] == uid and one["blockOwnerDeletion"] for one in _references(other))


def _references(one: Object) -> list[Object]:
    return one["metadata"].get("ownerReferences") or []


@given(graphs(mistakes=False), st.integers(0, 8), st.integers(0, 2**16))
@settings(max_examples=200, deadline=None)
def test_orphaning_takes_nothing_along(objects: list[Object], first: int, seed: int) -> None:
    """In a graph where every owner is there, one object goes and all others stay, cycles or not."""
    uid = f"u{first % len(objects)}"
    graph = Graph(copy.deepcopy(objects), seed)
    graph.delete(uid, "Orphan")
    graph.collect()
    assert set(graph.objects) == {one["metadata"]["uid"] for one in objects} - {uid}
