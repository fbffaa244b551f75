"""managedFields are cut out of an event before it is decoded: they alone, or nothing."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oarlock.cluster.client.http import event_of, without_managed_fields

ENTRY = {
    "apiVersion": "v1",
    "fieldsType": "FieldsV1",
    "fieldsV1": {"f:spec": {'k:{"name":"main"}': {".": {}, "f:image": {}}}},
    "manager": "kubectl",
}


def pod(managed: list[Any] | None, **more: Any) -> dict[str, Any]:
    """Return an object with its members in the order of our servers."""
    held = {} if managed is None else {"managedFields": managed}
    metadata = {"resourceVersion": "5", "labels": {"a": "b"}, **held, "name": "p", "namespace": "d", "uid": "u"}
    return {"kind": "Pod", "apiVersion": "v1", "metadata": metadata, **more}


def test_they_are_gone_and_everything_else_is_there() -> None:
    line = orjson.dumps({"type": "MODIFIED", "object": pod([ENTRY, ENTRY], spec={"containers": [{"name": "c"}]})})
    expected = {"type": "MODIFIED", "object": pod(None, spec={"containers": [{"name": "c"}]})}
    assert b"managedFields" not in without_managed_fields(line)
    assert event_of(line, trimmed=True) == expected
    assert event_of(line) != expected


@pytest.mark.parametrize(
    "document",
    [
        pod(None),
        pod([{**ENTRY, "manager": 'a"}],"name":"'}]),
        pod([{**ENTRY, "manager": "a]b"}]),
        pod([{**ENTRY, "manager": "[a"}]),
        {"metadata": {"name": "p", "managedFields": [ENTRY]}, "spec": {"containers": [{"a": 1}], "name": "x"}},
        pod(None, spec={"text": ',"managedFields":[{}],"name":"q"'}),
    ],
    ids=["none", "marks in a string", "a bracket in a string", "another one", "another order", "spec's own string"],
)
def test_what_looks_different_is_left_alone(document: Any) -> None:
    raw = orjson.dumps(document)
    assert without_managed_fields(raw) == raw


TEXT = st.text(alphabet='"\\{}[],:name managedFields', max_size=30)
ENTRIES = st.lists(st.fixed_dictionaries({"manager": TEXT, "fieldsV1": st.dictionaries(TEXT, st.just({}), max_size=3)}))


@settings(deadline=None)
@given(managed=ENTRIES, labels=st.dictionaries(TEXT, TEXT, max_size=3), spec=st.dictionaries(TEXT, TEXT, max_size=3))
def test_whatever_strings_hold_nothing_else_is_cut(managed: list[Any], labels: Any, spec: Any) -> None:
    whole = pod(managed, spec=spec)
    whole["metadata"]["labels"] = labels
    found = orjson.loads(without_managed_fields(orjson.dumps(whole)))
    whole["metadata"].pop("managedFields")
    found["metadata"].pop("managedFields", None)
    assert found == whole
