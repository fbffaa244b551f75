"""The scale subresource."""

from __future__ import annotations

from typing import Any

import pytest

from oarlock.cluster.objects import resources, scale
from oarlock.cluster.objects.status import ApiError

DEPLOYMENTS = resources.lookup("apps", "v1", "deployments")
CONTROLLERS = resources.lookup("", "v1", "replicationcontrollers")
assert DEPLOYMENTS is not None
assert CONTROLLERS is not None

WEB: dict[str, Any] = {
    "metadata": {"name": "web", "namespace": "n", "uid": "u", "resourceVersion": "7", "labels": {"a": "b"}},
    "spec": {"replicas": 3, "selector": {"matchLabels": {"app": "web"}}, "paused": True},
    "status": {"replicas": 2},
}


def test_a_scale_shows_what_is_wanted_and_what_is() -> None:
    assert scale.to_scale(DEPLOYMENTS, WEB) == {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {"name": "web", "namespace": "n", "uid": "u", "resourceVersion": "7"},
        "spec": {"replicas": 3},
        "status": {"replicas": 2, "selector": "app=web"},
    }
    controller = {"metadata": {"name": "rc"}, "spec": {"replicas": 0, "selector": {"b": "2", "a": "1"}}}
    found = scale.to_scale(CONTROLLERS, controller)
    assert found["spec"] == {}
    assert found["status"] == {"replicas": 0, "selector": "a=1,b=2"}


def test_only_replicas_change() -> None:
    found = scale.from_scale(DEPLOYMENTS, WEB, {"metadata": {"name": "web"}, "spec": {"replicas": 7}})
    assert found == {**WEB, "spec": {**WEB["spec"], "replicas": 7}}
    assert WEB["spec"]["replicas"] == 3


@pytest.mark.parametrize(
    ("asked", "code", "message"),
    [
        (
            {"metadata": {"name": "web"}, "spec": {"replicas": -1}},
            422,
            'Scale.autoscaling "web" is invalid: spec.replicas: Invalid value: -1: must be greater than or equal to 0',
        ),
        (
            {"metadata": {"name": "other"}, "spec": {"replicas": 1}},
            400,
            "the name of the object (other) does not match the name on the URL (web)",
        ),
        (
            {"metadata": {"name": "web", "resourceVersion": "1"}, "spec": {"replicas": 1}},
            409,
            (
                'Operation cannot be fulfilled on deployments.apps "web": the object has been modified; '
                "please apply your changes to the latest version and try again"
            ),
        ),
    ],
)
def test_refusals(asked: dict[str, Any], code: int, message: str) -> None:
    with pytest.raises(ApiError) as refusal:
        scale.from_scale(DEPLOYMENTS, WEB, asked)
    assert (refusal.value.code, refusal.value.message) == (code, message)
