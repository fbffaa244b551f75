"""Updates of subresources: what may change through each, and what is refused in upstream's words."""

from __future__ import annotations

from typing import Any

import pytest
from harness.authority import signing_request

MERGE = "application/merge-patch+json"
PODS = "/api/v1/namespaces/default/pods"
APPS = "/apis/apps/v1/namespaces/default"
TEMPLATE = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
WORKLOAD = {"selector": {"matchLabels": {"a": "b"}}, "template": TEMPLATE}


async def causes(api: Any, path: str, patch: Any) -> list[tuple[str, str]]:
    """Return the causes for which the patch is refused; none if it is taken."""
    code, answer = await api("PATCH", path, patch, MERGE)
    if code == 200:
        return []
    assert (code, answer["reason"]) == (422, "Invalid"), answer
    return [(cause["field"], cause["message"]) for cause in answer["details"]["causes"]]


@pytest.mark.parametrize(
    ("plural", "kind", "spec", "status", "expected"),
    [
        ("deployments", "Deployment", WORKLOAD, {"replicas": 2, "readyReplicas": 2, "availableReplicas": 1}, []),
        (
            "deployments",
            "Deployment",
            WORKLOAD,
            {"unavailableReplicas": -1},
            [("status.unavailableReplicas", "Invalid value: -1: must be greater than or equal to 0")],
        ),
        (
            "deployments",
            "Deployment",
            WORKLOAD,
            {"replicas": -1},
            [
                ("status.replicas", "Invalid value: -1: must be greater than or equal to 0"),
                ("status.updatedReplicas", "Invalid value: 0: cannot be greater than status.replicas"),
                ("status.readyReplicas", "Invalid value: 0: cannot be greater than status.replicas"),
                ("status.availableReplicas", "Invalid value: 0: cannot be greater than status.replicas"),
            ],
        ),
        (
            "deployments",
            "Deployment",
            WORKLOAD,
            {"replicas": 1, "updatedReplicas": 2},
            [("status.updatedReplicas", "Invalid value: 2: cannot be greater than status.replicas")],
        ),
        (
            "replicasets",
            "ReplicaSet",
            WORKLOAD,
            {"replicas": 2, "readyReplicas": 1, "availableReplicas": 2},
            [("status.availableReplicas", "Invalid value: 2: cannot be greater than readyReplicas")],
        ),
        (
            "statefulsets",
            "StatefulSet",
            WORKLOAD,
            {"replicas": 2, "readyReplicas": 1, "availableReplicas": 2},
            [("status.availableReplicas", "Invalid value: 2: cannot be greater than status.readyReplicas")],
        ),
        (
            "daemonsets",
            "DaemonSet",
            WORKLOAD,
            {"numberReady": -3, "currentNumberScheduled": 0, "desiredNumberScheduled": 0, "numberMisscheduled": 0},
            [("status.numberReady", "Invalid value: -3: must be greater than or equal to 0")],
        ),
    ],
)
def test_counts_in_a_status(with_api: Any, plural: str, kind: str, spec: Any, status: Any, expected: Any) -> None:
    async def scenario(api: Any) -> None:
        body = {"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": "w"}, "spec": spec}
        await api.made(f"{APPS}/{plural}", body)
        assert await causes(api, f"{APPS}/{plural}/w/status", {"status": status}) == expected

    with_api(scenario)


def test_collisions_never_decrease(with_api: Any) -> None:
    async def scenario(api: Any) -> None:
        await api.made(f"{APPS}/deployments", {"metadata": {"name": "w"}, "spec": WORKLOAD})
        path = f"{APPS}/deployments/w/status"
        assert await causes(api, path, {"status": {"collisionCount": 2}}) == []
        refused = [("status.collisionCount", "Invalid value: 1: cannot be decremented")]
        assert await causes(api, path, {"status": {"collisionCount": 1}}) == refused

    with_api(scenario)


def test_a_namespaces_phase_follows_its_deletion(with_api: Any) -> None:
    async def scenario(api: Any) -> None:
        await api.made("/api/v1/namespaces", {"metadata": {"name": "n"}})
        path = "/api/v1/namespaces/n"
        wrong = await causes(api, f"{path}/status", {"status": {"phase": "Terminating"}})
        why = "Invalid value: \"Terminating\": may only be 'Active' if `deletionTimestamp` is empty"
        assert wrong == [("status.Phase", why)]
        body = {"metadata": {"name": "n"}, "spec": {"finalizers": ["kubernetes", "Not Valid"]}}
        code, answer = await api("PUT", f"{path}/finalize", body)
        assert (code, answer["details"]["causes"][0]["field"]) == (422, "spec.finalizers[1]")
        body["spec"]["finalizers"] = ["kubernetes", "example.com/mine"]
        assert (await api("PUT", f"{path}/finalize", body))[0] == 200

    with_api(scenario)


