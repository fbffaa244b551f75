"""LimitRanges: what upstream accepts and refuses, with its causes."""

from __future__ import annotations

from typing import Any

import pytest

from oarlock.cluster.objects import defaulting, resources, validation

Obj = dict[str, Any]
LIMIT_RANGE = resources.lookup("", "v1", "limitranges")
FIRST = "spec.limits[0]"


def causes(*items: Obj) -> list[tuple[str, str, str]]:
    assert LIMIT_RANGE is not None
    metadata = {"name": "l", "namespace": "default"}
    obj = {"apiVersion": "v1", "kind": "LimitRange", "metadata": metadata, "spec": {"limits": list(items)}}
    defaulting.default(LIMIT_RANGE, obj)
    return [(one.reason, one.field, one.message) for one in validation.validate_create(LIMIT_RANGE, obj)]


VALID: dict[str, list[Obj]] = {
    "nothing": [],
    "a container": [{"type": "Container", "min": {"cpu": "1m"}, "max": {"cpu": "8"}, "default": {"cpu": "1"}}],
    "a pod": [{"type": "Pod", "max": {"memory": "1Gi"}, "maxLimitRequestRatio": {"memory": "2"}}],
    "a claim": [{"type": "PersistentVolumeClaim", "min": {"storage": "1Gi"}}],
    "a type of one's own": [{"type": "example.com/thing", "max": {"example.com/x": "1"}}],
}


@pytest.mark.parametrize("case", VALID)
def test_valid(case: str) -> None:
    assert causes(*VALID[case]) == []


INVALID: dict[str, tuple[list[Obj], list[tuple[str, str, str]]]] = {
    "a type twice": (
        [{"type": "Pod"}, {"type": "Pod"}],
        [("FieldValueDuplicate", "spec.limits[1].type", 'Duplicate value: "Pod"')],
    ),
    "no such type": (
        [{"type": "Container2"}],
        [
            (
                "FieldValueInvalid",
                f"{FIRST}.type",
                'Invalid value: "Container2": must be a standard limit type or fully qualified',
            )
        ],
    ),
    "defaults of a pod": (
        [{"type": "Pod", "default": {"cpu": "1"}}],
        [
            (
                "FieldValueForbidden",
                f"{FIRST}.default",
                "Forbidden: may not be specified when `type` is 'Pod'",
            )
        ],
    ),
    "a claim without bounds": (
        [{"type": "PersistentVolumeClaim"}],
        [
            (
                "FieldValueRequired",
                f"{FIRST}.limits",
                "Required value: either minimum or maximum storage value is required, but neither was provided",
            )
        ],
    ),
    "a minimum above the maximum": (
        [{"type": "Pod", "min": {"cpu": "2"}, "max": {"cpu": "1"}}],
        [("FieldValueInvalid", f"{FIRST}.min[cpu]", 'Invalid value: "2": min value 2 is greater than max value 1')],
    ),
    "a default above the maximum": (
        [{"type": "Container", "max": {"cpu": "1"}, "default": {"cpu": "2"}, "defaultRequest": {"cpu": "1"}}],
        [
            (
                "FieldValueInvalid",
                f"{FIRST}.default[cpu]",
                'Invalid value: "1": default value 2 is greater than max value 1',
            )
        ],
    ),
    "a ratio that can't be": (
        [{"type": "Pod", "min": {"cpu": "7"}, "max": {"cpu": "8"}, "maxLimitRequestRatio": {"cpu": "100"}}],
        [
            (
                "FieldValueInvalid",
                f"{FIRST}.maxLimitRequestRatio[cpu]",
                'Invalid value: "100": ratio 100 is greater than max/min = 1.142857',
            )
        ],
    ),
    "a ratio below one": (
        [{"type": "Pod", "maxLimitRequestRatio": {"cpu": "500m"}}],
        [
            (
                "FieldValueInvalid",
                f"{FIRST}.maxLimitRequestRatio[cpu]",
                'Invalid value: "500m": ratio 500m is less than 1',
            )
        ],
    ),
    "what can't be promised twice": (
        [{"type": "Container", "default": {"example.com/gpu": "2"}, "defaultRequest": {"example.com/gpu": "1"}}],
        [
            (
                "FieldValueInvalid",
                f"{FIRST}.defaultRequest[example.com/gpu]",
                'Invalid value: "1": default value 2 must equal to defaultRequest value 1 in example.com/gpu',
            )
        ],
    ),
}


@pytest.mark.parametrize("case", INVALID)
def test_invalid(case: str) -> None:
    items, wanted = INVALID[case]
    assert causes(*items) == wanted


def test_names_of_resources_are_looked_at_wherever_they_stand() -> None:
    found = causes({"type": "Container", "max": {"bogus": "1"}})
    assert [field for _, field, _ in found] == [
        f"{FIRST}.{part}[bogus]" for part in ("max", "default", "defaultRequest") for _ in range(2)
    ]
