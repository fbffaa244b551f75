"""Ingresses, their classes and NetworkPolicies that are refused, and in which words."""

from __future__ import annotations

from typing import Any

import pytest
from harness.judging import Told, changed, created, new, updated

Obj = dict[str, Any]
INGRESSES, CLASSES = "networking.k8s.io/v1/ingresses", "networking.k8s.io/v1/ingressclasses"
POLICIES = "networking.k8s.io/v1/networkpolicies"
SERVICE: Obj = {"service": {"name": "s", "port": {"number": 80}}}
RESOURCE: Obj = {"resource": {"kind": "Bucket", "name": "b"}}
INGRESS: Obj = {
    "spec": {
        "rules": [
            {
                "host": "example.com",
                "http": {
                    "paths": [
                        {"path": "/", "pathType": "Prefix", "backend": SERVICE},
                        {"path": "/b", "pathType": "Exact", "backend": RESOURCE},
                    ]
                },
            }
        ]
    }
}
CLASS: Obj = {
    "spec": {
        "controller": "example.com/c",
        "parameters": {"kind": "K", "name": "n", "scope": "Namespace", "namespace": "ns"},
    }
}
POLICY: Obj = {
    "spec": {
        "podSelector": {},
        "ingress": [
            {"ports": [{"port": 80, "endPort": 90}], "from": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": []}}]}
        ],
    }
}
BACKEND = "spec.rules[0].http.paths[0].backend"


@pytest.mark.parametrize(("path", "body"), [(INGRESSES, INGRESS), (CLASSES, CLASS), (POLICIES, POLICY)])
def test_what_is_right_may_be_made_and_written_again(path: str, body: Obj) -> None:
    assert created(path, body) == []
    assert updated(path, body, body) == []


def test_a_resource_behind_an_ingress_shows_its_group() -> None:
    backend = new(INGRESSES, INGRESS)["spec"]["rules"][0]["http"]["paths"][1]["backend"]
    assert backend["resource"]["apiGroup"] is None


@pytest.mark.parametrize(
    ("place", "value", "expected"),
    [
        (
            "spec/rules",
            [],
            [("spec", "Invalid value: null: either `defaultBackend` or `rules` must be specified")],
        ),
        (
            "spec/rules/0/host",
            "10.0.0.1",
            [("spec.rules[0].host", 'Invalid value: "10.0.0.1": must be a DNS name, not an IP address')],
        ),
        (
            "spec/rules/0/http/paths/0",
            {},
            [("spec.rules[0].http.paths[0].pathType", "Required value: pathType must be specified")],
        ),
        (
            "spec/rules/0/http/paths/0/path",
            "a//b",
            [
                ("spec.rules[0].http.paths[0].path", 'Invalid value: "a//b": must be an absolute path'),
                ("spec.rules[0].http.paths[0].path", "Invalid value: \"a//b\": must not contain '//'"),
            ],
        ),
        (
            "spec/rules/0/http/paths/0/backend",
            {**SERVICE, **RESOURCE},
            [(BACKEND, 'Invalid value: "": cannot set both resource and service backends')],
        ),
        (
            "spec/rules/0/http/paths/0/backend",
            {"service": {"port": {"number": 0}}},
            [
                (f"{BACKEND}.service.name", "Required value"),
                (BACKEND, "Required value: port name or number is required"),
            ],
        ),
        (
            "spec/rules/0/http/paths/0/backend",
            {"resource": {"name": "a/b"}},
            [
                (f"{BACKEND}.resource.kind", "Required value"),
                (f"{BACKEND}.resource.name", "Invalid value: \"a/b\": may not contain '/'"),
            ],
        ),
    ],
)
def test_ingresses(place: str, value: Any, expected: Told) -> None:
    assert created(INGRESSES, changed(INGRESS, place, value)) == expected


def test_a_class_is_named_once_or_twice_alike() -> None:
    annotation = "kubernetes.io/ingress.class"
    both = changed(INGRESS, "spec/ingressClassName", "new") | {"metadata": {"annotations": {annotation: "old"}}}
    said = 'Invalid value: "old": must match `ingressClassName` when both are specified'
    assert created(INGRESSES, both) == [(f"metadata.annotations[{annotation}]", said)]
    assert updated(INGRESSES, both, both) == []


def test_where_a_load_balancer_is() -> None:
    places = [{"ip": "10.1.2.3"}, {"ip": "x"}, {"hostname": "10.1.2.3"}]
    after = {**INGRESS, "status": {"loadBalancer": {"ingress": places}}}
    assert updated(INGRESSES, INGRESS, after, "status") == [
        (
            "status.loadBalancer.ingress[1].ip",
            'Invalid value: "x": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)',
        ),
        (
            "status.loadBalancer.ingress[2].hostname",
            'Invalid value: "10.1.2.3": must be a DNS name, not an IP address',
        ),
    ]


def test_odd_label_values_may_stay() -> None:
    odd = changed(POLICY, "spec/podSelector", {"matchExpressions": [{"key": "a", "operator": "In", "values": ["-"]}]})
    assert len(created(POLICIES, odd)) == 1
    assert updated(POLICIES, odd, odd) == []
    assert len(updated(POLICIES, POLICY, odd)) == 1


@pytest.mark.parametrize(
    ("place", "value", "expected"),
    [
        ("spec/controller", "", [("spec.controller", "Required value")]),
        (
            "spec/parameters/scope",
            "X",
            [("spec.parameters.scope", 'Unsupported value: "X": supported values: "Cluster", "Namespace"')],
        ),
        (
            "spec/parameters/scope",
            None,
            [("spec.parameters.namespace", "Forbidden: `parameters.scope` is set to 'Cluster'")],
        ),
        (
            "spec/parameters/namespace",
            None,
            [("spec.parameters.namespace", "Required value: `parameters.scope` is set to 'Namespace'")],
        ),
        (
            "spec/parameters",
            {},
            [("spec.parameters.kind", "Required value"), ("spec.parameters.name", "Required value")],
        ),
    ],
)
def test_classes(place: str, value: Any, expected: Told) -> None:
    assert created(CLASSES, changed(CLASS, place, value)) == expected


def test_a_class_keeps_its_controller() -> None:
    other = changed(CLASS, "spec/controller", "example.com/d")
    assert updated(CLASSES, CLASS, other) == [("spec.controller", 'Invalid value: "example.com/d": field is immutable')]


@pytest.mark.parametrize(
    ("place", "value", "expected"),
    [
        (
            "spec/policyTypes",
            ["X"],
            [("spec.policyTypes[0]", 'Unsupported value: "X": supported values: "Ingress", "Egress"')],
        ),
        (
            "spec/ingress/0/ports/0/protocol",
            "X",
            [("spec.ingress[0].ports[0].protocol", 'Unsupported value: "X": supported values: "TCP", "UDP", "SCTP"')],
        ),
        (
            "spec/ingress/0/ports/0/endPort",
            70,
            [("spec.ingress[0].ports[0].endPort", "Invalid value: 80: must be greater than or equal to `port`")],
        ),
        ("spec/ingress/0/from/0", {}, [("spec.ingress[0].from[0]", "Required value: must specify a peer")]),
        (
            "spec/ingress/0/from/0/podSelector",
            {},
            [("spec.ingress[0].from[0]", "Forbidden: may not specify both ipBlock and another peer")],
        ),
        (
            "spec/ingress/0/from/0/ipBlock/except",
            ["11.0.0.0/9"],
            [
                (
                    "spec.ingress[0].from[0].ipBlock.except[0]",
                    'Invalid value: "11.0.0.0/9": must be a strict subset of 10.0.0.0/8',
                )
            ],
        ),
    ],
)
def test_policies(place: str, value: Any, expected: Told) -> None:
    assert created(POLICIES, changed(POLICY, place, value)) == expected
