"""Events that are refused, in both groups, and in which words."""

from __future__ import annotations

from typing import Any

import pytest
from harness.judging import Told, changed, created, updated

Obj = dict[str, Any]
CORE, NEWER = "v1/events", "events.k8s.io/v1/events"
OLD: Obj = {"involvedObject": {"kind": "Pod", "name": "p", "namespace": "n"}, "metadata": {"namespace": "n"}}
EVENT: Obj = {
    "metadata": {"namespace": "n"},
    "eventTime": "2026-01-01T00:00:00.000000Z",
    "reportingController": "example.com/c",
    "reportingInstance": "i",
    "action": "Run",
    "reason": "Because",
    "regarding": {"kind": "Pod", "name": "p", "namespace": "n"},
    "note": "n",
    "type": "Normal",
}
STRANGER = "does not match event.namespace"
NAME_PART = (
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character "
    "(e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
    "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)
FIXED = "field is immutable"


def test_what_is_right_may_be_made_and_written_again() -> None:
    assert created(CORE, OLD) == []
    assert updated(CORE, OLD, changed(OLD, "message", "other")) == []
    assert created(NEWER, EVENT) == []
    assert updated(NEWER, EVENT, EVENT) == []


@pytest.mark.parametrize(
    ("place", "value", "expected"),
    [
        ("metadata/name", "Any Name!", []),
        ("metadata/name", "a/b", [("metadata.name", "Invalid value: \"a/b\": may not contain '/'")]),
        ("involvedObject", {}, [("involvedObject.namespace", f'Invalid value: "": {STRANGER}')]),
        ("involvedObject/namespace", "m", [("involvedObject.namespace", f'Invalid value: "m": {STRANGER}')]),
        ("metadata/namespace", "default", [("involvedObject.namespace", f'Invalid value: "n": {STRANGER}')]),
        (
            "eventTime",
            "2026-01-01T00:00:00.000000Z",
            [
                ("reportingController", "Required value"),
                ("reportingController", 'Invalid value: "": name part must be non-empty'),
                (
                    "reportingController",
                    f'Invalid value: "": name part {NAME_PART}',
                ),
                ("reportingInstance", "Required value"),
                ("action", "Required value"),
                ("reason", "Required value"),
            ],
        ),
    ],
)
def test_events_of_the_core_group(place: str, value: Any, expected: Told) -> None:
    assert created(CORE, changed(OLD, place, value)) == expected


@pytest.mark.parametrize(
    ("place", "value", "expected"),
    [
        ("eventTime", None, [("eventTime", "Required value")]),
        ("type", "Odd", [("type", 'Invalid value: "": has invalid value: Odd')]),
        ("action", "x" * 129, [("action", 'Invalid value: "": can have at most 128 characters')]),
        ("note", "x" * 1025, [("message", 'Invalid value: "": can have at most 1024 characters')]),
        ("regarding", {}, [("involvedObject.namespace", f'Invalid value: "": {STRANGER}')]),
        ("deprecatedCount", 2, [("count", 'Invalid value: "": needs to be unset')]),
        ("deprecatedSource", {"component": "c"}, [("source", 'Invalid value: "": needs to be unset')]),
        (
            "series",
            {"count": 1},
            [
                ("series.count", 'Invalid value: "": should be at least 2'),
                ("series.lastObservedTime", "Required value"),
            ],
        ),
    ],
)
def test_events_of_the_newer_group(place: str, value: Any, expected: Told) -> None:
    assert created(NEWER, changed(EVENT, place, value)) == expected


@pytest.mark.parametrize(
    ("place", "value", "expected"),
    [
        ("note", "other", [("message", f'Invalid value: "other": {FIXED}')]),
        ("action", "Other", [("action", f'Invalid value: "Other": {FIXED}')]),
        ("eventTime", None, [("eventTime", f"Invalid value: null: {FIXED}")]),
        (
            "regarding/uid",
            "u",
            [
                (
                    "involvedObject",
                    (
                        'Invalid value: {"Kind":"Pod","Namespace":"n","Name":"p","UID":"u","APIVersion":"",'
                        f'"ResourceVersion":"","FieldPath":""}}: {FIXED}'
                    ),
                )
            ],
        ),
        ("series", {"count": 2, "lastObservedTime": "2026-01-01T00:00:00.000000Z"}, []),
    ],
)
def test_only_the_series_of_a_newer_event_changes(place: str, value: Any, expected: Told) -> None:
    assert updated(NEWER, EVENT, changed(EVENT, place, value)) == expected
