"""Admission through the API: every way to write passes the plugins, dry runs leave nothing behind."""

from __future__ import annotations

import asyncio
from typing import Any

PODS = "/api/v1/namespaces/default/pods"
ALL: dict[str, Any] = {"disabled_plugins": ()}
SERVER_SIDE = "application/apply-patch+yaml"


def made(kind: str, name: str, version: str = "v1", **parts: Any) -> dict[str, Any]:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name}, **parts}


def test_a_pod_gets_all_that_plugins_give(with_api: Any, objects: Any) -> None:
    async def scenario(api: Any) -> None:
        await api.made("/api/v1/namespaces/default/serviceaccounts", made("ServiceAccount", "default"))
        item = {"type": "Container", "default": {"cpu": "1"}}
        await api.made("/api/v1/namespaces/default/limitranges", made("LimitRange", "l", spec={"limits": [item]}))
        group = "scheduling.k8s.io/v1"
        await api.made(f"/apis/{group}/priorityclasses", made("PriorityClass", "high", group, value=7))
        for path in (f"{PODS}?dryRun=All", PODS):
            pod = await api.made(path, objects.pod("p", priorityClassName="high"))
            spec = pod["spec"]
            assert (spec["priority"], spec["serviceAccountName"], len(spec["tolerations"])) == (7, "default", 2)
            assert spec["containers"][0]["resources"]["limits"] == {"cpu": "1"}
            assert spec["volumes"][0]["name"].startswith("kube-api-access-")
        applied = objects.pod("applied")
        code, pod = await api("PATCH", f"{PODS}/applied?fieldManager=m", applied, SERVER_SIDE)
        assert (code, pod["spec"]["serviceAccountName"]) == (201, "default")

    with_api(scenario, **ALL)


def test_a_missing_account_is_told_after_waiting_for_the_default_one(with_api: Any, objects: Any) -> None:
    async def scenario(api: Any) -> None:
        code, answer = await api("POST", PODS, objects.pod("p", serviceAccountName="x"))
        why = 'error looking up service account default/x: serviceaccount "x" not found'
        assert (code, answer["message"]) == (403, f'pods "p" is forbidden: {why}')
        making = asyncio.ensure_future(api("POST", PODS, objects.pod("p")))
        await api.made("/api/v1/namespaces/default/serviceaccounts", made("ServiceAccount", "default"))
        assert (await making)[0] == 201

    with_api(scenario, **ALL)


def test_pod_security_refuses_and_warns(with_api: Any, objects: Any) -> None:
    async def scenario(api: Any) -> None:
        labels = {"pod-security.kubernetes.io/enforce": "baseline", "pod-security.kubernetes.io/warn": "restricted"}
        space = made("Namespace", "strict")
        space["metadata"]["labels"] = labels
        await api.made("/api/v1/namespaces", space)
        pods = "/api/v1/namespaces/strict/pods"
        code, answer = await api("POST", pods, objects.pod("p", hostNetwork=True))
        assert (code, answer["reason"]) == (403, "Forbidden")
        assert answer["message"] == (
            'pods "p" is forbidden: violates PodSecurity "baseline:latest": host namespaces (hostNetwork=true)'
        )
        await api.made(pods, objects.pod("p"))
        (warning,) = api.headers.getall("Warning")
        assert warning.startswith('299 - "would violate PodSecurity \\"restricted:latest\\": allowPrivilegeEscalation')
        generated = objects.pod("")
        generated["metadata"] = {"generateName": "made-"}
        generated["spec"]["hostPID"] = True
        code, answer = await api("POST", pods, generated)
        assert answer["message"].startswith('pods "made-')
        assert answer["message"][len('pods "made-') :].partition('"')[0]
        space["metadata"]["labels"] = {"pod-security.kubernetes.io/enforce": "restricted"}
        code, _ = await api("PUT", "/api/v1/namespaces/strict?dryRun=All", space)
        assert code == 200
        told = api.headers.getall("Warning")
        assert "existing pods in namespace" in told[0]
        assert told[1].startswith('299 - "p: allowPrivilegeEscalation != false')

    with_api(scenario)


