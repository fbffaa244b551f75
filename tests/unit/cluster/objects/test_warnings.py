"""What authors are told of objects that are accepted, in upstream's words."""

from __future__ import annotations

import base64
import re
from pathlib import Path
from typing import Any

import pytest
from harness.authority import Authority

from oarlock.cluster.objects import warnings
from oarlock.cluster.objects.resources import RESOURCES, Resource

Obj = dict[str, Any]
_FIELD = re.compile(r"(?:(?<=^)|(?<= with ))spec\.")
FRACTION = 'fractional byte value "100m" is invalid, must be an integer'
NO_SELECTOR = "a null labelSelector results in matching no pod"


def _resource(plural: str) -> Resource:
    return next(one for one in RESOURCES if one.plural == plural)


def _told(plural: str, obj: Obj) -> list[str]:
    return warnings.of_create(_resource(plural), {"metadata": {"name": "x"}, **obj})


def _pod(spec: Obj, container: Obj | None = None) -> Obj:
    return {"spec": {"containers": [{"name": "c", "image": "i", **(container or {})}], **spec}}


def _volume(**volume: Any) -> Obj:
    return _pod({"volumes": [{"name": "v", **volume}]})


@pytest.mark.parametrize(
    ("pod", "told"),
    [
        (_pod({}), []),
        (
            _pod({"nodeSelector": {"beta.kubernetes.io/os": "linux"}}),
            ['spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use "kubernetes.io/os" instead'],
        ),
        (
            _pod({"topologySpreadConstraints": [{"topologyKey": "kubernetes.io/hostname"}]}),
            [f"spec.topologySpreadConstraints[0].labelSelector: {NO_SELECTOR}"],
        ),
        (
            _pod({"affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{}]}}}),
            [
                "spec.affinity.podAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].labelSelector: "
                + NO_SELECTOR
            ],
        ),
        (_volume(gitRepo={}), ["spec.volumes[0].gitRepo: deprecated in v1.11"]),
        (
            _volume(storageos={}),
            ["spec.volumes[0].storageOS: deprecated in v1.22, non-functional in v1.25+"],
        ),
        (
            _volume(configMap={"name": "m", "items": [{"key": "a", "path": "p"}, {"key": "b", "path": "p/q"}]}),
            ['volume "v" (ConfigMap "m"): overlapping paths: "p/q" with "p"'],
        ),
        (_volume(projected={"sources": [{}]}), ['volume "v" (Projected) has no sources provided']),
        (
            _volume(
                projected={
                    "sources": [
                        {"serviceAccountToken": {"path": "t"}},
                        {"secret": {"name": "s", "items": [{"key": "k", "path": "t"}]}},
                    ]
                }
            ),
            ['volume "v" (Projected): overlapping paths: "t" (Secret "s") with "t" (ServiceAccountToken)'],
        ),
        (
            _pod({"imagePullSecrets": [{"name": "a"}, {"name": "a"}, {}]}),
            [
                'spec.imagePullSecrets[1].name: duplicate name "a"',
                'spec.imagePullSecrets[2].name: invalid empty name ""',
            ],
        ),
        (
            _pod({}, {"resources": {"limits": {"memory": "100m", "cpu": "100m"}}}),
            [f"spec.containers[0].resources.limits[memory]: {FRACTION}"],
        ),
        (
            _pod({}, {"env": [{"name": "A", "value": "1"}, {"name": "A", "value": "$(A)2"}, {"name": "A"}]}),
            ['spec.containers[0].env[2]: hides previous definition of "A", which may be dropped when using apply'],
        ),
        (
            _pod({}, {"ports": [{"containerPort": 80, "protocol": "TCP"}] * 2}),
            ["spec.containers[0].ports[1]: duplicate port definition with spec.containers[0].ports[0]"],
        ),
        (
            _pod({"terminationGracePeriodSeconds": -1}),
            ["spec.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be treated as 1"],
        ),
    ],
)
def test_pods_and_templates(pod: Obj, told: list[str]) -> None:
    assert _told("pods", pod) == told
    assert _told("deployments", {"spec": {"template": pod}}) == [_FIELD.sub("spec.template.spec.", one) for one in told]


@pytest.mark.parametrize(
    ("plural", "obj", "told"),
    [
        (
            "services",
            {"spec": {"type": "ClusterIP", "clusterIP": "None", "externalIPs": ["10.0.0.1"], "sessionAffinity": "X"}},
            [
                "spec.externalIPs is ignored for headless services",
                "spec.SessionAffinity is ignored for headless services",
            ],
        ),
        (
            "services",
            {"spec": {"type": "LoadBalancer", "loadBalancerSourceRanges": ["10.0.0.1/8", "2001:DB8::/32"]}},
            [
                (
                    'spec.loadBalancerSourceRanges[0]: CIDR value "10.0.0.1/8" is ambiguous in this context '
                    '(should be "10.0.0.0/8" or "10.0.0.1/32"?)'
                ),
                (
                    'spec.loadBalancerSourceRanges[1]: IPv6 CIDR value "2001:DB8::/32" should be in RFC 5952 canonical '
                    'format ("2001:db8::/32")'
                ),
            ],
        ),
        (
            "ingresses",
            {"metadata": {"name": "x", "annotations": {"kubernetes.io/ingress.class": "n"}}, "spec": {}},
            ["annotation \"kubernetes.io/ingress.class\" is deprecated, please use 'spec.ingressClassName' instead"],
        ),
        (
            "endpoints",
            {"subsets": [{"addresses": [{"ip": "::FFFF:1.2.3.4"}, {"ip": "010.0.0.1"}, {"ip": "2001:0DB8::1"}]}]},
            [
                (
                    'subsets[0].addresses[0].ip: non-standard IP address "::FFFF:1.2.3.4" will be considered invalid '
                    'in a future Kubernetes release: use "1.2.3.4"'
                ),
                (
                    'subsets[0].addresses[1].ip: non-standard IP address "010.0.0.1" will be considered invalid '
                    'in a future Kubernetes release: use "10.0.0.1"'
                ),
                (
                    'subsets[0].addresses[2].ip: IPv6 address "2001:0DB8::1" should be in RFC 5952 canonical format '
                    '("2001:db8::1")'
                ),
            ],
        ),
        (
            "jobs",
            {"metadata": {"name": "a.b"}, "spec": {}},
            [
                (
                    "metadata.name: this is used in Pod names and hostnames, which can result in surprising behavior; "
                    "a DNS label is recommended: [must not contain dots]"
                )
            ],
        ),
        ("replicasets", {"spec": {}}, []),
    ],
)
def test_other_kinds(plural: str, obj: Obj, told: list[str]) -> None:
    assert _told(plural, obj) == told


def _secret(certificate: bytes, key: bytes) -> Obj:
    data = {"tls.crt": base64.b64encode(certificate).decode(), "tls.key": base64.b64encode(key).decode()}
    return {"type": "kubernetes.io/tls", "data": data}


def test_key_pairs(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    certificate, key = authority.sign("one")
    _, other = authority.sign("other")
    assert _told("secrets", _secret(certificate, key)) == []
    assert _told("secrets", _secret(certificate, other)) == ["tls: private key does not match public key"]
    assert _told("secrets", _secret(b"", b"")) == ["tls: failed to find any PEM data in certificate input"]
    assert _told("secrets", _secret(certificate, b"x")) == ["tls: failed to find any PEM data in key input"]
    switched = _told("secrets", _secret(key, certificate))
    assert switched == [
        (
            "tls: failed to find certificate PEM data in certificate input, but did find a private key; "
            "PEM inputs may have been switched"
        )
    ]


def test_a_workload_whose_specification_stays_is_not_spoken_of_again() -> None:
    template = _pod({"imagePullSecrets": [{}]})
    old = {"metadata": {"name": "x", "generation": 1}, "spec": {"template": template}}
    new = {**old, "metadata": {"name": "x", "generation": 2}}
    deployments = _resource("deployments")
    assert warnings.of_update(deployments, old, old, "") == []
    assert len(warnings.of_update(deployments, new, old, "")) == 1
    assert warnings.of_update(deployments, new, old, "status") == []
