"""Who owns what after updates and applies. The expected sets are those that kubectl shows of upstream's server."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oarlock.cluster.objects import defaulting, schemas
from oarlock.cluster.objects.apply import fieldsets, ownership, skeleton, versions
from oarlock.cluster.objects.apply.ownership import Conflicts, Manager
from oarlock.cluster.objects.resources import lookup

Obj = dict[str, Any]
CONFIGMAP = lookup("", "v1", "configmaps")
DEPLOYMENT = lookup("apps", "v1", "deployments")
assert CONFIGMAP is not None
assert DEPLOYMENT is not None
MAPS = schemas.schema_for(CONFIGMAP)
APPS = schemas.schema_for(DEPLOYMENT)
PODS = schemas.schema_of_type("io.k8s.api.core.v1.Pod")


def by(name: str, minute: int = 0, subresource: str = "") -> Manager:
    return Manager(name, "v1", f"2026-01-01T00:{minute:02}:00Z", subresource)


def config(**data: str) -> Obj:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": data}


def apply(live: Obj, entries: list[Obj], given: Obj, who: Manager, *, force: bool = False) -> tuple[Obj, list[Obj]]:
    return ownership.applied(MAPS, entries, live, given, who, force=force)


def owned(entries: list[Obj], name: str) -> set[str]:
    found = [one for one in entries if one["manager"] == name]
    return {fieldsets.text(path) for one in found for path in fieldsets.members(one["fieldsV1"])}


def test_a_creator_owns_what_it_said_and_what_was_filled_in_for_it() -> None:
    obj: Obj = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "d", "labels": {"a": "b"}},
        "spec": {
            "selector": {"matchLabels": {"a": "b"}},
            "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}},
        },
    }
    defaulting.default(DEPLOYMENT, obj)
    entries = ownership.updated(APPS, [], skeleton.of(DEPLOYMENT), obj, Manager("kubectl-create", "apps/v1", "t"))
    container = {
        ".": {},
        **{
            "f:" + name: {}
            for name in (
                *("image", "imagePullPolicy", "name", "resources"),
                *("terminationMessagePath", "terminationMessagePolicy"),
            )
        },
    }
    assert [entry["fieldsV1"] for entry in entries] == [
        {
            "f:metadata": {"f:labels": {".": {}, "f:a": {}}},
            "f:spec": {
                "f:progressDeadlineSeconds": {},
                "f:replicas": {},
                "f:revisionHistoryLimit": {},
                "f:selector": {},
                "f:strategy": {
                    "f:rollingUpdate": {".": {}, "f:maxSurge": {}, "f:maxUnavailable": {}},
                    "f:type": {},
                },
                "f:template": {
                    "f:metadata": {"f:labels": {".": {}, "f:a": {}}},
                    "f:spec": {
                        "f:containers": {'k:{"name":"c"}': container},
                        **{
                            "f:" + name: {}
                            for name in (
                                *("dnsPolicy", "restartPolicy", "schedulerName", "securityContext"),
                                "terminationGracePeriodSeconds",
                            )
                        },
                    },
                },
            },
        }
    ]


def test_an_update_moves_what_it_changes() -> None:
    first = ownership.updated(MAPS, [], {}, config(a="1", b="1"), by("one"))
    second = ownership.updated(MAPS, first, config(a="1", b="1"), config(a="2", c="1"), by("two", 1))
    assert owned(second, "one") == {".data"}
    assert owned(second, "two") == {".data.a", ".data.c"}


def test_an_update_without_change_keeps_entries_and_times() -> None:
    first = ownership.updated(MAPS, [], {}, config(a="1"), by("one"))
    assert ownership.updated(MAPS, first, config(a="1"), config(a="1"), by("one", 5)) == first


def test_a_status_is_owned_apart() -> None:
    old = {"spec": {"replicas": 1}, "status": {}}
    new = {"spec": {"replicas": 1}, "status": {"replicas": 1}}
    entries = ownership.updated(APPS, [], old, new, by("controller", subresource="status"))
    assert entries[0]["subresource"] == "status"
    assert owned(entries, "controller") == {".status.replicas"}
    assert ownership.updated(APPS, [], old, new, by("user")) == []


def test_the_oldest_updaters_are_folded() -> None:
    entries: list[Obj] = []
    live = config()
    for number in range(12):
        new = copy.deepcopy(live)
        new["data"][f"k{number}"] = "1"
        entries = ownership.updated(MAPS, entries, live, new, by(f"m{number:02}", number))
        live = new
    assert len(entries) == ownership.UPDATE_MANAGERS_MAX
    assert {".data.k0", ".data.k1", ".data.k2"} <= owned(entries, "ancient-changes")
    assert owned(entries, "m11") == {".data.k11"}


def test_a_conflict_names_owner_and_field() -> None:
    live, entries = apply({}, [], config(a="1", b="1"), by("m1"))
    with pytest.raises(Conflicts) as caught:
        apply(live, entries, config(b="2"), by("m2"))
    assert [(ownership.described(one.owner), fieldsets.text(one.path)) for one in caught.value.found] == [
        ('"m1"', ".data.b")
    ]


def test_an_updaters_description_tells_its_version_and_subresource() -> None:
    entries = ownership.updated(APPS, [], {"status": {}}, {"status": {"replicas": 1}}, by("c", 0, "status"))
    assert ownership.described(entries[0]) == '"c" with subresource "status" using v1'


def test_equal_values_are_shared_and_last_until_both_let_go() -> None:
    live, entries = apply({}, [], config(a="1"), by("m1"))
    live, entries = apply(live, entries, config(a="1"), by("m2", 1))
    live, entries = apply(live, entries, config(), by("m1", 2))
    assert live["data"] == {"a": "1"}
    assert owned(entries, "m2") == {".data.a"}
    live, entries = apply(live, entries, config(), by("m2", 3))
    assert "data" not in live or not live["data"]


def test_force_takes_the_field() -> None:
    live, entries = apply({}, [], config(a="1", b="1"), by("m1"))
    live, entries = apply(live, entries, config(b="2"), by("m2", 1), force=True)
    assert live["data"] == {"a": "1", "b": "2"}
    assert owned(entries, "m1") == {".data.a"}
    assert owned(entries, "m2") == {".data.b"}


def test_what_was_there_before_the_first_apply_has_an_owner() -> None:
    with pytest.raises(Conflicts) as caught:
        apply(config(a="1"), [], config(a="2"), by("m1"))
    assert caught.value.found[0].owner["manager"] == "before-first-apply"


def test_given_entries_count_only_if_they_are_whole() -> None:
    live = ownership.updated(MAPS, [], {}, config(a="1"), by("one"))
    assert ownership.present(live, None) == live
    assert ownership.present(live, [{}]) == []
    assert ownership.present(live, [{"manager": "x", "operation": "Nope", "apiVersion": "v1"}]) == live
    other = [by("two").entry("Update", {"f:data": {}})]
    assert ownership.present(live, other) == other


def pods(*containers: Obj) -> Obj:
    return {"metadata": {"name": "d"}, "spec": {"template": {"spec": {"containers": list(containers)}}}}


def test_list_items_are_owned_by_their_keys() -> None:
    who, other = Manager("m1", "apps/v1", "t1"), Manager("m2", "apps/v1", "t2")
    live, entries = ownership.applied(APPS, [], {}, pods({"name": "a", "image": "1"}), who, force=False)
    live, entries = ownership.applied(APPS, entries, live, pods({"name": "b", "image": "1"}), other, force=False)
    names = [one["name"] for one in live["spec"]["template"]["spec"]["containers"]]
    assert names == ["a", "b"]
    live, entries = ownership.applied(APPS, entries, live, pods({"name": "c", "image": "1"}), who, force=False)
    names = [one["name"] for one in live["spec"]["template"]["spec"]["containers"]]
    assert sorted(names) == ["b", "c"]


_DATA = st.dictionaries(st.sampled_from("abcd"), st.sampled_from("12"), max_size=4)


@given(_DATA, _DATA)
def test_applying_twice_changes_nothing_more(before: dict[str, str], wanted: dict[str, str]) -> None:
    live, entries = apply({}, [], config(**before), by("m1"))
    live, entries = apply(live, entries, config(**wanted), by("m2", 1), force=True)
    again, same = apply(live, entries, config(**wanted), by("m2", 2))
    assert (again, same) == (live, entries)


@given(_DATA, _DATA)
def test_force_ends_with_the_applied_values_and_letting_go_removes_them(
    one: dict[str, str], two: dict[str, str]
) -> None:
    live, entries = apply({}, [], config(**one), by("m1"))
    live, entries = apply(live, entries, config(**two), by("m2", 1), force=True)
    assert live.get("data", {}) == {**one, **two}
    left, _ = apply(live, entries, config(), by("m2", 2))
    changed = {key for key in two if one.get(key) != two[key]}
    kept = {key: value for key, value in one.items() if key not in changed}
    assert (left.get("data") or {}) == kept


@given(_DATA, _DATA)
def test_managers_of_different_fields_never_conflict(one: dict[str, str], two: dict[str, str]) -> None:
    theirs = {key.upper(): value for key, value in two.items()}
    live, entries = apply({}, [], config(**one), by("m1"))
    live, _ = apply(live, entries, config(**theirs), by("m2", 1))
    assert live.get("data", {}) == {**one, **theirs}


@given(_DATA, _DATA)
def test_an_updater_owns_exactly_what_it_changed(one: dict[str, str], two: dict[str, str]) -> None:
    first = ownership.updated(MAPS, [], {"data": {}}, {"data": one}, by("m1"))
    second = ownership.updated(MAPS, first, {"data": one}, {"data": two}, by("m2", 1))
    changed = {f".data.{key}" for key, value in two.items() if one.get(key) != value}
    assert {path for path in owned(second, "m2") if path != ".data"} == changed
    kept = {f".data.{key}" for key, value in one.items() if two.get(key) == value}
    assert {path for path in owned(second, "m1") if path != ".data"} == kept


_NAMES = st.sampled_from(["a", "b", "c"])
_TEXTS = st.sampled_from(["", "x", "y", None])
_LABELS = st.none() | st.dictionaries(_NAMES, st.sampled_from(["", "x", "y"]), max_size=3)
_PORTS = st.fixed_dictionaries(
    {"containerPort": st.integers(1, 3)}, optional={"protocol": st.sampled_from(["TCP", "UDP"]), "name": _TEXTS}
)
_CONTAINERS = st.fixed_dictionaries(
    {"name": _NAMES},
    optional={
        "image": _TEXTS,
        "args": st.none() | st.lists(_NAMES, max_size=2),
        "ports": st.none() | st.lists(_PORTS, max_size=3),
        "resources": st.fixed_dictionaries({}, optional={"limits": _LABELS, "requests": _LABELS}),
    },
)
_PODS = st.fixed_dictionaries(
    {
        "metadata": st.fixed_dictionaries(
            {}, optional={"name": _NAMES, "uid": _NAMES, "labels": _LABELS, "finalizers": st.lists(_NAMES, max_size=3)}
        )
    },
    optional={
        "spec": st.none()
        | st.fixed_dictionaries(
            {},
            optional={
                "containers": st.none() | st.lists(_CONTAINERS, max_size=3),
                "nodeSelector": _LABELS,
                "nodeName": _TEXTS,
                "securityContext": st.none() | st.just({}) | st.just({"runAsUser": 1}),
            },
        ),
        "status": st.fixed_dictionaries({}, optional={"phase": _TEXTS}),
    },
)


@given(_PODS, _PODS, st.sampled_from(["", "status", "scale", "ephemeralcontainers"]))
def test_a_first_owner_is_found_in_one_go_as_among_others(old: Obj, new: Obj, subresource: str) -> None:
    """Where nobody owns anything yet, nobody can lose anything, and nothing but what is there now need be looked at."""
    who = by("first", 0, subresource)
    slowly = versions.only(ownership.updating(PODS, (), old, new, who, apart=False))
    assert ownership.updated(PODS, (), old, new, who) == slowly


@pytest.mark.parametrize("subresource", ["", "scale", "status", "resize"])
def test_the_first_owner_owns_what_it_would_own_beside_others(subresource: str) -> None:
    old: Obj = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "status": {"replicas": 1}}
    new: Obj = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "d", "uid": "u", "generation": 2, "labels": {"a": "b"}},
        "spec": {"replicas": 2, "template": {"spec": {"containers": [{"name": "c", "image": "i:1"}]}}},
        "status": {"replicas": 2, "conditions": [{"type": "Available", "status": "True"}]},
    }
    one = by("one", subresource=subresource)
    first = ownership.updated(APPS, [], old, new, one)
    assert first == versions.only(ownership.updating(APPS, [], old, new, one, apart=False))
    assert first
