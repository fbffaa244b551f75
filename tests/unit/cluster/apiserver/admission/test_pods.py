"""What plugins make of pods: accounts and tokens, priorities, tolerations, runtime classes, labels of nodes."""

from __future__ import annotations

from typing import Any

import pytest

from oarlock.cluster.apiserver.admission import (
    priority,
    runtime_class,
    service_account,
    tolerations,
    topology_labels,
)

Obj = dict[str, Any]
MIRROR = {"annotations": {"kubernetes.io/config.mirror": "x"}}
MOUNT = {"readOnly": True, "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}


def account(objects: Any, name: str = "default", **parts: Any) -> Obj:
    return objects.made("ServiceAccount", name, **parts)


def test_every_container_finds_the_accounts_token(world: Any, objects: Any) -> None:
    world.add(account(objects, imagePullSecrets=[{"name": "pull"}]))
    own = {"name": "own", "mountPath": MOUNT["mountPath"]}
    given = objects.pod({}, {"name": "d", "volumeMounts": [own]}, initContainers=[{"name": "i"}])
    pod, refused = world.admit(service_account.complete, "pods", given)
    spec = pod["spec"]
    assert refused == ""
    assert (spec["serviceAccountName"], spec["serviceAccount"]) == ("default", "default")
    assert spec["imagePullSecrets"] == [{"name": "pull"}]
    (volume,) = spec["volumes"]
    assert volume["name"].startswith("kube-api-access-")
    assert [next(iter(one)) for one in volume["projected"]["sources"]] == [
        "serviceAccountToken",
        "configMap",
        "downwardAPI",
    ]
    mount = {"name": volume["name"], **MOUNT}
    assert spec["containers"][0]["volumeMounts"] == [mount]
    assert spec["containers"][1]["volumeMounts"] == [own]
    assert spec["initContainers"][0]["volumeMounts"] == [mount]


@pytest.mark.parametrize(("of_pod", "of_account", "mounted"), [(None, False, False), (True, False, True)])
def test_mounting_is_the_pods_choice_first(
    world: Any, objects: Any, of_pod: bool | None, of_account: bool, mounted: bool
) -> None:
    world.add(account(objects, automountServiceAccountToken=of_account))
    asked = {} if of_pod is None else {"automountServiceAccountToken": of_pod}
    pod, _ = world.admit(service_account.complete, "pods", objects.pod(**asked))
    assert ("volumes" in pod["spec"]) == mounted


SECRET_VOLUME = [{"name": "v", "secret": {"secretName": "s"}}]
SECRET_ENV = [{"name": "E", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]
TOKEN_VOLUME = [{"name": "v", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}}]
STRICT = {"annotations": {"kubernetes.io/enforce-mountable-secrets": "true"}}
REFUSED: dict[str, tuple[Obj, str]] = {
    "an account that isn't there": (
        {"serviceAccountName": "x"},
        'error looking up service account default/x: serviceaccount "x" not found',
    ),
    "a mirror pod's account": (
        {"metadata": MIRROR, "serviceAccountName": "default"},
        "a mirror pod may not reference service accounts",
    ),
    "a mirror pod's secret": (
        {"metadata": MIRROR, "volumes": SECRET_VOLUME},
        "a mirror pod may not reference secrets",
    ),
    "a mirror pod's token": (
        {"metadata": MIRROR, "volumes": TOKEN_VOLUME},
        "a mirror pod may not use ServiceAccountToken volume projections",
    ),
    "a volume that a strict account doesn't list": (
        {"serviceAccountName": "strict", "volumes": SECRET_VOLUME},
        (
            'volume with secret.secretName="s" is not allowed because service account strict does not reference '
            "that secret"
        ),
    ),
    "a variable that a strict account doesn't list": (
        {"serviceAccountName": "strict", "initContainers": [{"name": "i", "env": SECRET_ENV}]},
        (
            'init container i with envVar E referencing secret.secretName="s" is not allowed because service account '
            "strict does not reference that secret"
        ),
    ),
    "a pull secret that a strict account doesn't list": (
        {"serviceAccountName": "strict", "imagePullSecrets": [{"name": "s"}]},
        (
            'imagePullSecrets[0].name="s" is not allowed because service account strict does not reference that '
            "imagePullSecret"
        ),
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_accounts_and_secrets(world: Any, objects: Any, case: str) -> None:
    world.add(account(objects), account(objects, "strict", metadata=STRICT))
    spec, why = REFUSED[case]

    async def both(attributes: Any, view: Any) -> None:
        await service_account.complete(attributes, view)
        await service_account.check(attributes, view)

    _, refused = world.admit(both, "pods", objects.pod(**spec))
    assert refused == f'pods "p" is forbidden: {why}'


def test_a_strict_account_allows_what_it_lists(world: Any, objects: Any) -> None:
    world.add(account(objects, "strict", metadata=STRICT, secrets=[{"name": "s"}]))
    pod = objects.pod(serviceAccountName="strict", volumes=SECRET_VOLUME)
    assert world.admit(service_account.check, "pods", pod)[1] == ""


def priority_class(objects: Any, name: str, value: int, **parts: Any) -> Obj:
    return objects.made("PriorityClass", name, "scheduling.k8s.io/v1", value=value, **parts)


NEVER = {"preemptionPolicy": "Never"}
PRIORITIES: dict[str, tuple[Obj, tuple[Any, Any, Any] | str]] = {
    "the default": ({}, ("low", 10, "PreemptLowerPriority")),
    "by name": ({"priorityClassName": "high"}, ("high", 1000, "Never")),
    "the number that the class has": ({"priorityClassName": "high", "priority": 1000}, ("high", 1000, "Never")),
    "another number": (
        {"priorityClassName": "high", "priority": 7},
        (
            "the integer value of priority (7) must not be provided in pod spec; priority admission controller "
            "computed 1000 from the given PriorityClass name"
        ),
    ),
    "another policy": (
        {"priorityClassName": "high", "preemptionPolicy": "PreemptLowerPriority"},
        (
            "the string value of PreemptionPolicy (PreemptLowerPriority) must not be provided in pod spec; priority "
            "admission controller computed Never from the given PriorityClass name"
        ),
    ),
    "a class that isn't there": ({"priorityClassName": "x"}, "no PriorityClass with name x was found"),
}


@pytest.mark.parametrize("case", PRIORITIES)
def test_priorities(world: Any, objects: Any, case: str) -> None:
    world.add(
        priority_class(objects, "low", 10, globalDefault=True),
        priority_class(objects, "lower-wins", 20, globalDefault=True),
        priority_class(objects, "high", 1000, **NEVER),
    )
    spec, wanted = PRIORITIES[case]
    pod, refused = world.admit(priority.resolve, "pods", objects.pod(**spec))
    if isinstance(wanted, str):
        assert refused == f'pods "p" is forbidden: {wanted}'
    else:
        found = tuple(pod["spec"].get(name) for name in ("priorityClassName", "priority", "preemptionPolicy"))
        assert (refused, found) == ("", wanted)


def test_without_a_default_class_pods_have_priority_zero(world: Any, objects: Any) -> None:
    pod, _ = world.admit(priority.resolve, "pods", objects.pod())
    assert (pod["spec"]["priority"], "priorityClassName" in pod["spec"]) == (0, False)


def test_an_update_keeps_the_priority(world: Any, objects: Any) -> None:
    old = objects.pod(priority=5, preemptionPolicy="Never")
    pod, _ = world.admit(priority.resolve, "pods", objects.pod(), old)
    assert (pod["spec"]["priority"], pod["spec"]["preemptionPolicy"]) == (5, "Never")


def test_one_class_is_the_default(world: Any, objects: Any) -> None:
    world.add(priority_class(objects, "first", 1, globalDefault=True))
    second = priority_class(objects, "second", 2, globalDefault=True)
    group = "scheduling.k8s.io"
    _, refused = world.admit(priority.check_class, "priorityclasses", second, group=group)
    assert refused == (
        'priorityclasses.scheduling.k8s.io "second" is forbidden: PriorityClass first is already marked as default. '
        "Only one default can exist"
    )
    again = priority_class(objects, "first", 1, globalDefault=True)
    assert world.admit(priority.check_class, "priorityclasses", again, again, group=group)[1] == ""


NOT_READY, UNREACHABLE = "node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"
TOLERATIONS: dict[str, tuple[list[Obj], list[str]]] = {
    "none": ([], [NOT_READY, UNREACHABLE]),
    "one of them": ([{"key": NOT_READY, "operator": "Exists", "effect": "NoExecute"}], [UNREACHABLE]),
    "everything": ([{"operator": "Exists"}], []),
    "another effect": ([{"key": NOT_READY, "operator": "Exists", "effect": "NoSchedule"}], [NOT_READY, UNREACHABLE]),
}


@pytest.mark.parametrize("case", TOLERATIONS)
def test_tolerations(world: Any, objects: Any, case: str) -> None:
    given, added = TOLERATIONS[case]
    pod, _ = world.admit(tolerations.tolerate, "pods", objects.pod(tolerations=given))
    new = [{"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300} for key in added]
    assert pod["spec"]["tolerations"] == [*given, *new]


def runtime(objects: Any) -> Obj:
    tolerated = {"key": "gpu", "operator": "Exists"}
    return objects.made(
        "RuntimeClass",
        "slow",
        "node.k8s.io/v1",
        handler="h",
        overhead={"podFixed": {"cpu": "250m"}},
        scheduling={"nodeSelector": {"kind": "vm"}, "tolerations": [tolerated]},
    )


def test_a_runtime_class_brings_overhead_and_scheduling(world: Any, objects: Any) -> None:
    world.add(runtime(objects))
    narrow = {"key": "gpu", "operator": "Equal", "value": "a", "effect": "NoSchedule"}
    given = objects.pod(runtimeClassName="slow", nodeSelector={"a": "b"}, tolerations=[narrow])
    pod, refused = world.admit(runtime_class.complete, "pods", given)
    spec = pod["spec"]
    assert (refused, spec["overhead"], spec["nodeSelector"]) == ("", {"cpu": "250m"}, {"a": "b", "kind": "vm"})
    assert spec["tolerations"] == [{"key": "gpu", "operator": "Exists"}]


RUNTIME_REFUSED: dict[str, tuple[Obj, str]] = {
    "no such class": ({"runtimeClassName": "x"}, 'pod rejected: RuntimeClass "x" not found'),
    "another overhead": (
        {"runtimeClassName": "slow", "overhead": {"cpu": "1"}},
        "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead",
    ),
    "overhead without a class": (
        {"overhead": {"cpu": "1"}},
        "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead",
    ),
    "another node": (
        {"runtimeClassName": "slow", "nodeSelector": {"kind": "metal"}},
        "conflict: runtimeClass.scheduling.nodeSelector[kind] = vm; pod.spec.nodeSelector[kind] = metal",
    ),
}


@pytest.mark.parametrize("case", RUNTIME_REFUSED)
def test_refused_runtime_classes(world: Any, objects: Any, case: str) -> None:
    world.add(runtime(objects))
    spec, why = RUNTIME_REFUSED[case]

    async def both(attributes: Any, view: Any) -> None:
        await runtime_class.complete(attributes, view)
        await runtime_class.check(attributes, view)

    assert world.admit(both, "pods", objects.pod(**spec))[1] == f'pods "p" is forbidden: {why}'


@pytest.mark.parametrize("subresource", ["", "binding"])
def test_a_pod_on_a_node_carries_its_zone(world: Any, objects: Any, subresource: str) -> None:
    zone, region = {"topology.kubernetes.io/zone": "z"}, {"topology.kubernetes.io/region": "r"}
    world.add(objects.made("Node", "n", metadata={"labels": {**zone, **region, "other": "x"}}))
    given = objects.pod(nodeName="n", metadata={"labels": {"a": "b", "topology.kubernetes.io/zone": "mine"}})
    old = given if subresource else None
    pod, _ = world.admit(topology_labels.copy, "pods", given, old, subresource=subresource)
    assert pod["metadata"]["labels"] == {"a": "b", **zone, **region}