def test_binding_copies_the_nodes_zone(with_api: Any, objects: Any) -> None:
    async def scenario(api: Any) -> None:
        node = made("Node", "n")
        node["metadata"]["labels"] = {"topology.kubernetes.io/zone": "z"}
        created = await api.made("/api/v1/nodes", node)
        assert created["spec"]["taints"][0]["key"] == "node.kubernetes.io/not-ready"
        await api.made(PODS, objects.pod("p"))
        binding = {**made("Binding", "p"), "target": {"kind": "Node", "name": "n"}}
        await api.made(f"{PODS}/p/binding", binding)
        _, pod = await api("GET", f"{PODS}/p")
        assert pod["metadata"]["labels"] == {"topology.kubernetes.io/zone": "z"}

    with_api(scenario)


def test_quotas_count_and_dry_runs_take_nothing(with_api: Any, objects: Any) -> None:
    async def scenario(api: Any) -> None:
        quotas = "/api/v1/namespaces/default/resourcequotas"
        quota = await api.made(quotas, made("ResourceQuota", "q", spec={"hard": {"pods": "1"}}))
        quota["status"] = {"hard": {"pods": "1"}, "used": {"pods": "0"}}
        assert (await api("PUT", f"{quotas}/q/status", quota))[0] == 200
        for _ in range(2):
            await api.made(f"{PODS}?dryRun=All", objects.pod("p"))
        await api.made(PODS, objects.pod("p"))
        _, after = await api("GET", f"{quotas}/q")
        assert after["status"]["used"] == {"pods": "1"}
        for path in (f"{PODS}?dryRun=All", PODS):
            code, answer = await api("POST", path, objects.pod("more"))
            assert (code, answer["message"]) == (
                403,
                'pods "more" is forbidden: exceeded quota: q, requested: pods=1, used: pods=1, limited: pods=1',
            )
        # A name that is taken costs nothing, and is told as such while there is room.
        quota = {**after, "status": {"hard": {"pods": "5"}, "used": {"pods": "1"}}}
        assert (await api("PUT", f"{quotas}/q/status", quota))[0] == 200
        assert (await api("POST", PODS, objects.pod("p")))[0] == 409
        _, after = await api("GET", f"{quotas}/q")
        assert after["status"]["used"] == {"pods": "1"}

    with_api(scenario)


def test_storage_is_protected_and_classes_of_the_system_stay(with_api: Any) -> None:
    async def scenario(api: Any) -> None:
        spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
        claims = "/api/v1/namespaces/default/persistentvolumeclaims"
        claim = await api.made(claims, made("PersistentVolumeClaim", "c", spec=spec))
        assert claim["metadata"]["finalizers"] == ["kubernetes.io/pvc-protection"]
        code, answer = await api("DELETE", "/apis/scheduling.k8s.io/v1/priorityclasses/system-node-critical")
        assert (code, answer["message"]) == (
            403,
            (
                'priorityclasses.scheduling.k8s.io "system-node-critical" is forbidden: this is a system priority '
                "class and cannot be deleted"
            ),
        )

    with_api(scenario)


def test_what_was_just_made_already_counts(with_api: Any, objects: Any) -> None:
    async def scenario(api: Any) -> None:
        group = "scheduling.k8s.io/v1"
        for number in range(20):
            name = f"c{number}"
            await api.made(f"/apis/{group}/priorityclasses", made("PriorityClass", name, group, value=number))
            pod = await api.made(PODS, objects.pod(f"p{number}", priorityClassName=name))
            assert pod["spec"]["priority"] == number

    with_api(scenario)


def test_administrators_access_to_devices_needs_a_labelled_namespace(with_api: Any) -> None:
    async def scenario(api: Any) -> None:
        group = "resource.k8s.io/v1"
        asked = {"deviceClassName": "gpu", "adminAccess": True}
        spec = {"devices": {"requests": [{"name": "r", "exactly": asked}]}}
        claims = f"/apis/{group}/namespaces/{{}}/resourceclaims"
        code, answer = await api("POST", claims.format("default"), made("ResourceClaim", "c", group, spec=spec))
        why = "admin access to devices requires the `resource.kubernetes.io/admin-access: true` label"
        assert (code, answer["reason"]) == (422, "Invalid")
        assert f": Forbidden: {why} on the containing namespace" in answer["message"]
        space = made("Namespace", "admins")
        space["metadata"]["labels"] = {"resource.kubernetes.io/admin-access": "true"}
        await api.made("/api/v1/namespaces", space)
        await api.made(claims.format("admins"), made("ResourceClaim", "c", group, spec=spec))

    with_api(scenario, **ALL)
