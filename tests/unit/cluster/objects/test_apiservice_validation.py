"""APIServices that are refused, and in which words."""

from __future__ import annotations

from typing import Any

import pytest
from harness.judging import Told, changed, created, new, updated

Obj = dict[str, Any]
PATH = "apiregistration.k8s.io/v1/apiservices"
REMOTE: Obj = {
    "metadata": {"name": "v1.example.com"},
    "spec": {
        "group": "example.com",
        "version": "v1",
        "groupPriorityMinimum": 100,
        "versionPriority": 10,
        "insecureSkipTLSVerify": True,
        "service": {"name": "s", "namespace": "n"},
    },
}


def test_what_is_right_may_be_made_and_written_again() -> None:
    assert created(PATH, REMOTE) == []
    assert updated(PATH, REMOTE, REMOTE) == []
    assert new(PATH, REMOTE)["spec"]["service"]["port"] == 443


def test_what_the_server_serves_itself_is_available() -> None:
    local = changed(changed(REMOTE, "spec/service"), "spec/insecureSkipTLSVerify")
    assert created(PATH, local) == []
    [condition] = new(PATH, local)["status"]["conditions"]
    assert (condition["type"], condition["status"], condition["reason"]) == ("Available", "True", "Local")


@pytest.mark.parametrize(
    ("place", "value", "expected"),
    [
        (
            "metadata/name",
            "other",
            [("metadata.name", 'Invalid value: "other": must be `spec.version+"."+spec.group`: "v1.example.com"')],
        ),
        (
            "spec",
            {"version": "v2", "groupPriorityMinimum": 20001},
            [
                (
                    "metadata.name",
                    'Invalid value: "v1.example.com": must be `spec.version+"."+spec.group`: "v2."',
                ),
                ("spec.group", "Required value: only v1 may have an empty group and it better be legacy kube"),
                ("spec.groupPriorityMinimum", "Invalid value: 20001: must be positive and less than 20000"),
                ("spec.versionPriority", "Invalid value: 0: must be positive and less than 1000"),
            ],
        ),
        (
            "spec/service",
            None,
            [
                (
                    "spec.insecureSkipTLSVerify",
                    "Invalid value: true: local APIServices may not have insecureSkipTLSVerify",
                )
            ],
        ),
        (
            "spec/service",
            {"port": 0},
            [
                ("spec.service.namespace", "Required value"),
                ("spec.service.name", "Required value"),
                ("spec.service.port", "Invalid value: 0: port is not valid: must be between 1 and 65535, inclusive"),
            ],
        ),
        (
            "spec/caBundle",
            "YQ==",
            [("spec.insecureSkipTLSVerify", "Invalid value: true: may not be true if caBundle is present")],
        ),
    ],
)
def test_what_is_refused(place: str, value: Any, expected: Told) -> None:
    assert created(PATH, changed(REMOTE, place, value)) == expected


def test_a_condition_is_true_false_or_unknown() -> None:
    after = {**REMOTE, "status": {"conditions": [{"type": "Available", "status": "Maybe"}]}}
    said = 'Unsupported value: "Maybe": supported values: "True", "False", "Unknown"'
    assert updated(PATH, REMOTE, after, "status") == [("status.conditions[0].status", said)]
