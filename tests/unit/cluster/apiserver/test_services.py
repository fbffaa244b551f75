"""Service addresses and ports are unique, taken with the Service and given back with it."""

from __future__ import annotations

import asyncio
from typing import Any

from oarlock.cluster.apiserver.server import ApiServer
from oarlock.cluster.apiserver.settings import ApiServerSettings
from oarlock.consensus.memory import MemoryStore

SERVICES = "/api/v1/namespaces/default/services"


def service(name: str, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"ports": [{"port": 80}], **spec},
    }


def test_addresses_are_unique_and_in_range(with_api: Any) -> None:
    async def scenario(api: Any) -> None:
        made = await asyncio.gather(*(api.made(SERVICES, service(f"s{number}")) for number in range(40)))
        addresses = {one["spec"]["clusterIP"] for one in made}
        assert len(addresses) == 40
        assert all(address.startswith("10.0.0.") for address in addresses)
        assert "10.0.0.1" not in addresses

    with_api(scenario)


def test_a_full_range_says_so_and_deletion_frees(with_api: Any) -> None:
    async def scenario(api: Any) -> None:
        made = [await api.made(SERVICES, service(f"s{number}")) for number in range(5)]
        code, answer = await api("POST", SERVICES, service("more"))
        assert code == 500
        assert "range is full" in answer["message"]
        assert (await api("DELETE", f"{SERVICES}/s3"))[0] == 200
        again = await api.made(SERVICES, service("more"))
        assert again["spec"]["clusterIP"] == made[3]["spec"]["clusterIP"]

    with_api(scenario, service_cidr="10.0.0.0/29")


def test_asked_for_addresses_are_given_or_refused(with_api: Any) -> None:
    async def scenario(api: Any) -> None:
        made = await api.made(SERVICES, service("a", clusterIP="10.0.0.77"))
        assert made["spec"]["clusterIPs"] == ["10.0.0.77"]
        code, answer = await api("POST", SERVICES, service("b", clusterIP="10.0.0.77"))
        assert (code, answer["details"]["causes"][0]["field"]) == (422, "spec.clusterIPs")
        assert "provided IP is already allocated" in answer["message"]
        code, answer = await api("POST", SERVICES, service("c", clusterIP="10.9.0.7"))
        assert code == 422
        assert "does not match the current range" in answer["message"]

    with_api(scenario)


def test_headless_services_take_nothing(with_api: Any) -> None:
    async def scenario(api: Any) -> None:
        made = await api.made(SERVICES, service("a", clusterIP="None", selector={"a": "b"}))
        assert made["spec"]["clusterIPs"] == ["None"]

    with_api(scenario)


def test_node_ports_follow_the_type(with_api: Any) -> None:
    async def scenario(api: Any) -> None:
        made = await api.made(SERVICES, service("a", type="NodePort"))
        port = made["spec"]["ports"][0]["nodePort"]
        assert 30000 <= port <= 30009
        code, _ = await api("POST", SERVICES, service("b", type="NodePort", ports=[{"port": 1, "nodePort": port}]))
        assert code == 422
        made["spec"]["type"] = "ClusterIP"
        del made["spec"]["ports"][0]["nodePort"]
        code, changed = await api("PUT", f"{SERVICES}/a", made)
        assert (code, "nodePort" in changed["spec"]["ports"][0]) == (200, False)
        await api.made(SERVICES, service("b", type="NodePort", ports=[{"port": 1, "nodePort": port}]))

    with_api(scenario, node_port_range=(30000, 30009))


def test_the_clusters_own_service(with_api: Any) -> None:
    async def scenario(api: Any) -> None:
        _, found = await api("GET", f"{SERVICES}/kubernetes")
        assert found["spec"]["clusterIP"] == "10.0.0.1"
        _, endpoints = await api("GET", "/api/v1/namespaces/default/endpoints/kubernetes")
        assert endpoints["subsets"][0]["addresses"] == [{"ip": "127.0.0.1"}]
        assert endpoints["subsets"][0]["ports"][0]["port"] == 7443

    with_api(scenario, loopback_network=True, advertise_port=7443)


def test_a_taken_port_is_told_before_a_taken_name_and_in_dry_runs(with_api: Any) -> None:
    async def scenario(api: Any) -> None:
        body = service("a", type="NodePort", ports=[{"port": 80, "nodePort": 30080}])
        await api.made(SERVICES, body)
        for path in (SERVICES, f"{SERVICES}?dryRun=All"):
            code, answer = await api("POST", path, body)
            assert (code, answer["details"]["causes"][0]["field"]) == (422, "spec.ports[0].nodePort")
            assert "provided port is already allocated" in answer["message"]

    with_api(scenario)


def test_servers_may_begin_at_the_same_moment(with_api: Any) -> None:
    async def scenario(api: Any) -> None:
        store = MemoryStore()
        settings = [ApiServerSettings(f"s{number}", service_cidr="10.0.0.0/24") for number in range(3)]
        servers = [ApiServer(one, store) for one in settings]
        await asyncio.gather(*(server.start() for server in servers))
        try:
            async with api.session.get(servers[1].url + SERVICES) as answer:
                found = await answer.json()
            assert [one["metadata"]["name"] for one in found["items"]] == ["kubernetes"]
        finally:
            await asyncio.gather(*(server.stop() for server in servers))
            await store.close()

    with_api(scenario)
