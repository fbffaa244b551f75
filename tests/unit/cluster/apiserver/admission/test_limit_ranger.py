"""LimitRanges: what they give to those who say nothing, and the bounds they set, in upstream's words."""

from __future__ import annotations

from typing import Any

import pytest

from oarlock.cluster.apiserver.admission import limit_ranger

Obj = dict[str, Any]


def limits(objects: Any, kind: str, name: str = "l", **bounds: Obj) -> Obj:
    return objects.made("LimitRange", name, spec={"limits": [{"type": kind, **bounds}]})


def resources(requests: Obj | None = None, limits: Obj | None = None) -> Obj:
    return {"resources": {"requests": requests or {}, "limits": limits or {}}}


def test_defaults_are_given_and_noted(world: Any, objects: Any) -> None:
    world.add(limits(objects, "Container", default={"cpu": "1", "memory": "1Gi"}, defaultRequest={"cpu": "100m"}))
    given = objects.pod(resources(limits={"cpu": "2"}), initContainers=[{"name": "i"}])
    pod, refused = world.admit(limit_ranger.give_defaults, "pods", given)
    assert refused == ""
    assert pod["spec"]["containers"][0]["resources"] == {
        "requests": {"cpu": "100m"},
        "limits": {"cpu": "2", "memory": "1Gi"},
    }
    assert pod["metadata"]["annotations"]["kubernetes.io/limit-ranger"] == (
        "LimitRanger plugin set: cpu request for container c; memory limit for container c; "
        "cpu request for init container i; cpu, memory limit for init container i"
    )


def test_a_pod_that_says_everything_gets_nothing(world: Any, objects: Any) -> None:
    world.add(limits(objects, "Container", default={"cpu": "1"}))
    given = objects.pod(resources(limits={"cpu": "2"}))
    assert world.admit(limit_ranger.give_defaults, "pods", given)[0] == given


CONTAINER = "per Container is"
CASES: dict[str, tuple[str, Obj, Obj, str]] = {
    "below the minimum": (
        "Container",
        {"min": {"cpu": "200m"}},
        resources({"cpu": "100m"}),
        f"minimum cpu usage {CONTAINER} 200m, but request is 100m",
    ),
    "a limit below the minimum": (
        "Container",
        {"min": {"cpu": "200m"}},
        resources({"cpu": "200m"}, {"cpu": "150m"}),
        f"minimum cpu usage {CONTAINER} 200m, but limit is 150m",
    ),
    "nothing said of the minimum": (
        "Container",
        {"min": {"cpu": "200m"}},
        {},
        f"minimum cpu usage {CONTAINER} 200m.  No request is specified",
    ),
    "above the maximum": (
        "Container",
        {"max": {"memory": "1Gi"}},
        resources({}, {"memory": "1536Mi"}),
        f"maximum memory usage {CONTAINER} 1Gi, but limit is 1536Mi",
    ),
    "no limit": ("Container", {"max": {"cpu": "1"}}, {}, f"maximum cpu usage {CONTAINER} 1.  No limit is specified"),
    "a ratio": (
        "Container",
        {"maxLimitRequestRatio": {"cpu": "2"}},
        resources({"cpu": "1"}, {"cpu": "3"}),
        f"cpu max limit to request ratio {CONTAINER} 2, but provided ratio is 3.000000",
    ),
    "a ratio to nothing": (
        "Container",
        {"maxLimitRequestRatio": {"cpu": "2"}},
        resources({"cpu": "0"}, {"cpu": "3"}),
        f"cpu max limit to request ratio {CONTAINER} 2, but no request is specified or request is 0",
    ),
    "several at once": (
        "Container",
        {"min": {"cpu": "2"}, "max": {"memory": "1"}},
        resources({"cpu": "1"}, {"memory": "2"}),
        f"[minimum cpu usage {CONTAINER} 2, but request is 1, maximum memory usage {CONTAINER} 1, but limit is 2]",
    ),
    "a whole pod": (
        "Pod",
        {"max": {"cpu": "1"}},
        resources({}, {"cpu": "2"}),
        "maximum cpu usage per Pod is 1, but limit is 2",
    ),
    "within": ("Container", {"min": {"cpu": "1"}, "max": {"cpu": "1"}}, resources({"cpu": "1"}, {"cpu": "1"}), ""),
}


@pytest.mark.parametrize("case", CASES)
def test_bounds_of_pods(world: Any, objects: Any, case: str) -> None:
    kind, bounds, container, why = CASES[case]
    world.add(limits(objects, kind, **bounds))
    _, refused = world.admit(limit_ranger.check, "pods", objects.pod(container))
    assert refused == (f'pods "p" is forbidden: {why}' if why else "")


def test_a_pod_is_as_large_as_its_containers_together_or_its_start(world: Any, objects: Any) -> None:
    world.add(limits(objects, "Pod", max={"cpu": "4"}))
    two = resources({}, {"cpu": "2"})
    init = [{"name": "i", **resources({}, {"cpu": "4"})}]
    side = [{"name": "s", "restartPolicy": "Always", **resources({}, {"cpu": "1"})}]
    fits = objects.pod(two, {"name": "d", **two}, initContainers=init)
    assert world.admit(limit_ranger.check, "pods", fits)[1] == ""
    _, refused = world.admit(limit_ranger.check, "pods", objects.pod(two, {"name": "d", **two}, initContainers=side))
    assert refused.endswith("maximum cpu usage per Pod is 4, but limit is 5")


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ("1Gi", "minimum storage usage per PersistentVolumeClaim is 2Gi, but request is 1Gi"),
        ("3Gi", ""),
        ("9Gi", "maximum storage usage per PersistentVolumeClaim is 5Gi, but request is 9Gi"),
    ],
)
def test_bounds_of_claims(world: Any, objects: Any, asked: str, why: str) -> None:
    world.add(limits(objects, "PersistentVolumeClaim", min={"storage": "2Gi"}, max={"storage": "5Gi"}))
    claim = objects.made("PersistentVolumeClaim", "c", spec={"resources": {"requests": {"storage": asked}}})
    _, refused = world.admit(limit_ranger.check, "persistentvolumeclaims", claim)
    assert refused == (f'persistentvolumeclaims "c" is forbidden: {why}' if why else "")


def test_a_resized_pod_is_looked_at_and_an_updated_one_is_not(world: Any, objects: Any) -> None:
    world.add(limits(objects, "Container", max={"cpu": "1"}))
    large = objects.pod(resources({}, {"cpu": "2"}))
    assert world.admit(limit_ranger.check, "pods", large, large)[1] == ""
    assert "maximum cpu" in world.admit(limit_ranger.check, "pods", large, large, subresource="resize")[1]
