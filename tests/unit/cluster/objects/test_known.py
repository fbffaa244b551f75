"""Checks that aren't made again on what they have found nothing in."""

from __future__ import annotations

import json
from typing import Any

from oarlock.cluster.objects import defaulting, known, strategy, validation, warnings
from oarlock.cluster.objects.decoding import decode
from oarlock.cluster.objects.known import Known
from oarlock.cluster.objects.resources import lookup

Obj = dict[str, Any]


class Check:
    def __init__(self, found: list[str]) -> None:
        self.found, self.calls = found, 0

    def __call__(self) -> list[str]:
        self.calls += 1
        return self.found


def test_what_is_right_is_looked_at_once_and_what_is_wrong_each_time() -> None:
    right, wrong, values = Check([]), Check(["no"]), Known()
    for _ in range(3):
        assert values.checked({"a": 1}, right) == []
        assert values.checked({"a": 2}, wrong) == ["no"]
    assert (right.calls, wrong.calls) == (1, 3)


def test_values_that_compare_equal_are_told_apart() -> None:
    values = Known()
    assert values.checked({"a": 1}, Check([])) == []
    for other in ({"a": True}, {"a": 1.0}, {"a": "1"}):
        assert values.checked(other, Check(["no"])) == ["no"]


def test_what_is_remembered_is_bounded() -> None:
    values, first = Known(), Check([])
    values.checked("first", first)
    for number in range(known.VALUES_MAX):
        values.checked(number, Check([]))
    assert len(values) == known.VALUES_MAX
    values.checked("first", first)
    assert first.calls == 2
    for value in ("x" * known.VALUE_BYTES_MAX, 1 << 64):
        check = Check([])
        for _ in range(2):
            assert values.checked(value, check) == []
        assert check.calls == 2


def pod(name: str, **more: Any) -> Obj:
    resource = lookup("", "v1", "pods")
    assert resource is not None
    spec = {"containers": [{"name": "c", "image": "i"}], **more.pop("spec", {})}
    body = {"metadata": {"name": name, "namespace": "default", "uid": "u", **more}, "spec": spec}
    obj = decode(resource, json.dumps(body).encode()).object
    defaulting.default(resource, obj)
    strategy.prepare_create(resource, obj)
    return obj


def told(obj: Obj) -> tuple[list[str], list[str]]:
    resource = lookup("", "v1", "pods")
    assert resource is not None
    return [cause.field for cause in validation.validate_create(resource, obj)], warnings.of_create(resource, obj)


def test_pods_alike_are_judged_by_what_is_their_own() -> None:
    assert told(pod("a")) == ([], [])
    assert told(pod("a")) == ([], [])
    assert told(pod("A"))[0] == ["metadata.name"]
    assert told(pod("a.b"))[1][0].startswith("metadata.name: this is used in the Pod's hostname")
    cost = {"controller.kubernetes.io/pod-deletion-cost": "much"}
    assert told(pod("a", annotations=cost))[0] == ["metadata.annotations[controller.kubernetes.io/pod-deletion-cost]"]
    seccomp = {"seccomp.security.alpha.kubernetes.io/pod": "unconfined"}
    assert len(told(pod("a", annotations=seccomp))[1]) == 1


def test_a_claim_that_is_named_after_its_pod_is_judged_with_its_name() -> None:
    template = {"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}
    spec = {"volumes": [{"name": "v", "ephemeral": {"volumeClaimTemplate": template}}]}
    assert told(pod("a", spec=spec))[0] == []
    assert told(pod("a" * 253, spec=spec))[0] == ["spec.volumes[0].name"]
