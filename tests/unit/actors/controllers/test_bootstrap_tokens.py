"""What a joining node reads is signed with every good bootstrap token, and tokens end."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from oarlock.actors.controllers import bootstrap_tokens

Object = dict[str, Any]

GOOD = {"token-id": "abcdef", "token-secret": "0123456789abcdef", "usage-bootstrap-signing": "true"}


def token(world: Any, name: str = "bootstrap-token-abcdef", **data: str) -> Object:
    encoded = {key: base64.b64encode(value.encode()).decode() for key, value in {**GOOD, **data}.items()}
    metadata = {"name": name, "namespace": "kube-system"}
    made: Object = world.put(
        {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": bootstrap_tokens.TYPE, "data": encoded}
    )
    return made


def info(world: Any, **data: str) -> Object:
    metadata = {"name": "cluster-info", "namespace": "kube-public"}
    made: Object = world.put({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data})
    return made


def signed(world: Any) -> dict[str, str]:
    world.act(bootstrap_tokens.reconcile_info(bootstrap_tokens.CLUSTER_INFO, world.view))
    held: dict[str, str] = world.view.get("configmaps", bootstrap_tokens.CLUSTER_INFO)["data"]
    return {name: value for name, value in held.items() if name.startswith("jws-")}


def test_the_signature_is_upstreams() -> None:
    """Source: k8s.io/cluster-bootstrap, jws_test.go."""
    content = "Hello from the other side. I must have called a thousand times."
    made = bootstrap_tokens.signature(content, "joshua", "my voice is my passcode")
    assert made == "eyJhbGciOiJIUzI1NiIsImtpZCI6Impvc2h1YSJ9..VShe2taLd-YTrmWuRkcL_8QTNDHYxQIEBsAYYiIj1_8"


def test_signatures_follow_the_tokens(world: Any) -> None:
    info(world, kubeconfig="apiVersion: v1", **{"jws-kubeconfig-zzzzzz": "of a token that is gone"})
    made = token(world)
    found = signed(world)
    assert list(found) == ["jws-kubeconfig-abcdef"]
    assert not bootstrap_tokens.reconcile_info(bootstrap_tokens.CLUSTER_INFO, world.view)
    world.remove(made)
    assert signed(world) == {}


@pytest.mark.parametrize(
    "data",
    [
        {"usage-bootstrap-signing": "false"},
        {"token-secret": "short"},
        {"token-id": "ABCDEF"},
        {"expiration": "2025-12-31T00:00:00Z"},
        {"expiration": "tomorrow"},
    ],
)
def test_other_tokens_sign_nothing(world: Any, data: dict[str, str]) -> None:
    info(world, kubeconfig="apiVersion: v1")
    token(world, **data)
    assert signed(world) == {}


def test_a_token_goes_when_its_time_is_up(world: Any) -> None:
    for name, expiration in (("a", ""), ("b", "2026-01-01T00:01:00Z"), ("c", "2025-12-31T00:00:00Z"), ("d", "soon")):
        token(world, name, expiration=expiration)
        world.act(bootstrap_tokens.reconcile_token(f"kube-system/{name}", world.view))
    assert sorted(one["metadata"]["name"] for one in world.view.list("secrets")) == ["a", "b"]
    assert world.requeues == [60]
