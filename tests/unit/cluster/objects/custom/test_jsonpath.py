"""JSONPaths of printer columns: what is read, what is found, what is refused."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from oarlock.cluster.objects.custom import columns, jsonpath

OBJECT: dict[str, Any] = {
    "metadata": {
        "name": "a",
        "labels": {"app.kubernetes.io/name": "x"},
        "creationTimestamp": "2026-01-01T00:00:00Z",
    },
    "spec": {"n": 3, "on": False, "list": [{"name": "a", "v": 1}, {"name": "b", "v": 2}], "words": ["p", "q"]},
    "status": {"conditions": [{"type": "Ready", "status": "True"}, {"type": "Other", "status": "False"}]},
}


@pytest.mark.parametrize(
    ("path", "found"),
    [
        (".spec.n", [3]),
        ("spec.n", [3]),
        (".spec['n']", [3]),
        (".metadata.labels.app\\.kubernetes\\.io/name", ["x"]),
        (".metadata.labels['app\\.kubernetes\\.io/name']", ["x"]),
        ('.status.conditions[?(@.type=="Ready")].status', ["True"]),
        ("status.conditions[?(@.type == 'Other')].status", ["False"]),
        (".spec.list[0].name", ["a"]),
        (".spec.list[-1].name", ["b"]),
        (".spec.list[5].name", []),
        (".spec.list[*].name", ["a", "b"]),
        (".spec.list[?(@.v>1)].name", ["b"]),
        (".spec.list[?(@.v!=2)].name", ["a"]),
        (".spec.list[?(@.nope)].name", []),
        (".spec.missing.deeper", []),
        (".spec.n.deeper", []),
    ],
)
def test_a_path_leads_to(path: str, found: list[Any]) -> None:
    assert list(jsonpath.find(OBJECT, jsonpath.parse(path))) == found


@pytest.mark.parametrize("path", [".spec[", ".spec[?(@.a==b)]", ".a]b"])
def test_a_path_that_cannot_be_read_is_refused(path: str) -> None:
    with pytest.raises(jsonpath.BadPath):
        jsonpath.parse(path)


@pytest.mark.parametrize(
    ("kind", "path", "cell"),
    [
        ("integer", ".spec.n", 3),
        ("integer", ".spec.words", None),
        ("boolean", ".spec.on", False),
        ("string", ".spec.n", "3"),
        ("string", ".spec.words", '["p","q"]'),
        ("string", ".spec.words[*]", "p,q"),
        ("string", ".spec.missing", None),
        ("date", ".metadata.creationTimestamp", "31d"),
        ("date", ".metadata.name", "<invalid>"),
    ],
)
def test_cells_are_of_their_columns_types(kind: str, path: str, cell: Any) -> None:
    printed = columns.read([{"name": "X", "type": kind, "jsonPath": path}])
    now = datetime(2026, 2, 1, tzinfo=UTC).timestamp()
    assert columns.row(printed, OBJECT, now) == ["a", cell]


def test_objects_without_columns_show_their_age() -> None:
    assert [column.name for column in columns.all_columns(columns.read([]))] == ["Name", "Age"]
