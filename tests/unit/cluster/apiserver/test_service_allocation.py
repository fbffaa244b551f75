"""What Services are given, what each answer says of it, and what the store holds for it afterwards."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest

from oarlock.cluster.apiserver.server import ApiServer
from oarlock.cluster.apiserver.settings import ApiServerSettings
from oarlock.consensus.model import Delete, Range, Transaction

SERVICES = "/api/v1/namespaces/default/services"
ADDRESSES = "/apis/networking.k8s.io/v1/ipaddresses"
CIDRS = "/apis/networking.k8s.io/v1/servicecidrs"
PORTS = b"/registry/ranges/servicenodeports/"
DUAL = "10.0.0.0/24,fd00::/112"
MERGE = "application/merge-patch+json"


def service(name: str, **spec: Any) -> dict[str, Any]:
    kind = {"apiVersion": "v1", "kind": "Service"}
    return {**kind, "metadata": {"name": name}, "spec": {"ports": [{"port": 80}], **spec}}


async def held(api: Any) -> dict[str, str]:
    """Return whose each address is, by what the API shows of it."""
    _, found = await api("GET", ADDRESSES)
    return {one["metadata"]["name"]: one["spec"]["parentRef"]["name"] for one in found["items"]}


async def ports(api: Any) -> dict[int, str]:
    """Return whose each node port is, by what the store holds."""
    kvs = (await api.store.range(Range(PORTS, PORTS[:-1] + b"0"))).kvs
    return {int(kv.key.removeprefix(PORTS)): orjson.loads(kv.value)["parentRef"]["name"] for kv in kvs}


async def patched(api: Any, name: str, spec: dict[str, Any]) -> tuple[int, Any]:
    answer: tuple[int, Any] = await api("PATCH", f"{SERVICES}/{name}", {"spec": spec}, MERGE)
    return answer


def refusal(answer: Any) -> tuple[str, str]:
    (cause,) = answer["details"]["causes"]
    return cause["field"], cause["message"]


def test_an_address_is_held_by_its_object(with_api: Any) -> None:
    async def scenario(api: Any) -> None:
        made = await api.made(SERVICES, service("web"))
        _, found = await api("GET", f"{ADDRESSES}/{made['spec']['clusterIP']}")
        assert found["metadata"]["labels"] == {
            "ipaddress.kubernetes.io/ip-family": "IPv4",
            "ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io",
        }
        assert found["spec"] == {"parentRef": {"resource": "services", "namespace": "default", "name": "web"}}
        assert {"uid", "creationTimestamp", "resourceVersion"} <= found["metadata"].keys()
        await api("DELETE", f"{SERVICES}/web")
        assert await held(api) == {"10.0.0.1": "kubernetes"}

    with_api(scenario)


def test_the_default_service_cidr(with_api: Any) -> None:
    async def scenario(api: Any) -> None:
        _, found = await api("GET", f"{CIDRS}/kubernetes")
        assert found["spec"] == {"cidrs": ["10.0.0.0/24", "fd00::/112"]}
        (condition,) = found["status"]["conditions"]
        assert (condition["type"], condition["status"]) == ("Ready", "True")

    with_api(scenario, service_cidr=DUAL)


def test_a_full_cluster_grows_by_a_service_cidr(with_api: Any) -> None:
    async def scenario(api: Any) -> None:
        made = await asyncio.gather(*(api.made(SERVICES, service(f"s{number}")) for number in range(5)))
        assert len({one["spec"]["clusterIP"] for one in made}) == 5
        code, answer = await api("POST", SERVICES, service("more"))
        assert (code, answer["message"]) == (
            500,
            "Internal error occurred: failed to allocate a serviceIP: range is full",
        )
        cidr = {"apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR", "metadata": {"name": "more"}}
        await api.made(CIDRS, {**cidr, "spec": {"cidrs": ["10.0.9.0/28"]}})
        more = await asyncio.gather(*(api.made(SERVICES, service(f"m{number}")) for number in range(14)))
        assert {one["spec"]["clusterIP"] for one in more} == {f"10.0.9.{number}" for number in range(1, 15)}
        assert len(await held(api)) == 20
        assert (await api("POST", SERVICES, service("late")))[0] == 500

    with_api(scenario, service_cidr="10.0.0.0/29")


def test_nothing_is_taken_from_a_service_cidr_that_goes_or_is_not_ready(with_api: Any) -> None:
    async def scenario(api: Any) -> None:
        kind = {"apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR"}
        metadata = {"name": "more", "finalizers": ["example.com/held"]}
        await api.made(CIDRS, {**kind, "metadata": metadata, "spec": {"cidrs": ["10.0.9.0/28"]}})
        await api.made(SERVICES, service("first", clusterIP="10.0.9.1"))
        unready = {"status": {"conditions": [{"type": "Ready", "status": "False", "reason": "", "message": ""}]}}
        unready["status"]["conditions"][0]["lastTransitionTime"] = "2026-01-01T00:00:00Z"
        assert (await api("PATCH", f"{CIDRS}/more/status", unready, MERGE))[0] == 200
        code, answer = await api("POST", SERVICES, service("second", clusterIP="10.0.9.2"))
        assert (code, "the provided network does not match the current range" in answer["message"]) == (422, True)
        assert (await api("PATCH", f"{CIDRS}/more/status", {"status": {"conditions": None}}, MERGE))[0] == 200
        assert (await api("DELETE", f"{CIDRS}/more"))[0] == 200
        assert (await api("POST", SERVICES, service("third", clusterIP="10.0.9.3")))[0] == 422
        assert (await api("DELETE", f"{SERVICES}/first"))[0] == 200

    with_api(scenario)


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("10.0.0.1", "provided IP is already allocated"),
        ("10.0.0.0", "the provided network does not match the current range"),
        ("10.0.0.255", "the provided network does not match the current range"),
        ("192.168.0.1", "the provided network does not match the current range"),
    ],
)
def test_addresses_that_can_not_be_had(with_api: Any, address: str, words: str) -> None:
    async def scenario(api: Any) -> None:
        code, answer = await api("POST", SERVICES, service("web", clusterIP=address))
        text = f'Invalid value: ["{address}"]: failed to allocate IP {address}: {words}'
        assert (code, refusal(answer)) == (422, ("spec.clusterIPs", text))

    with_api(scenario)


def test_an_address_object_of_somebody_elses_keeps_services_off(with_api: Any) -> None:
    async def scenario(api: Any) -> None:
        kind = {"apiVersion": "networking.k8s.io/v1", "kind": "IPAddress", "metadata": {"name": "10.0.0.50"}}
        parent = {"resource": "gateways", "group": "example.com", "name": "g"}
        await api.made(ADDRESSES, {**kind, "spec": {"parentRef": parent}})
        code, answer = await api("POST", SERVICES, service("web", clusterIP="10.0.0.50"))
        assert (code, "provided IP is already allocated" in answer["message"]) == (422, True)

    with_api(scenario)


def test_a_dry_run_reserves_nothing_and_shows_values_that_nobody_gets(with_api: Any) -> None:
    async def scenario(api: Any) -> None:
        before = await held(api), await ports(api)
        body = service("web", type="LoadBalancer", externalTrafficPolicy="Local", ports=[{"port": 1, "name": "a"}])
        code, shown = await api("POST", f"{SERVICES}?dryRun=All", body)
        assert (code, shown["spec"]["clusterIP"]) == (201, "10.0.0.0")
        assert (shown["spec"]["ports"][0]["nodePort"], shown["spec"]["healthCheckNodePort"]) == (32769, 32770)
        assert (await held(api), await ports(api)) == before
        code, answer = await api("POST", f"{SERVICES}?dryRun=All", service("web", clusterIP="10.9.0.1"))
        assert (
            "the provided IP (10.9.0.1) is not in the valid range. The range of valid IPs is 10.0.0.0/24"
            in (answer["message"])
        )

    with_api(scenario)


def test_dry_runs_of_updates_and_deletions_change_nothing(with_api: Any) -> None:
    async def scenario(api: Any) -> None:
        await api.made(SERVICES, service("web", type="NodePort"))
        before = await held(api), await ports(api)
        change = {"spec": {"type": "ExternalName", "externalName": "example.com"}}
        assert (await api("PATCH", f"{SERVICES}/web?dryRun=All", change, MERGE))[0] == 200
        assert (await api("DELETE", f"{SERVICES}/web?dryRun=All"))[0] == 200
        assert (await held(api), await ports(api)) == before

    with_api(scenario)


def test_two_families_come_and_go_with_the_policy(with_api: Any) -> None:
    async def scenario(api: Any) -> None:
        made = await api.made(SERVICES, service("web"))
        assert made["spec"]["ipFamilies"] == ["IPv4"]
        code, both = await patched(api, "web", {"ipFamilyPolicy": "RequireDualStack"})
        assert (code, both["spec"]["ipFamilies"]) == (200, ["IPv4", "IPv6"])
        first, second = both["spec"]["clusterIPs"]
        assert first == made["spec"]["clusterIP"]
        assert second.startswith("fd00::")
        assert (await held(api))[second] == "web"
        code, answer = await patched(api, "web", {"clusterIPs": [first]})
        assert (code, refusal(answer)[0]) == (422, "spec.ipFamilyPolicy")
        code, one = await patched(api, "web", {"ipFamilyPolicy": "SingleStack"})
        assert (code, one["spec"]["clusterIPs"], one["spec"]["ipFamilies"]) == (200, [first], ["IPv4"])
        assert (first in await held(api), second in await held(api)) == (True, False)

    with_api(scenario, service_cidr=DUAL)


def test_an_added_second_address_may_be_named(with_api: Any) -> None:
    async def scenario(api: Any) -> None:
        made = await api.made(SERVICES, service("web"))
        wanted = {"ipFamilyPolicy": "PreferDualStack", "clusterIPs": [made["spec"]["clusterIP"], "FD00::0:77"]}
        code, both = await patched(api, "web", wanted)
        assert (code, both["spec"]["clusterIPs"][1]) == (200, "FD00::0:77")
        assert (await held(api))["fd00::77"] == "web"

    with_api(scenario, service_cidr=DUAL)


def test_a_type_that_has_no_address_gives_it_back(with_api: Any) -> None:
    async def scenario(api: Any) -> None:
        made = await api.made(SERVICES, service("web", type="LoadBalancer", externalTrafficPolicy="Local"))
        assert set((await ports(api)).values()) == {"web"}
        assert len(await ports(api)) == 2
        code, named = await patched(api, "web", {"type": "ExternalName", "externalName": "example.com"})
        assert (code, named["spec"].keys() & {"clusterIP", "clusterIPs", "ipFamilies", "healthCheckNodePort"}) == (
            200,
            set(),
        )
        assert (await held(api), await ports(api)) == ({"10.0.0.1": "kubernetes"}, {})
        code, again = await patched(api, "web", {"type": "ClusterIP", "externalName": None})
        assert (code, again["spec"]["ipFamilies"]) == (200, made["spec"]["ipFamilies"])
        assert (await held(api))[again["spec"]["clusterIP"]] == "web"

    with_api(scenario)


def test_ports_of_one_number_share_a_node_port(with_api: Any) -> None:
    async def scenario(api: Any) -> None:
        both = [{"name": "tcp", "port": 53}, {"name": "udp", "port": 53, "protocol": "UDP", "nodePort": 30053}]
        made = await api.made(SERVICES, service("dns", type="NodePort", ports=both))
        assert [port["nodePort"] for port in made["spec"]["ports"]] == [30053, 30053]
        auto = [{"name": "tcp", "port": 53}, {"name": "udp", "port": 53, "protocol": "UDP"}, {"name": "x", "port": 1}]
        made = await api.made(SERVICES, service("auto", type="NodePort", ports=auto))
        first, second, third = (port["nodePort"] for port in made["spec"]["ports"])
        assert (first, third == first) == (second, False)
        assert await ports(api) == {30053: "dns", first: "auto", third: "auto"}

    with_api(scenario)


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (30080, "Invalid value: 30080: provided port is already allocated"),
        (
            29999,
            "Invalid value: 29999: provided port is not in the valid range. The range of valid ports is 30000-32767",
        ),
    ],
)
def test_node_ports_that_can_not_be_had(with_api: Any, number: int, words: str) -> None:
    async def scenario(api: Any) -> None:
        await api.made(SERVICES, service("first", type="NodePort", ports=[{"port": 80, "nodePort": 30080}]))
        mixed = [{"name": "a", "port": 1}, {"name": "b", "port": 2, "nodePort": number}]
        code, answer = await api("POST", SERVICES, service("second", type="NodePort", ports=mixed))
        assert (code, refusal(answer)) == (422, ("spec.ports[1].nodePort", words))
        await api.made(SERVICES, service("third", type="NodePort"))
        code, answer = await patched(api, "third", {"ports": [{"port": 80, "nodePort": number}]})
        assert (code, refusal(answer)) == (422, ("spec.ports[0].nodePort", words))

    with_api(scenario)


def test_node_ports_are_given_from_the_upper_band_until_it_is_full(with_api: Any) -> None:
    async def scenario(api: Any) -> None:
        numbers = [{"name": f"p{number}", "port": number} for number in range(1, 5)]
        made = await api.made(SERVICES, service("upper", type="NodePort", ports=numbers))
        assert {port["nodePort"] for port in made["spec"]["ports"]} == set(range(30016, 30020))
        made = await api.made(SERVICES, service("lower", type="NodePort"))
        assert made["spec"]["ports"][0]["nodePort"] < 30016
        more = [{"name": f"p{number}", "port": number} for number in range(1, 17)]
        code, answer = await api("POST", SERVICES, service("more", type="NodePort", ports=more))
        assert (code, "failed to allocate a nodePort: range is full" in answer["message"]) == (500, True)

    with_api(scenario, node_port_range=(30000, 30019))


def test_a_load_balancer_may_do_without_node_ports(with_api: Any) -> None:
    async def scenario(api: Any) -> None:
        made = await api.made(SERVICES, service("lb", type="LoadBalancer", allocateLoadBalancerNodePorts=False))
        assert "nodePort" not in made["spec"]["ports"][0]
        assert await ports(api) == {}
        code, changed = await patched(api, "lb", {"allocateLoadBalancerNodePorts": True})
        assert (code, changed["spec"]["ports"][0]["nodePort"] in await ports(api)) == (200, True)

    with_api(scenario)


def test_the_health_check_port_follows_the_traffic_policy(with_api: Any) -> None:
    async def scenario(api: Any) -> None:
        named = {"externalTrafficPolicy": "Local", "healthCheckNodePort": 30999}
        made = await api.made(SERVICES, service("lb", type="LoadBalancer", **named))
        assert made["spec"]["healthCheckNodePort"] == 30999
        code, answer = await api("POST", SERVICES, service("lb2", type="LoadBalancer", **named))
        why = "failed to allocate requested HealthCheck NodePort 30999: provided port is already allocated"
        assert (code, answer["message"]) == (500, f"Internal error occurred: {why}")
        code, answer = await patched(api, "lb", {"healthCheckNodePort": 30998})
        assert (code, refusal(answer)) == (422, ("spec.healthCheckNodePort", "Forbidden: field is immutable"))
        code, changed = await patched(api, "lb", {"externalTrafficPolicy": "Cluster"})
        assert (code, "healthCheckNodePort" in changed["spec"], 30999 in await ports(api)) == (200, False, False)
        code, changed = await patched(api, "lb", {"externalTrafficPolicy": "Local"})
        assert changed["spec"]["healthCheckNodePort"] in await ports(api)

    with_api(scenario)


def test_the_same_text_again_keeps_what_was_given(with_api: Any) -> None:
    async def scenario(api: Any) -> None:
        body = service("web", type="NodePort", ports=[{"name": "a", "port": 1}, {"name": "b", "port": 2}])
        made = await api.made(SERVICES, body)
        code, again = await api("PUT", f"{SERVICES}/web", body)
        assert (code, again["spec"]) == (200, made["spec"])

    with_api(scenario)


def test_a_collection_deleted_at_once_gives_everything_back(with_api: Any) -> None:
    async def scenario(api: Any) -> None:
        await asyncio.gather(*(api.made(SERVICES, service(f"s{n}", type="NodePort")) for n in range(20)))
        assert (await api("DELETE", f"{SERVICES}?fieldSelector=metadata.name!=kubernetes"))[0] == 200
        assert (await held(api), await ports(api)) == ({"10.0.0.1": "kubernetes"}, {})

    with_api(scenario)


def test_a_service_with_a_finalizer_holds_its_address_until_it_is_gone(with_api: Any) -> None:
    async def scenario(api: Any) -> None:
        body = service("web")
        body["metadata"]["finalizers"] = ["example.com/held"]
        made = await api.made(SERVICES, body)
        assert (await api("DELETE", f"{SERVICES}/web"))[0] == 200
        assert made["spec"]["clusterIP"] in await held(api)
        assert (await api("PATCH", f"{SERVICES}/web", {"metadata": {"finalizers": None}}, MERGE))[0] == 200
        assert made["spec"]["clusterIP"] not in await held(api)

    with_api(scenario)


def test_a_service_holds_no_more_than_can_be_given_back_at_once(with_api: Any) -> None:
    async def scenario(api: Any) -> None:
        many = [{"name": f"p{number}", "port": number} for number in range(1, 200)]
        code, answer = await api("POST", SERVICES, service("web", type="NodePort", ports=many))
        assert (code, refusal(answer)) == (422, ("spec.ports", "Too many: 200: must have at most 116 items"))
        await api.made(SERVICES, service("web", type="NodePort", ports=many[:80]))
        assert (await patched(api, "web", {"ports": many[:115]}))[0] == 200
        assert (await patched(api, "web", {"ports": many[:116]}))[0] == 422
        assert len(await ports(api)) == 115
        assert (await api("DELETE", f"{SERVICES}/web"))[0] == 200
        assert await ports(api) == {}

    with_api(scenario)


def test_an_address_object_deleted_by_hand_is_there_again_at_once(with_api: Any) -> None:
    async def scenario(api: Any) -> None:
        made = await api.made(SERVICES, service("web"))
        path = f"{ADDRESSES}/{made['spec']['clusterIP']}"
        _, before = await api("GET", path)
        assert (await api("DELETE", path))[0] == 200
        _, after = await api("GET", path)
        assert (after["spec"], after["metadata"]["uid"] == before["metadata"]["uid"]) == (before["spec"], False)
        code, _ = await api("POST", SERVICES, service("other", clusterIP=made["spec"]["clusterIP"]))
        assert code == 422
        assert (await api("DELETE", f"{SERVICES}/web"))[0] == 200
        assert (await api("GET", path))[0] == 404

    with_api(scenario)


def test_a_starting_server_lets_services_hold_what_they_have(with_api: Any) -> None:
    async def scenario(api: Any) -> None:
        made = await api.made(SERVICES, service("web", type="NodePort"))
        address, port = made["spec"]["clusterIP"], made["spec"]["ports"][0]["nodePort"]
        keys = (b"/registry/networking.k8s.io/ipaddresses/" + address.encode(), PORTS + str(port).encode())
        await api.store.transact(Transaction((), tuple(Delete(key) for key in keys)))
        late = ApiServer(ApiServerSettings("late", service_cidr="10.0.0.0/24"), api.store)
        await late.start()
        await late.stop()
        assert ((await held(api))[address], await ports(api)) == ("web", {port: "web"})

    with_api(scenario)


def test_a_cluster_of_one_machine_gives_loopback_addresses(with_api: Any) -> None:
    async def scenario(api: Any) -> None:
        made = await api.made(SERVICES, service("web"))
        assert made["spec"]["clusterIP"].startswith("127.130.")
        assert await held(api) == {"127.130.0.1": "kubernetes", made["spec"]["clusterIP"]: "web"}

    with_api(scenario, service_cidr="127.130.0.0/16", loopback_network=True)


def test_nobody_owns_what_was_given(with_api: Any) -> None:
    async def scenario(api: Any) -> None:
        await api.made(SERVICES, service("web"))
        code, changed = await patched(api, "web", {"type": "NodePort", "ipFamilyPolicy": "PreferDualStack"})
        assert (code, "nodePort" in changed["spec"]["ports"][0]) == (200, True)
        owned = orjson.dumps(changed["metadata"]["managedFields"])
        assert b"f:type" in owned
        assert not any(name in owned for name in (b"f:nodePort", b"f:clusterIP", b"f:ipFamilies"))

    with_api(scenario, service_cidr=DUAL)


def test_a_cluster_may_gain_its_second_family(with_api: Any) -> None:
    async def scenario(api: Any) -> None:
        await api.made(SERVICES, service("web"))
        late = ApiServer(ApiServerSettings("late", service_cidr=DUAL), api.store)
        await late.start()
        try:
            _, found = await api("GET", f"{CIDRS}/kubernetes")
            assert found["spec"]["cidrs"] == DUAL.split(",")
            path = f"{late.url}{SERVICES}/web"
            change, headers = {"spec": {"ipFamilyPolicy": "PreferDualStack"}}, {"Content-Type": MERGE}
            async with api.session.patch(path, data=orjson.dumps(change), headers=headers) as answer:
                assert (await answer.json())["spec"]["ipFamilies"] == ["IPv4", "IPv6"]
        finally:
            await late.stop()

    with_api(scenario)
