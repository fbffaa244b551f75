"""Admission policies and bindings that are refused, and in which words."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from harness.judging import Told, changed, created, new, updated

Obj = dict[str, Any]
GROUP = "admissionregistration.k8s.io/v1"
VALIDATING, MUTATING = f"{GROUP}/validatingadmissionpolicies", f"{GROUP}/mutatingadmissionpolicies"
VALIDATING_BINDING = f"{GROUP}/validatingadmissionpolicybindings"
MUTATING_BINDING = f"{GROUP}/mutatingadmissionpolicybindings"
RULE: Obj = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}
POLICY: Obj = {
    "spec": {
        "paramKind": {"apiVersion": "rules.example.com/v1", "kind": "Limit"},
        "matchConstraints": {"resourceRules": [RULE]},
        "variables": [{"name": "v", "expression": "1 + 1"}],
        "validations": [{"expression": "true", "message": "m", "reason": "Invalid"}],
        "auditAnnotations": [{"key": "k", "valueExpression": "'v'"}],
    }
}
MUTATION: Obj = {"patchType": "JSONPatch", "jsonPatch": {"expression": "[]"}}
MUTATOR: Obj = {
    "spec": {
        "matchConstraints": {"resourceRules": [RULE]},
        "mutations": [MUTATION],
        "reinvocationPolicy": "Never",
    }
}
BINDING: Obj = {
    "spec": {
        "policyName": "p",
        "paramRef": {"name": "a", "parameterNotFoundAction": "Deny"},
        "matchResources": {},
        "validationActions": ["Warn", "Audit"],
    }
}
MUTATING_BOUND: Obj = {"spec": {"policyName": "p"}}
LABEL = (
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, "
    "and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is "
    "'[a-z]([-a-z0-9]*[a-z0-9])?')"
)
NOTHING = "Required value: validations or auditAnnotations must contain at least one item"


def test_what_is_right_may_be_made_and_written_again() -> None:
    for path, body in (
        (VALIDATING, POLICY),
        (MUTATING, MUTATOR),
        (VALIDATING_BINDING, BINDING),
        (MUTATING_BINDING, MUTATING_BOUND),
    ):
        assert created(path, body) == []
        assert updated(path, body, body) == []


def test_a_policy_fails_closed_and_matches_equivalents() -> None:
    for path, body in ((VALIDATING, POLICY), (MUTATING, MUTATOR)):
        spec = new(path, body)["spec"]
        assert (spec["failurePolicy"], spec["matchConstraints"]["matchPolicy"]) == ("Fail", "Equivalent")
        assert spec["matchConstraints"]["resourceRules"][0]["scope"] == "*"


@pytest.mark.parametrize(
    ("path", "policy", "place"),
    [
        (VALIDATING, POLICY, "spec/validations/0/expression"),
        (VALIDATING, POLICY, "spec/validations/0/messageExpression"),
        (VALIDATING, POLICY, "spec/variables/0/expression"),
        (VALIDATING, POLICY, "spec/auditAnnotations/0/valueExpression"),
        (VALIDATING, POLICY, "spec/matchConditions/0/expression"),
        (MUTATING, MUTATOR, "spec/mutations/0/jsonPatch/expression"),
    ],
)
def test_what_is_no_cel_is_refused_with_its_place(path: str, policy: Obj, place: str) -> None:
    body = copy.deepcopy(policy)
    body["spec"]["matchConditions"] = [{"name": "c", "expression": "true"}]
    field = place.replace("/0/", "[0].").replace("/", ".")
    error = "ERROR: <input>:1:5: Syntax error: mismatched input 'Valid' expecting <EOF>\n | Not Valid!\n | ....^"
    said = f'Invalid value: "Not Valid!": compilation failed: {error}'
    assert created(path, changed(body, place, "Not Valid!")) == [(field, said)]


@pytest.mark.parametrize(
    ("place", "value", "expected"),
    [
        (
            "spec",
            {"failurePolicy": "X"},
            [
                ("spec.failurePolicy", 'Unsupported value: "X": supported values: "Fail", "Ignore"'),
                ("spec.matchConstraints", "Required value"),
                ("spec.validations", NOTHING),
                ("spec.auditAnnotations", NOTHING),
            ],
        ),
        (
            "spec/paramKind",
            {"apiVersion": "a/b/c", "kind": "-"},
            [
                (
                    "spec.paramKind.apiVersion",
                    'Invalid value: "a/b/c": unexpected GroupVersion string: a/b/c',
                ),
                (
                    "spec.paramKind.kind",
                    f'Invalid value: "-": may have mixed case, but should otherwise match: {LABEL}',
                ),
            ],
        ),
        (
            "spec/paramKind/apiVersion",
            "rules.example.com/",
            [("spec.paramKind.apiVersion", 'Invalid value: "rules.example.com/": version must be specified')],
        ),
        (
            "spec/matchConstraints/resourceRules",
            [],
            [("spec.matchConstraints.resourceRules", "Required value")],
        ),
        (
            "spec/matchConstraints/resourceRules/0/resourceNames",
            ["a/b", "c", "c"],
            [
                (
                    "spec.matchConstraints.resourceRules[0].resourceNames[0]",
                    "Invalid value: \"a/b\": may not contain '/'",
                ),
                ("spec.matchConstraints.resourceRules[0].resourceNames[2]", 'Duplicate value: "c"'),
            ],
        ),
        (
            "spec/variables/0",
            {"name": "in"},
            [
                ("spec.variables[0].name", 'Invalid value: "in": must be a valid CEL identifier'),
                ("spec.variables[0].expression", "Required value: expression is not specified"),
            ],
        ),
        (
            "spec/validations/0",
            {"expression": " ", "message": "a\nb", "messageExpression": " ", "reason": "X"},
            [
                ("spec.validations[0].expression", "Required value: expression is not specified"),
                ("spec.validations[0].messageExpression", 'Invalid value: " ": must be non-empty if specified'),
                ("spec.validations[0].message", 'Invalid value: "a\\nb": must not contain line breaks'),
                (
                    "spec.validations[0].reason",
                    'Unsupported value: "X": supported values: "Forbidden", "Invalid", "RequestEntityTooLarge"',
                ),
            ],
        ),
        (
            "spec/auditAnnotations",
            [{"key": "k", "valueExpression": "x" * 5121}, {"key": "k"}],
            [
                ("spec.auditAnnotations[0].valueExpression", "Required value: must not exceed 5120 bytes in length"),
                ("spec.auditAnnotations[1].valueExpression", "Required value: valueExpression is not specified"),
                ("spec.auditAnnotations[1].key", 'Duplicate value: "k"'),
            ],
        ),
    ],
)
def test_validating_policies(place: str, value: Any, expected: Told) -> None:
    assert created(VALIDATING, changed(POLICY, place, value)) == expected


@pytest.mark.parametrize(
    ("place", "value", "expected"),
    [
        (
            "spec/matchConstraints/resourceRules/0/operations",
            ["DELETE"],
            [
                (
                    "spec.matchConstraints.resourceRules.operations",
                    'Unsupported value: "DELETE": supported values: "CREATE", "UPDATE"',
                )
            ],
        ),
        (
            "spec/mutations",
            [],
            [("spec.mutations", "Required value: mutations must contain at least one item")],
        ),
        ("spec/mutations/0", {}, [("spec.mutations[0].patchType", "Required value")]),
        (
            "spec/mutations/0/patchType",
            "ApplyConfiguration",
            [
                (
                    "spec.mutations[0].applyConfiguration",
                    "Required value: must be specified when patchType is ApplyConfiguration",
                ),
                (
                    "spec.mutations[0].jsonPatch",
                    'Invalid value: "{jsonPatch}": must not be specified when patchType is ApplyConfiguration',
                ),
            ],
        ),
        ("spec/mutations/0/jsonPatch", {}, [("spec.mutations[0].jsonPatch.expression", "Required value")]),
        (
            "spec/reinvocationPolicy",
            "X",
            [("spec.reinvocationPolicy", 'Unsupported value: "X": supported values: "IfNeeded", "Never"')],
        ),
    ],
)
def test_mutating_policies(place: str, value: Any, expected: Told) -> None:
    assert created(MUTATING, changed(MUTATOR, place, value)) == expected


@pytest.mark.parametrize(
    ("place", "value", "expected"),
    [
        (
            "spec",
            {},
            [
                ("spec.policyName", "Required value"),
                ("spec.validationActions", "Required value: at least one validation action is required"),
            ],
        ),
        (
            "spec/paramRef",
            {"name": "a", "selector": {}, "parameterNotFoundAction": "X"},
            [
                ("spec.paramRef.name", "Forbidden: name and selector are mutually exclusive"),
                ("spec.paramRef.selector", "Forbidden: name and selector are mutually exclusive"),
                (
                    "spec.paramRef.parameterNotFoundAction",
                    'Unsupported value: "X": supported values: "Deny", "Allow"',
                ),
            ],
        ),
        (
            "spec/paramRef",
            {},
            [
                ("spec.paramRef", "Required value: one of name or selector must be specified"),
                ("spec.paramRef.parameterNotFoundAction", "Required value"),
            ],
        ),
        (
            "spec/validationActions",
            ["X", "X"],
            [
                ("spec.validationActions[0]", 'Unsupported value: "X": supported values: "Audit", "Deny", "Warn"'),
                ("spec.validationActions[1]", 'Unsupported value: "X": supported values: "Audit", "Deny", "Warn"'),
                ("spec.validationActions[1]", 'Duplicate value: "X"'),
            ],
        ),
        (
            "spec/validationActions",
            ["Deny", "Warn"],
            [
                (
                    "spec.validationActions",
                    (
                        'Invalid value: ["Deny","Warn"]: must not contain both Deny and Warn (repeating the same '
                        "validation failure information in the API response and headers serves no purpose)"
                    ),
                )
            ],
        ),
    ],
)
def test_bindings(place: str, value: Any, expected: Told) -> None:
    assert created(VALIDATING_BINDING, changed(BINDING, place, value)) == expected


def test_conditions_of_a_policys_status() -> None:
    after = copy.deepcopy(POLICY)
    after["status"] = {
        "conditions": [{"type": "A b", "status": "Maybe", "reason": "-", "message": "m"}],
        "typeChecking": {"expressionWarnings": [{}]},
    }
    told = updated(VALIDATING, POLICY, after, "status")
    assert [field for field, _ in told] == [
        "status.typeChecking.expressionWarnings[0].warning",
        "status.typeChecking.expressionWarnings[0].fieldRef",
        "status.conditions[0].type",
        "status.conditions[0].status",
        "status.conditions[0].lastTransitionTime",
        "status.conditions[0].reason",
    ]
    assert told[3][1] == 'Unsupported value: "Maybe": supported values: "False", "True", "Unknown"'
