"""JSON patch and merge patch: results of RFC 6902 and 7396, refusals of upstream."""

from __future__ import annotations

from typing import Any

import jsonpatch
import pytest
from hypothesis import given
from hypothesis import strategies as st

from oarlock.cluster.objects import patches
from oarlock.cluster.objects.status import ApiError

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text("ab~/", max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab~/", max_size=2), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("doc", "patch", "result"),
    [
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": [1, 2]}, {"a": [3]}, {"a": [3]}),
        ({"a": "b"}, {"a": {"c": {"d": None}}}, {"a": {"c": {}}}),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
    ],
)
def test_merge_patch(doc: Any, patch: Any, result: Any) -> None:
    assert patches.merge_patch(doc, patch) == result


@pytest.mark.parametrize(
    ("doc", "operations", "result"),
    [
        ({"a": 1}, [{"op": "add", "path": "/b", "value": 2}], {"a": 1, "b": 2}),
        ({"a": [1]}, [{"op": "add", "path": "/a/-", "value": 2}], {"a": [1, 2]}),
        ({"a": [1]}, [{"op": "add", "path": "/a/0", "value": 2}], {"a": [2, 1]}),
        ({"a": [1, 2]}, [{"op": "remove", "path": "/a/-1"}], {"a": [1]}),
        ({"a/b": {"~": 1}}, [{"op": "replace", "path": "/a~1b/~0", "value": 2}], {"a/b": {"~": 2}}),
        ({"a": {"x": 1}}, [{"op": "move", "from": "/a/x", "path": "/b"}], {"a": {}, "b": 1}),
        ({"a": {"x": 1}}, [{"op": "copy", "from": "/a", "path": "/b"}], {"a": {"x": 1}, "b": {"x": 1}}),
        ({"a": 1}, [{"op": "test", "path": "/a", "value": 1}], {"a": 1}),
        ({"a": 1}, [{"op": "test", "path": "/b", "value": None}], {"a": 1}),
        ({"a": 1}, [{"op": "replace", "path": "", "value": {"b": 2}}], {"b": 2}),
    ],
)
def test_json_patch(doc: Any, operations: Any, result: Any) -> None:
    assert patches.json_patch(doc, operations) == result


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "test", "path": "/spec/replicas", "value": 3},
        {"op": "test", "path": "/on", "value": 1},
        {"op": "remove", "path": "/spec/nope"},
        {"op": "remove", "path": ""},
        {"op": "nope", "path": "/a"},
        {"op": "replace", "path": "/list/9", "value": "x"},
        {"op": "replace", "path": "/list/x", "value": "x"},
        {"op": "add", "path": "spec", "value": 1},
        {"op": "add", "path": "/spec/replicas/x", "value": 1},
        {"op": "add", "path": "/a"},
        {"op": "add"},
        {"op": "move", "from": "/spec", "path": "/spec/inner"},
        {"op": "copy", "path": "/a"},
    ],
)
def test_an_operation_that_does_not_fit_is_422_and_changes_nothing(operation: dict[str, Any]) -> None:
    doc = {"spec": {"replicas": 2}, "list": [1], "on": True}
    with pytest.raises(ApiError) as refusal:
        patches.json_patch(doc, [{"op": "add", "path": "/new", "value": 1}, operation])
    assert refusal.value.status() == {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": "the server rejected our request due to an error in our request",
        "reason": "Invalid",
        "details": {},
        "code": 422,
    }
    assert doc == {"spec": {"replicas": 2}, "list": [1], "on": True}


@pytest.mark.parametrize(
    ("patch", "message"),
    [
        ({"op": "add"}, "json: cannot unmarshal object into Go value of type []handlers.jsonPatchOp"),
        (["x"], "json: cannot unmarshal string into Go value of type handlers.jsonPatchOp"),
        ([{"op": 1}], "json: cannot unmarshal number into Go struct field jsonPatchOp.op of type string"),
    ],
)
def test_an_unreadable_json_patch_is_400(patch: Any, message: str) -> None:
    with pytest.raises(ApiError) as refusal:
        patches.json_patch({}, patch)
    assert (refusal.value.code, refusal.value.message) == (400, f"error decoding patch: {message}")


def test_an_unreadable_merge_patch_is_400() -> None:
    with pytest.raises(ApiError) as refusal:
        patches.merge_patch({}, [])
    message = "error decoding patch: json: cannot unmarshal array into Go value of type map[string]interface {}"
    assert (refusal.value.code, refusal.value.message) == (400, message)


def test_bounds() -> None:
    test = {"op": "test", "path": "/a", "value": 1}
    with pytest.raises(ApiError) as too_many:
        patches.json_patch({"a": 1}, [test] * (patches.OPERATIONS_MAX + 1))
    assert too_many.value.code == 413
    doubling = [{"op": "copy", "from": "", "path": f"/{step}"} for step in range(60)]
    with pytest.raises(ApiError) as too_big:
        patches.json_patch({"a": "x" * 1000}, doubling)
    assert too_big.value.code == 422


@given(st.dictionaries(st.text("ab", max_size=2), json_values, max_size=3), json_values)
def test_replacing_the_whole_document(doc: Any, value: Any) -> None:
    before = repr(doc)
    assert patches.json_patch(doc, [{"op": "replace", "path": "", "value": value}]) == value
    assert repr(doc) == before


@given(st.dictionaries(st.text("ab~/", max_size=2), json_values, max_size=3), st.text("ab~/", max_size=3), json_values)
def test_what_is_added_can_be_tested_and_removed(doc: dict[str, Any], key: str, value: Any) -> None:
    path = "/" + key.replace("~", "~0").replace("/", "~1")
    added = patches.json_patch(
        doc, [{"op": "add", "path": path, "value": value}, {"op": "test", "path": path, "value": value}]
    )
    assert added == {**doc, key: value}
    assert key not in patches.json_patch(added, [{"op": "remove", "path": path}])


@given(st.dictionaries(st.text("ab", max_size=2), json_values), st.dictionaries(st.text("ab", max_size=2), json_values))
def test_a_merge_patch_applied_twice_is_applied_once(doc: dict[str, Any], patch: dict[str, Any]) -> None:
    once = patches.merge_patch(doc, patch)
    assert patches.merge_patch(once, patch) == once


OBJECTS = st.dictionaries(st.text("ab~/", max_size=2), json_values, max_size=4)


@given(OBJECTS, OBJECTS)
def test_a_patch_made_by_another_implementation_leads_from_one_to_the_other(doc: Any, wanted: Any) -> None:
    operations = jsonpatch.make_patch(doc, wanted).patch
    assert patches.json_patch(doc, operations) == wanted


def rfc_7396(target: Any, patch: Any) -> Any:
    """MergePatch as the RFC's section 2 writes it down."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = rfc_7396(result.get(name), value)
    return result


@given(OBJECTS, OBJECTS)
def test_a_merge_patch_is_the_rfcs(doc: Any, patch: Any) -> None:
    before = repr((doc, patch))
    assert patches.merge_patch(doc, patch) == rfc_7396(doc, patch)
    assert repr((doc, patch)) == before, "neither argument changes"
