"""Ownership: exactly the right objects go."""

from __future__ import annotations

import asyncio
import copy
import random
from contextlib import suppress
from typing import Any

import pytest
from harness.controllers import acting, cluster
from harness.ownership_graphs import graphs, survivors
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from oarlock.actors.controllers import monitors
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
from oarlock.cluster.client.http import ApiClient
from oarlock.cluster.objects.patches import merge_patch
from oarlock.cluster.objects.resources import Resource, by_kind
from oarlock.cluster.objects.status import ApiError

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


@given(graphs(), st.integers(0, 8), st.sampled_from(["Background", "Foreground"]), st.integers(0, 2**16))
@settings(max_examples=400, deadline=None)
def test_exactly_what_lost_all_owners_goes(objects: list[Object], first: int, policy: str, seed: int) -> None:
    """Cycles, missing owners, other namespaces, unknown kinds: background and foreground take the same objects."""
    uid = f"u{first % len(objects)}"
    expected = survivors(objects, uid)
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


# Through the API server ----------------------------------------------------------------------------------------


class Planted:
    """A graph as objects of a server: `a` and `b` are namespaces of its own, what is in neither is a ClusterRole."""

    def __init__(self, client: ApiClient, number: int, objects: list[Object]) -> None:
        self.client, self.objects = client, {one["metadata"]["uid"]: one for one in objects}
        self.prefix, self.uids = f"g{number}", dict[str, str]()

    def path(self, uid: str) -> str:
        metadata = self.objects[uid]["metadata"]
        place = metadata.get("namespace")
        folder = f"/api/v1/namespaces/{self.prefix}{place}/configmaps" if place else _ROLES
        return f"{folder}/{self.prefix}{metadata['name']}"

    async def plant(self) -> None:
        """All objects are there before any of them names an owner, so that circles can be closed."""
        for place in {one["metadata"].get("namespace") for one in self.objects.values()} - {None}:
            await self.client.create("/api/v1/namespaces", {"metadata": {"name": f"{self.prefix}{place}"}})
        for uid in self.objects:
            folder, _, name = self.path(uid).rpartition("/")
            made = await self.client.create(folder, {"metadata": {"name": name}})
            self.uids[uid] = made["metadata"]["uid"]
        for uid, one in self.objects.items():
            with suppress(ApiError):  # what it hangs on may be garbage already, and it too
                owners = [self._reference(reference) for reference in _references(one)]
                await self.client.patch(self.path(uid), {"metadata": {"ownerReferences": owners}})

    def _reference(self, reference: Object) -> Object:
        role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole"}
        kinds = {"PersistentVolume": role, "Widget": {"apiVersion": "x.io/v1", "kind": "Widget"}}
        uid, name = self.uids.get(reference["uid"], "of-nothing"), f"{self.prefix}{reference['name']}"
        return {**reference, **kinds.get(reference["kind"], {}), "name": name, "uid": uid}

    async def delete(self, uid: str, policy: str) -> None:
        with suppress(ApiError):
            await self.client.delete(self.path(uid), {"propagationPolicy": policy})

    def is_collected(self, first: str, live: dict[str, Object]) -> bool:
        """Whether exactly the right objects are left among the `live` ones, but for those that wait in vain."""
        left = {uid for uid, made in self.uids.items() if made in live}
        waiting = {uid for uid in left if is_waiting(live[self.uids[uid]])}
        return left - waiting == survivors(list(self.objects.values()), first) - waiting


_ROLES = "/apis/rbac.authorization.k8s.io/v1/clusterroles"


@given(st.lists(graphs(), min_size=5, max_size=5), st.integers(0, 8), st.sampled_from(["Background", "Foreground"]))
@settings(max_examples=2, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate])
def test_exactly_these_go_from_a_server_too(drawn: list[list[Object]], first: int, policy: str) -> None:
    async def scenario() -> None:
        async with cluster() as here, acting(here):
            caches = [here.watch("", "v1", "configmaps"), here.watch(*_ROLES.split("/")[2:])]
            here.informers.start()
            await here.informers.synced()
            planted = [Planted(here.client, number, objects) for number, objects in enumerate(drawn)]
            firsts = [f"u{first % len(one.objects)}" for one in planted]
            for one, uid in zip(planted, firsts, strict=True):
                await one.plant()
                await one.delete(uid, policy)

            def are_collected() -> bool:
                live = {obj["metadata"]["uid"]: obj for cache in caches for obj in cache}
                return all(one.is_collected(uid, live) for one, uid in zip(planted, firsts, strict=True))

            await here.until(are_collected)

    asyncio.run(scenario())


_DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
_MAPS, _THINGS = "/api/v1/namespaces/default/configmaps", "/apis/x.io/v1/namespaces/default/things"


def _definition(kind: str) -> Object:
    plural = f"{kind.lower()}s"
    names = {"plural": plural, "singular": kind.lower(), "kind": kind, "listKind": f"{kind}List"}
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    versions = [{"name": "v1", "served": True, "storage": True, "schema": schema}]
    spec = {"group": "x.io", "names": names, "scope": "Namespaced", "versions": versions}
    return {"metadata": {"name": f"{plural}.x.io"}, "spec": spec}


@pytest.mark.parametrize(
    ("policy", "left"),
    [("Background", {"apart"}), ("Foreground", {"apart"}), ("Orphan", {"apart", "below", "child", "under"})],
)
def test_custom_resources_own_and_are_owned_like_others(policy: str, left: set[str]) -> None:
    """A Thing has a ConfigMap and a Thing below it, the latter a ConfigMap in turn; one more is nobody's."""

    async def scenario() -> None:
        async with cluster() as here:
            definitions = here.watch("apiextensions.k8s.io", "v1", "customresourcedefinitions")
            here.informers.start()
            await here.client.create(_DEFINITIONS, _definition("Thing"))
            await here.until(lambda: any("Established" in str(one.get("status")) for one in definitions))
            things, maps = here.watch("x.io", "v1", "things"), here.watch("", "v1", "configmaps")
            await here.informers.synced()

            async def made(path: str, kind: str, name: str, owner: Object | None = None) -> Object:
                metadata: Object = {"name": name, "labels": {"app": "x"}}
                if owner is not None:
                    named = {part: owner["metadata"][part] for part in ("name", "uid")}
                    kinds = {"apiVersion": owner["apiVersion"], "kind": owner["kind"]}
                    metadata["ownerReferences"] = [{**kinds, **named, "blockOwnerDeletion": True}]
                version = "v1" if kind == "ConfigMap" else "x.io/v1"
                return await here.client.create(path, {"apiVersion": version, "kind": kind, "metadata": metadata})

            top = await made(_THINGS, "Thing", "top")
            child = await made(_THINGS, "Thing", "child", top)
            await made(_MAPS, "ConfigMap", "below", top)
            await made(_MAPS, "ConfigMap", "under", child)
            await made(_MAPS, "ConfigMap", "apart")

            def names() -> set[str]:
                both = (one["metadata"] for cache in (things, maps) for one in cache)
                return {one["name"] for one in both if "app" in (one.get("labels") or {})}

            async with acting(here, controllers=["garbagecollector"]):
                await here.client.delete(f"{_THINGS}/top", {"propagationPolicy": policy})
                await here.until(lambda: names() == left)
            if policy == "Orphan":
                assert not (things.get("default/child") or {})["metadata"].get("ownerReferences")

    asyncio.run(scenario())


def test_what_an_unknown_kind_owns_is_judged_once_the_kind_is_served(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monitors, "_DISCOVERY_S", 0.1)
    owner = {"apiVersion": "x.io/v1", "kind": "Thing", "name": "of-old", "uid": "of-old"}

    async def scenario() -> None:
        async with cluster() as here:
            maps = here.watch("", "v1", "configmaps")
            here.informers.start()
            await here.informers.synced()
            metadata = {"name": "owned", "ownerReferences": [owner]}
            gone = {**owner, "apiVersion": "v1", "kind": "ConfigMap"}
            async with acting(here, controllers=["garbagecollector"]):
                await here.client.create(_MAPS, {"metadata": metadata})
                await here.client.create(_MAPS, {"metadata": {"name": "sooner", "ownerReferences": [gone]}})
                await here.until(lambda: maps.get("default/sooner") is None)
                assert maps.get("default/owned") is not None
                await here.client.create(_DEFINITIONS, _definition("Thing"))
                await here.until(lambda: maps.get("default/owned") is None)

    asyncio.run(scenario())
