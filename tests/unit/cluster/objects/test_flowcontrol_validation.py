"""FlowSchemas and PriorityLevelConfigurations that are refused, and in which words."""

from __future__ import annotations

from typing import Any

import pytest
from harness.judging import Told, changed, created, new, updated

from oarlock.cluster.objects import flowcontrol

Obj = dict[str, Any]
SCHEMAS = "flowcontrol.apiserver.k8s.io/v1/flowschemas"
LEVELS = "flowcontrol.apiserver.k8s.io/v1/prioritylevelconfigurations"
SCHEMA: Obj = {
    "spec": {
        "priorityLevelConfiguration": {"name": "workload-low"},
        "distinguisherMethod": {"type": "ByUser"},
        "rules": [
            {
                "subjects": [
                    {"kind": "User", "user": {"name": "u"}},
                    {"kind": "ServiceAccount", "serviceAccount": {"name": "*", "namespace": "n"}},
                ],
                "resourceRules": [{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"], "namespaces": ["*"]}],
                "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["/healthz", "/a/*", "/"]}],
            }
        ],
    }
}
LEVEL: Obj = {
    "spec": {
        "type": "Limited",
        "limited": {"limitResponse": {"type": "Queue", "queuing": {"handSize": 4}}, "borrowingLimitPercent": 5},
    }
}
SHOWN = "spec.rules[0]"
VERBS = '"create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch"'
SUBJECTS = '"Group", "ServiceAccount", "User"'
ENTROPY = "required entropy bits of deckSize 64 and handSize 11 should not be greater than 60"
QUEUING = "spec.limited.limitResponse.queuing"


def test_what_is_right_may_be_made_and_written_again() -> None:
    for path, body in ((SCHEMAS, SCHEMA), (LEVELS, LEVEL)):
        assert created(path, body) == []
        assert updated(path, body, body) == []


def test_what_every_cluster_has_is_right() -> None:
    for path, specs in ((SCHEMAS, flowcontrol.schemas()), (LEVELS, flowcontrol.levels())):
        for name, spec in specs.items():
            body = {"metadata": {"name": name}, "spec": spec}
            assert created(path, body) == []
            assert new(path, body)["spec"] == spec


def test_zero_is_as_good_as_nothing() -> None:
    made = new(SCHEMAS, changed(SCHEMA, "spec/matchingPrecedence", 0))
    assert made["spec"]["matchingPrecedence"] == 1000
    queuing = new(LEVELS, LEVEL)["spec"]["limited"]["limitResponse"]["queuing"]
    assert queuing == {"handSize": 4, "queues": 64, "queueLengthLimit": 50}


@pytest.mark.parametrize(
    ("place", "value", "expected"),
    [
        ("spec/matchingPrecedence", -1, [("spec.matchingPrecedence", "Invalid value: -1: must be a positive value")]),
        (
            "spec/matchingPrecedence",
            10001,
            [("spec.matchingPrecedence", "Invalid value: 10001: must not be greater than 10000")],
        ),
        (
            "spec/matchingPrecedence",
            1,
            [
                (
                    "spec.matchingPrecedence",
                    "Invalid value: 1: only the schema named 'exempt' may have matchingPrecedence 1",
                )
            ],
        ),
        (
            "spec/distinguisherMethod/type",
            "X",
            [
                (
                    "spec.distinguisherMethod.type",
                    'Unsupported value: {"Type":"X"}: supported values: "ByNamespace", "ByUser"',
                )
            ],
        ),
        (
            "spec/priorityLevelConfiguration",
            {},
            [("spec.priorityLevelConfiguration.name", "Required value: must reference a priority level")],
        ),
        (
            "spec/rules/0",
            {},
            [
                (f"{SHOWN}.subjects", "Required value: subjects must contain at least one value"),
                (SHOWN, "Required value: at least one of resourceRules and nonResourceRules has to be non-empty"),
            ],
        ),
        (
            "spec/rules/0/subjects/0/kind",
            "X",
            [
                (
                    f"{SHOWN}.subjects[0].kind",
                    'Unsupported value: "X": supported values: "Group", "ServiceAccount", "User"',
                )
            ],
        ),
        (
            "spec/rules/0/subjects/0/user",
            None,
            [(f"{SHOWN}.subjects[0].user", "Required value: user is required when subject kind is 'User'")],
        ),
        (
            "spec/rules/0/subjects/0/group",
            {"name": "g"},
            [(f"{SHOWN}.subjects[0].group", "Forbidden: group is forbidden when subject kind is not 'Group'")],
        ),
        (
            "spec/rules/0/subjects/1/serviceAccount",
            {},
            [
                (f"{SHOWN}.subjects[1].serviceAccount.name", "Required value"),
                (
                    f"{SHOWN}.subjects[1].serviceAccount.namespace",
                    "Required value: must specify namespace for service account",
                ),
            ],
        ),
        (
            "spec/rules/0/resourceRules/0",
            {"verbs": ["get", "*"], "apiGroups": ["*", "a"]},
            [
                (
                    f"{SHOWN}.resourceRules[0].verbs",
                    'Invalid value: ["get","*"]: if \'*\' is present, must not specify other verbs',
                ),
                (
                    f"{SHOWN}.resourceRules[0].apiGroups",
                    'Invalid value: ["*","a"]: if \'*\' is present, must not specify other api groups',
                ),
                (
                    f"{SHOWN}.resourceRules[0].resources",
                    "Required value: resource rules must supply at least one resource",
                ),
                (
                    f"{SHOWN}.resourceRules[0].namespaces",
                    "Required value: resource rules that are not cluster scoped must supply at least one namespace",
                ),
            ],
        ),
        (
            "spec/rules/0/resourceRules/0/verbs/0",
            "run",
            [(f"{SHOWN}.resourceRules[0].verbs", f'Unsupported value: ["run"]: supported values: {VERBS}')],
        ),
        (
            "spec/rules/0/nonResourceRules/0/nonResourceURLs",
            ["a", "/a b", "/a//b", "/a*", ""],
            [
                (f"{SHOWN}.nonResourceRules[0].nonResourceURLs[{index}]", f'Invalid value: "{url}": {why}')
                for index, (url, why) in enumerate(
                    (
                        ("a", "must start with slash"),
                        ("/a b", "must not contain white-space"),
                        ("/a//b", "must not contain double slash"),
                        ("/a*", "wildcard can only do suffix matching"),
                        ("", "must not be empty"),
                    )
                )
            ],
        ),
    ],
)
def test_schemas_that_are_refused(place: str, value: Any, expected: Told) -> None:
    assert created(SCHEMAS, changed(SCHEMA, place, value)) == expected


@pytest.mark.parametrize(
    ("place", "value", "expected"),
    [
        ("spec", {}, [("spec.type", 'Unsupported value: "": supported values: "Exempt", "Limited"')]),
        (
            "spec/type",
            "Exempt",
            [
                ("spec.type", "Invalid value: \"Exempt\": type must be 'Exempt' if and only if name is 'exempt'"),
                ("spec.limited", "Forbidden: must be nil if the type is not Limited"),
            ],
        ),
        ("spec/exempt", {}, [("spec.exempt", "Forbidden: must be nil if the type is Limited")]),
        ("spec/limited", None, [("spec.limited", "Required value: must not be empty when type is Limited")]),
        (
            "spec/limited",
            {"nominalConcurrencyShares": -1, "lendablePercent": 101, "borrowingLimitPercent": -1},
            [
                ("spec.limited.nominalConcurrencyShares", "Invalid value: -1: must be a non-negative integer"),
                ("spec.limited.limitResponse.type", 'Unsupported value: "": supported values: "Queue", "Reject"'),
                ("spec.limited.lendablePercent", "Invalid value: 101: must be between 0 and 100, inclusive"),
                (
                    "spec.limited.borrowingLimitPercent",
                    "Invalid value: -1: if specified, must be a non-negative integer",
                ),
            ],
        ),
        (
            "spec/limited/limitResponse/type",
            "Reject",
            [(QUEUING, "Forbidden: must be nil if limited.limitResponse.type is not Limited")],
        ),
        (
            "spec/limited/limitResponse/queuing",
            None,
            [(QUEUING, "Required value: must not be empty if limited.limitResponse.type is Limited")],
        ),
        (
            "spec/limited/limitResponse/queuing",
            {"queues": -1, "queueLengthLimit": -1, "handSize": 2},
            [
                (f"{QUEUING}.queueLengthLimit", "Invalid value: -1: must be positive"),
                (f"{QUEUING}.queues", "Invalid value: -1: must be positive"),
                (f"{QUEUING}.handSize", "Invalid value: 2: should not be greater than queues (-1)"),
            ],
        ),
        (
            "spec/limited/limitResponse/queuing",
            {"queues": 64, "handSize": 11},
            [
                (f"{QUEUING}.handSize", f"Invalid value: 11: {ENTROPY}"),
            ],
        ),
    ],
)
def test_levels_that_are_refused(place: str, value: Any, expected: Told) -> None:
    assert created(LEVELS, changed(LEVEL, place, value)) == expected


def test_what_is_mandatory_stays_as_it_is() -> None:
    spec = flowcontrol.schemas()["catch-all"]
    body = {"metadata": {"name": "catch-all"}, "spec": {**spec, "matchingPrecedence": 5}}
    [(field, message)] = created(SCHEMAS, body)
    assert (field, message.endswith("spec of 'catch-all' must equal the fixed value")) == ("spec", True)
    assert message.startswith(
        'Invalid value: {"PriorityLevelConfiguration":{"Name":"catch-all"},"MatchingPrecedence":5,'
    )
    exempt = {"metadata": {"name": "exempt"}, "spec": {"type": "Exempt", "exempt": {"lendablePercent": 50}}}
    assert created(LEVELS, exempt) == []


def test_conditions_stand_once_and_have_a_type() -> None:
    after = {**SCHEMA, "status": {"conditions": [{"type": "A"}, {"type": "A"}, {"status": "True"}]}}
    assert updated(SCHEMAS, SCHEMA, after, "status") == [
        ("status.conditions[1].type", 'Duplicate value: "A"'),
        ("status.conditions[2].type", "Required value: must not be empty"),
    ]
