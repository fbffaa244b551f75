"""RuntimeClasses that are refused, and in which words."""

from __future__ import annotations

from typing import Any

import pytest
from harness.judging import Told, changed, created, updated

Obj = dict[str, Any]
PATH = "node.k8s.io/v1/runtimeclasses"
TOLERATION: Obj = {"key": "k", "operator": "Exists"}
GOOD: Obj = {
    "handler": "runc",
    "overhead": {"podFixed": {"cpu": "100m"}},
    "scheduling": {"nodeSelector": {"a": "b"}, "tolerations": [TOLERATION]},
}
LABEL = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with "
    "an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)


def test_what_is_right_may_be_made_and_written_again() -> None:
    assert created(PATH, GOOD) == []
    assert updated(PATH, GOOD, GOOD) == []


@pytest.mark.parametrize(
    ("place", "value", "expected"),
    [
        ("handler", "A", [("handler", f'Invalid value: "A": {LABEL}')]),
        (
            "overhead/podFixed",
            {"things": "1"},
            [
                (
                    "overhead.limits[things]",
                    'Invalid value: "things": must be a standard resource type or fully qualified',
                ),
                (
                    "overhead.limits[things]",
                    'Invalid value: "things": must be a standard resource for containers',
                ),
            ],
        ),
        (
            "scheduling/tolerations",
            [TOLERATION, TOLERATION],
            [
                (
                    "scheduling.tolerations[1]",
                    'Duplicate value: {"Key":"k","Operator":"Exists","Value":"","Effect":"","TolerationSeconds":null}',
                )
            ],
        ),
        (
            "scheduling/tolerations/0/operator",
            "X",
            [("scheduling.tolerations[0].operator", 'Unsupported value: "X": supported values: "Equal", "Exists"')],
        ),
    ],
)
def test_what_is_refused(place: str, value: Any, expected: Told) -> None:
    assert created(PATH, changed(GOOD, place, value)) == expected


def test_the_handler_stays() -> None:
    other = changed(GOOD, "handler", "other")
    assert updated(PATH, GOOD, other) == [("handler", 'Invalid value: "other": field is immutable')]
