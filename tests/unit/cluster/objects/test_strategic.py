"""Strategic merge patch: results and orders that upstream's API server gives."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oarlock.cluster.objects import resources, schemas
from oarlock.cluster.objects.status import ApiError
from oarlock.cluster.objects.strategic import strategic_merge

DEPLOYMENTS = resources.lookup("apps", "v1", "deployments")
assert DEPLOYMENTS is not None
SCHEMA = schemas.schema_for(DEPLOYMENTS)


def deployment(**pod: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "web", "labels": {"a": "1", "b": "2"}, "finalizers": ["x/a", "x/b"]},
        "spec": {
            "replicas": 1,
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}},
            "template": {"spec": {"containers": [{"name": "c", "image": "nginx"}], **pod}},
        },
    }


def patched_pod(doc: dict[str, Any], pod: dict[str, Any]) -> dict[str, Any]:
    result: dict[str, Any] = strategic_merge(doc, {"spec": {"template": {"spec": pod}}}, SCHEMA)
    return result["spec"]["template"]["spec"]  # type: ignore[no-any-return]


def names(items: list[dict[str, Any]]) -> list[str]:
    return [item["name"] for item in items]


def test_a_new_item_goes_before_those_it_does_not_name() -> None:
    pod = patched_pod(deployment(), {"containers": [{"name": "d", "image": "b"}]})
    assert names(pod["containers"]) == ["d", "c"]


def test_items_merge_by_key_at_every_depth() -> None:
    doc = deployment(containers=[{"name": "c", "image": "nginx", "env": [{"name": "A", "value": "1"}]}])
    pod = patched_pod(doc, {"containers": [{"name": "c", "env": [{"name": "B", "value": "2"}]}]})
    assert pod["containers"][0]["image"] == "nginx"
    assert pod["containers"][0]["env"] == [{"name": "B", "value": "2"}, {"name": "A", "value": "1"}]
    pod = patched_pod(doc, {"containers": [{"name": "c", "env": [{"name": "A", "$patch": "delete"}]}]})
    assert pod["containers"][0]["env"] == []


def test_replace_directives() -> None:
    pod = patched_pod(deployment(), {"containers": [{"$patch": "replace"}, {"name": "z", "image": "z"}]})
    assert pod["containers"] == [{"name": "z", "image": "z"}]
    result = strategic_merge(deployment(), {"metadata": {"labels": {"$patch": "replace", "c": "3"}}}, SCHEMA)
    assert result["metadata"]["labels"] == {"c": "3"}
    result = strategic_merge(deployment(), {"metadata": {"labels": {"$patch": "delete"}}}, SCHEMA)
    assert result["metadata"]["labels"] == {}


def test_lists_without_a_merge_strategy_are_replaced() -> None:
    doc = deployment(tolerations=[{"key": "a", "operator": "Exists"}])
    pod = patched_pod(doc, {"tolerations": [{"key": "b", "operator": "Exists"}]})
    assert pod["tolerations"] == [{"key": "b", "operator": "Exists"}]


def test_element_order() -> None:
    doc = deployment(containers=[{"name": "z", "image": "z"}])
    order = {"$setElementOrder/containers": [{"name": "z"}, {"name": "y"}]}
    pod = patched_pod(doc, {**order, "containers": [{"name": "y", "image": "y"}]})
    assert names(pod["containers"]) == ["z", "y"]
    pod = patched_pod(doc, {"$setElementOrder/containers": [{"name": "z"}]})
    assert names(pod["containers"]) == ["z"]


def test_element_order_keeps_what_only_the_object_has_in_place() -> None:
    doc = deployment(containers=[{"name": name} for name in ("a", "injected", "b")])
    pod = patched_pod(doc, {"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}]})
    assert names(pod["containers"]) == ["injected", "b", "a"]


def test_retain_keys() -> None:
    result = strategic_merge(
        deployment(), {"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}}, SCHEMA
    )
    assert result["spec"]["strategy"] == {"type": "Recreate"}


def test_primitive_lists() -> None:
    result = strategic_merge(deployment(), {"metadata": {"finalizers": ["x/b", "x/c"]}}, SCHEMA)
    assert sorted(result["metadata"]["finalizers"]) == ["x/a", "x/b", "x/c"]
    result = strategic_merge(deployment(), {"metadata": {"$deleteFromPrimitiveList/finalizers": ["x/a"]}}, SCHEMA)
    assert result["metadata"]["finalizers"] == ["x/b"]


def test_nulls_remove_and_never_stay() -> None:
    result = strategic_merge(deployment(), {"metadata": {"labels": {"a": None}}, "spec": {"paused": None}}, SCHEMA)
    assert result["metadata"]["labels"] == {"b": "2"}
    assert "paused" not in result["spec"]
    pod = patched_pod(deployment(), {"volumes": [{"name": "v", "emptyDir": {}, "configMap": None}]})
    assert pod["volumes"] == [{"name": "v", "emptyDir": {}}]


@pytest.mark.parametrize(
    ("patch", "code", "message"),
    [
        (
            {"spec": {"template": {"spec": {"containers": [{"image": "noname"}]}}}},
            400,
            "map: map[image:noname] does not contain declared merge key: name",
        ),
        ({"$patch": "nope"}, 400, "unknown patch type: nope in map: map[$patch:nope]"),
        ({"spec": {"strategy": {"$retainKeys": "x"}}}, 400, "invalid patch format of retainKeys"),
        ({"metadata": {"$deleteFromPrimitiveList": ["x"]}}, 400, "invalid patch format of primitive list"),
        ([], 400, "error decoding patch: json: cannot unmarshal array into Go value of type map[string]interface {}"),
    ],
)
def test_refusals(patch: Any, code: int, message: str) -> None:
    with pytest.raises(ApiError) as refusal:
        strategic_merge(deployment(), patch, SCHEMA)
    assert (refusal.value.code, refusal.value.message) == (code, message)


def test_an_item_missing_from_the_order_is_refused() -> None:
    order = {"$setElementOrder/containers": [{"name": "c"}], "containers": [{"name": "y", "image": "y"}]}
    with pytest.raises(ApiError, match="doesn't match"):
        patched_pod(deployment(), order)


containers = st.lists(st.sampled_from("abcdef"), unique=True, max_size=6).map(
    lambda found: [{"name": name, "image": name} for name in found]
)


@given(containers, containers)
def test_a_merged_list_is_the_union_in_the_patchs_order(before: list[Any], patch: list[Any]) -> None:
    doc = deployment(containers=before)
    merged = names(patched_pod(doc, {"containers": patch})["containers"])
    assert sorted(merged) == sorted({*names(before), *names(patch)})
    assert [name for name in merged if name in names(patch)] == names(patch)
    rest = [name for name in names(before) if name not in names(patch)]
    assert [name for name in merged if name in rest] == rest
    assert names(doc["spec"]["template"]["spec"]["containers"]) == names(before)