def ended(code: int) -> dict[str, Any]:
    state = {"terminated": {"exitCode": code, "reason": "x"}}
    return {
        "containerStatuses": [
            {"name": "c", "image": "i", "imageID": "", "ready": False, "restartCount": 0, "state": state}
        ]
    }


RUNNING = {
    "containerStatuses": [
        {"name": "c", "image": "i", "imageID": "", "ready": True, "restartCount": 1, "state": {"running": {}}}
    ]
}
FOR_GOOD = [("status.containerStatuses[0].state", "Forbidden: may not be transitioned to non-terminated state")]


@pytest.mark.parametrize(
    ("policy", "code", "expected"),
    [("Never", 1, FOR_GOOD), ("OnFailure", 0, FOR_GOOD), ("OnFailure", 1, []), ("Always", 0, [])],
)
def test_what_has_ended_for_good_does_not_run_again(
    with_api: Any, objects: Any, policy: str, code: int, expected: Any
) -> None:
    async def scenario(api: Any) -> None:
        await api.made(PODS, objects.pod("p", restartPolicy=policy))
        assert await causes(api, f"{PODS}/p/status", {"status": ended(code)}) == []
        assert await causes(api, f"{PODS}/p/status", {"status": RUNNING}) == expected

    with_api(scenario)


def test_addresses_of_a_pod_are_addresses(with_api: Any, objects: Any) -> None:
    async def scenario(api: Any) -> None:
        await api.made(PODS, objects.pod("p"))
        refused = await causes(api, f"{PODS}/p/status", {"status": {"podIP": "x", "podIPs": [{"ip": "x"}]}})
        assert refused == [
            ("status.podIPs[0]", 'Invalid value: "x": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)')
        ]

    with_api(scenario)


def test_ephemeral_containers_are_added_and_stay(with_api: Any, objects: Any) -> None:
    async def scenario(api: Any) -> None:
        await api.made(PODS, objects.pod("p"))
        path = f"{PODS}/p/ephemeralcontainers"

        async def refused(*containers: dict[str, Any]) -> list[tuple[str, str]]:
            return await causes(api, path, {"spec": {"ephemeralContainers": list(containers)}})

        debug = {"name": "debug", "image": "host/sh", "targetContainerName": "c"}
        assert await refused({**debug, "name": "c"}) == [("spec.ephemeralContainers[0].name", 'Duplicate value: "c"')]
        assert await refused({**debug, "targetContainerName": "no"}) == [
            ("spec.ephemeralContainers[0].targetContainerName", 'Not found: "no"')
        ]
        assert await refused({**debug, "ports": [{"containerPort": 80}]}) == [
            ("spec.ephemeralContainers[0].ports", "Forbidden: cannot be set for an Ephemeral Container")
        ]
        assert await refused(debug) == []
        [(field, why)] = await refused({**debug, "image": "other"})
        assert (field, 'existing ephemeral containers "debug" may not be changed' in why) == (
            "spec.ephemeralContainers",
            True,
        )
        [(field, why)] = await refused()
        assert (field, 'existing ephemeral containers "debug" may not be removed' in why) == (
            "spec.ephemeralContainers",
            True,
        )
        assert await refused(debug, {**debug, "name": "second"}) == []

    with_api(scenario)


