"""Roles, bindings, disruption budgets, leases and priority classes that are refused, and in which words."""

from __future__ import annotations

from typing import Any

import pytest
from harness.judging import Told, changed, created, new, updated

Obj = dict[str, Any]
RBAC = "rbac.authorization.k8s.io/v1"
ROLES, CLUSTER_ROLES = f"{RBAC}/roles", f"{RBAC}/clusterroles"
BINDINGS, CLUSTER_BINDINGS = f"{RBAC}/rolebindings", f"{RBAC}/clusterrolebindings"
BUDGETS, LEASES = "policy/v1/poddisruptionbudgets", "coordination.k8s.io/v1/leases"
CLASSES = "scheduling.k8s.io/v1/priorityclasses"
RULE: Obj = {"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}
BINDING: Obj = {"roleRef": {"kind": "ClusterRole", "name": "view"}, "subjects": [{"kind": "User", "name": "u"}]}
BUDGET: Obj = {"spec": {"minAvailable": 1, "selector": {"matchLabels": {"a": "b"}}}}
GROUP = "rbac.authorization.k8s.io"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (ROLES, {"rules": [RULE]}),
        (CLUSTER_ROLES, {"rules": [{"verbs": ["get"], "nonResourceURLs": ["/a"]}]}),
        (CLUSTER_ROLES, {"aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"a": "b"}}]}}),
        (BINDINGS, BINDING),
        (CLUSTER_BINDINGS, BINDING),
        (BUDGETS, BUDGET),
        (LEASES, {"spec": {"holderIdentity": "", "leaseDurationSeconds": 1}}),
        (CLASSES, {"value": 1_000_000_000}),
    ],
)
def test_what_is_right_may_be_made_and_written_again(path: str, body: Obj) -> None:
    assert created(path, body) == []
    assert updated(path, body, body) == []


@pytest.mark.parametrize(
    ("path", "body", "expected"),
    [
        (
            ROLES,
            {"rules": [{"nonResourceURLs": ["/a"]}]},
            [
                ("rules[0].verbs", "Required value: verbs must contain at least one value"),
                (
                    "rules[0].nonResourceURLs",
                    'Invalid value: ["/a"]: namespaced rules cannot apply to non-resource URLs',
                ),
            ],
        ),
        (
            CLUSTER_ROLES,
            {"rules": [{"verbs": ["get"]}]},
            [
                ("rules[0].apiGroups", "Required value: resource rules must supply at least one api group"),
                ("rules[0].resources", "Required value: resource rules must supply at least one resource"),
            ],
        ),
        (
            CLUSTER_ROLES,
            {"aggregationRule": {"clusterRoleSelectors": [{"matchExpressions": [{"key": "a", "operator": "In"}]}]}},
            [
                (
                    "aggregationRule.clusterRoleSelectors[0].matchExpressions[0].values",
                    "Required value: must be specified when `operator` is 'In' or 'NotIn'",
                ),
                ("aggregationRule.clusterRoleSelectors[0]", "Invalid value: null: invalid label selector."),
            ],
        ),
        (
            CLUSTER_BINDINGS,
            {"roleRef": {"kind": "Role"}, "subjects": [{"kind": "ServiceAccount", "name": "s"}, {"kind": "X"}]},
            [
                ("roleRef.kind", 'Unsupported value: "Role": supported values: "ClusterRole"'),
                ("roleRef.name", "Required value"),
                ("subjects[0].namespace", "Required value"),
                ("subjects[1].name", "Required value"),
                (
                    "subjects[1].kind",
                    'Unsupported value: "X": supported values: "ServiceAccount", "User", "Group"',
                ),
            ],
        ),
        (
            BUDGETS,
            {"metadata": {"name": "Any Name!"}, **BUDGET},
            [],
        ),
        (
            BUDGETS,
            {"metadata": {"name": "a/b"}, "spec": {**BUDGET["spec"], "minAvailable": -1}},
            [("spec.minAvailable", "Invalid value: -1: must be greater than or equal to 0")],
        ),
        (
            LEASES,
            {"spec": {"leaseDurationSeconds": 0, "leaseTransitions": -1}},
            [
                ("spec.leaseDurationSeconds", "Invalid value: 0: must be greater than 0"),
                ("spec.leaseTransitions", "Invalid value: -1: must be greater than or equal to 0"),
            ],
        ),
        (
            CLASSES,
            {"value": 1_000_000_001, "preemptionPolicy": "X"},
            [
                ("value", "Forbidden: maximum allowed value of a user defined priority is 1000000000"),
                ("preemptionPolicy", 'Unsupported value: "X": supported values: "PreemptLowerPriority", "Never"'),
            ],
        ),
    ],
)
def test_what_is_refused(path: str, body: Obj, expected: Told) -> None:
    assert created(path, body) == expected


def test_a_binding_keeps_its_role() -> None:
    other = changed(BINDING, "roleRef/name", "edit")
    said = f'Invalid value: {{"APIGroup":"{GROUP}","Kind":"ClusterRole","Name":"edit"}}: cannot change roleRef'
    assert updated(BINDINGS, BINDING, other) == [("roleRef", said)]


def test_a_class_keeps_its_value_and_policy() -> None:
    after = {"value": 2, "preemptionPolicy": "Never"}
    assert updated(CLASSES, {"value": 1}, after) == [
        ("value", "Forbidden: may not be changed in an update."),
        ("preemptionPolicy", 'Invalid value: "Never": field is immutable'),
    ]


def test_coordinated_leader_election_is_off() -> None:
    body = {"spec": {"holderIdentity": "h", "strategy": "OldestEmulationVersion", "preferredHolder": "p"}}
    assert new(LEASES, body)["spec"] == {"holderIdentity": "h"}


def test_a_budgets_status() -> None:
    after = {**BUDGET, "status": {"expectedPods": -1, "conditions": [{"type": "A", "status": "True", "reason": "R"}]}}
    assert updated(BUDGETS, BUDGET, after, "status") == [
        ("status.conditions[0].lastTransitionTime", "Required value: must be set"),
        ("status.expectedPods", "Invalid value: -1: must be greater than or equal to 0"),
    ]
