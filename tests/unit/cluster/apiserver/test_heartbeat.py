"""Identity Leases: each API server has one in kube-system, and those that expired go."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

from oarlock.cluster.apiserver import heartbeat
from oarlock.cluster.apiserver.heartbeat import COMPONENT, HOSTNAME, IDENTITY
from oarlock.cluster.apiserver.server import ApiServer
from oarlock.cluster.apiserver.settings import ApiServerSettings

LEASES = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases"
SELECTED = f"{LEASES}?labelSelector={IDENTITY}={COMPONENT}"


def lease(name: str, age_s: float, **labels: str) -> dict[str, Any]:
    renewed = datetime.now(UTC) - timedelta(seconds=age_s)
    spec = {"holderIdentity": name, "leaseDurationSeconds": 3600, "renewTime": f"{renewed:%Y-%m-%dT%H:%M:%S.%fZ}"}
    return {"metadata": {"name": name, "labels": labels}, "spec": spec}


async def found(api: Any, count: int) -> list[dict[str, Any]]:
    """The identity Leases once there are so many."""
    while True:
        _, listed = await api("GET", SELECTED)
        if len(listed["items"]) == count:
            items: list[dict[str, Any]] = listed["items"]
            return items
        await asyncio.sleep(0.01)


def test_every_server_has_a_lease_of_its_own(with_api: Any) -> None:
    async def scenario(api: Any) -> None:
        other = ApiServer(ApiServerSettings("other", service_cidr="10.0.0.0/24"), api.store)
        await other.start()
        try:
            one, two = await found(api, 2)
        finally:
            await other.stop()
        for item in (one, two):
            name, spec = item["metadata"]["name"], item["spec"]
            assert name.startswith("apiserver-")
            assert len(name) == len("apiserver-") + 26
            assert spec["holderIdentity"].startswith(f"{name}_")
            assert spec["leaseDurationSeconds"] == 3600
            assert item["metadata"]["labels"].keys() == {IDENTITY, HOSTNAME}
        assert one["metadata"]["name"] != two["metadata"]["name"]

    with_api(scenario)


def test_a_name_is_the_same_whenever_a_server_runs() -> None:
    assert heartbeat.identity("host", "apiserver-a") == heartbeat.identity("host", "apiserver-a")
    others = {heartbeat.identity(*one) for one in (("host", "a"), ("hosta", ""), ("host", "b"), ("h", "osta"))}
    assert len(others) == 4


def test_renewing_moves_the_time_and_keeps_the_rest(with_api: Any) -> None:
    async def scenario(api: Any) -> None:
        (before,) = await found(api, 1)
        path = f"{LEASES}/{before['metadata']['name']}"
        await api("PATCH", path, {"metadata": {"annotations": {"a": "b"}}}, "application/merge-patch+json")
        await api.server._heartbeat.renew()
        _, after = await api("GET", path)
        assert after["spec"]["renewTime"] > before["spec"]["renewTime"]
        assert after["metadata"]["annotations"] == {"a": "b"}
        assert after["metadata"]["uid"] == before["metadata"]["uid"]

    with_api(scenario)


def test_only_expired_identities_are_removed(with_api: Any) -> None:
    async def scenario(api: Any) -> None:
        (own,) = await found(api, 1)
        ours = {IDENTITY: COMPONENT}
        await api.made(LEASES, lease("dead", 4000, **ours))
        await api.made(LEASES, lease("alive", 3000, **ours))
        await api.made(LEASES, lease("somebodys", 4000))
        await api.made(LEASES, {"metadata": {"name": "unsaid", "labels": ours}, "spec": {}})
        await api.server._heartbeat.collect()
        _, listed = await api("GET", LEASES)
        names = {item["metadata"]["name"] for item in listed["items"]}
        assert names == {own["metadata"]["name"], "alive", "somebodys"}

    with_api(scenario)


def test_a_server_that_was_removed_makes_its_lease_anew(with_api: Any) -> None:
    async def scenario(api: Any) -> None:
        (own,) = await found(api, 1)
        code, _ = await api("DELETE", f"{LEASES}/{own['metadata']['name']}")
        assert code == 200
        await api.server._heartbeat.renew()
        (again,) = await found(api, 1)
        assert again["metadata"]["uid"] != own["metadata"]["uid"]

    with_api(scenario)