def test_resize_changes_processor_and_memory(with_api: Any, objects: Any) -> None:
    async def scenario(api: Any) -> None:
        resources = {"requests": {"cpu": "1", "memory": "1Gi", "ephemeral-storage": "1Gi"}, "limits": {"cpu": "2"}}
        await api.made(PODS, objects.pod("p", containers=[{"name": "c", "image": "i", "resources": resources}]))

        async def refused(**changed: Any) -> list[tuple[str, str]]:
            container = {"name": "c", "image": "other", "resources": {**resources, **changed}}
            return await causes(api, f"{PODS}/p/resize", {"spec": {"containers": [container]}})

        assert await refused(requests={"cpu": "500m", "memory": "2Gi", "ephemeral-storage": "1Gi"}) == []
        code, pod = await api("GET", f"{PODS}/p")
        assert (code, pod["spec"]["containers"][0]["resources"]["requests"]["cpu"]) == (200, "500m")
        assert pod["spec"]["containers"][0]["image"] == "i", "nothing else changes"
        assert pod["metadata"]["generation"] == 2
        assert await refused(requests={"cpu": "1", "memory": "1Gi", "ephemeral-storage": "2Gi"}) == [
            ("spec", "Forbidden: only cpu and memory resources are mutable")
        ]
        removed = {"requests": {"cpu": "1", "ephemeral-storage": "1Gi"}}
        [cause] = await refused(**removed)
        assert cause == ("spec.containers[0].resources.requests", "Forbidden: resource requests cannot be removed")
        assert await refused(requests={"cpu": "3", "memory": "1Gi", "ephemeral-storage": "1Gi"}) == [
            (
                "spec.containers[0].resources.requests",
                'Invalid value: "3": must be less than or equal to cpu limit of 2',
            )
        ]

    with_api(scenario)


def test_resize_keeps_the_class_of_service(with_api: Any, objects: Any) -> None:
    async def scenario(api: Any) -> None:
        await api.made(PODS, objects.pod("p"))
        container = {"name": "c", "resources": {"requests": {"cpu": "1"}}}
        [(field, why)] = await causes(api, f"{PODS}/p/resize", {"spec": {"containers": [container]}})
        assert (field, "Pod QOS Class may not change as a result of resizing" in why) == ("spec", True)

    with_api(scenario)


REQUEST = {
    "metadata": {"name": "r"},
    "spec": {"request": signing_request(), "signerName": "example.com/s", "usages": ["client auth"]},
}


def test_a_signing_requests_decision_is_made_once(with_api: Any) -> None:
    async def scenario(api: Any) -> None:
        path = "/apis/certificates.k8s.io/v1/certificatesigningrequests"
        code, answer = await api("POST", path, REQUEST)
        assert code == 201, answer
        approved = {"type": "Approved", "status": "True", "reason": "x", "message": "y"}
        denied = {**approved, "type": "Denied"}

        async def refused(part: str, *conditions: dict[str, Any]) -> list[tuple[str, str]]:
            return await causes(api, f"{path}/r/{part}", {"status": {"conditions": list(conditions)}})

        assert await refused("status", approved) == [
            ("status.conditions", 'Forbidden: updates may not add a condition of type "Approved"')
        ]
        assert await refused("approval", {**approved, "status": "False"}) == [
            ("status.conditions[0].status", 'Unsupported value: "False": supported values: "True"')
        ]
        assert await refused("approval", approved, denied) == [
            (
                "status.conditions",
                'Invalid value: "Denied": Approved and Denied conditions are mutually exclusive',
            )
        ]
        assert await refused("approval", approved) == []
        assert await refused("approval") == [
            ("status.conditions", 'Forbidden: updates may not remove a condition of type "Approved"')
        ]

    with_api(scenario)


def test_a_scale_is_printed_as_upstream_prints_it(with_api: Any) -> None:
    table = "application/json;as=Table;v=v1;g=meta.k8s.io"

    async def scenario(api: Any) -> None:
        made = {"metadata": {"name": "w"}, "spec": {**WORKLOAD, "replicas": 3}}
        await api.made(f"{APPS}/deployments", made)
        path = f"{APPS}/deployments/w/scale"
        code, scale = await api("GET", path)
        assert (code, scale["kind"], scale["spec"]) == (200, "Scale", {"replicas": 3})
        code, shown = await api("GET", path, Accept=table)
        assert (code, shown["kind"]) == (200, "Table")
        assert [column["name"] for column in shown["columnDefinitions"]] == ["Name", "Desired", "Available", "Age"]
        assert shown["metadata"] == {"resourceVersion": scale["metadata"]["resourceVersion"]}
        (row,) = shown["rows"]
        assert row["cells"][:3] == ["w", 3, 0]
        assert row["object"]["metadata"] == scale["metadata"]
        code, shown = await api("PATCH", path, {"spec": {"replicas": 5}}, MERGE, Accept=table)
        assert (code, shown["rows"][0]["cells"][:3]) == (200, ["w", 5, 0])
        partial = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"
        code, shown = await api("GET", path, Accept=partial)
        assert (code, shown["kind"], shown["metadata"]["name"]) == (200, "PartialObjectMetadata", "w")

    with_api(scenario)
