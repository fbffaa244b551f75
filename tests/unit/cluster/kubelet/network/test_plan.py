"""Which routes a host needs, and what stands in their way."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oarlock.cluster.kubelet.network.plan import Host, HostRoute, Route, difference, obstacle, plan, relevant

Object = dict[str, Any]
HERE = "10.0.0.1"
SERVICES = [{"metadata": {"name": "kubernetes"}, "spec": {"cidrs": ["10.43.0.0/16"]}}]
SERVICE_ROUTE = Route("10.43.0.0/16", "", HERE)


def node(name: str, ip: str, *cidrs: str, age: str = "2026-01-01T00:00:00Z", **labels: str) -> Object:
    return {
        "metadata": {"name": name, "uid": name, "creationTimestamp": age, "labels": labels},
        "spec": {"podCIDRs": list(cidrs)},
        "status": {"addresses": [{"type": "Hostname", "address": name}, {"type": "InternalIP", "address": ip}]},
    }


def test_own_and_service_addresses_are_local_and_other_nodes_are_gateways() -> None:
    nodes = [node("a", HERE, "10.42.0.0/24"), node("b", "10.0.0.2", "10.42.1.0/24"), node("new", "10.0.0.3")]
    made = plan("a", HERE, nodes, SERVICES)
    assert made.own == "10.42.0.0/24"
    assert made.routes == {
        SERVICE_ROUTE: "",
        Route("10.42.0.0/24", "", HERE): "",
        Route("10.42.1.0/24", "10.0.0.2", HERE): "b",
    }
    assert not made.conflicts


def test_without_a_range_of_its_own_a_host_reaches_the_others() -> None:
    made = plan("a", HERE, [node("a", HERE), node("b", "10.0.0.2", "10.42.1.0/24")], SERVICES)
    assert made.own == ""
    assert Route("10.42.1.0/24", "10.0.0.2", HERE) in made.routes


def test_nobody_is_behind_simulated_nodes_and_ourselves() -> None:
    simulated = node("h", "10.0.0.2", "10.128.0.0/24", **{"oarlock.dev/runtime": "hollow"})
    assert plan("a", HERE, [simulated, node("twin", HERE, "10.42.9.0/24")], []).routes == {}


def test_each_family_is_by_itself() -> None:
    nodes = [node("a", "fd00::1", "10.42.0.0/24", "fd42::/64"), node("b", "fd00::2", "10.42.1.0/24", "fd42:0:0:1::/64")]
    services = [{"spec": {"cidrs": ["10.43.0.0/16", "fd43::/112"]}}]
    assert set(plan("a", "fd00::1", nodes, services).routes) == {
        Route("fd42::/64", "", "fd00::1"),
        Route("fd42:0:0:1::/64", "fd00::2", "fd00::1"),
        Route("fd43::/112", "", "fd00::1"),
    }


def test_where_ranges_overlap_the_older_node_keeps_its_own() -> None:
    older = node("z", "10.0.0.2", "10.42.0.0/23")
    younger = node("a", HERE, "10.42.1.0/24", age="2026-01-02T00:00:00Z")
    made = plan("a", HERE, [younger, older], SERVICES)
    assert made.conflicts == {"a": "the range 10.42.1.0/24 of node a overlaps that of node z"}
    assert set(made.routes) == {SERVICE_ROUTE, Route("10.42.0.0/23", "10.0.0.2", HERE)}
    inside = plan("a", HERE, [node("a", HERE, "10.43.7.0/24")], SERVICES)
    assert inside.conflicts == {"a": "the range 10.43.7.0/24 of node a overlaps that of the Services"}


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 255), st.integers(18, 28)), max_size=12))
def test_no_address_is_led_two_ways(ranges: list[tuple[int, int]]) -> None:
    nodes = [
        node(f"n{at}", f"10.0.1.{at + 1}", str(ipaddress.ip_network(f"10.42.{third}.0/{length}", strict=False)))
        for at, (third, length) in enumerate(ranges)
    ]
    made = plan("n0", "10.0.1.1", nodes, SERVICES)
    networks = [ipaddress.ip_network(route.destination) for route in made.routes]
    assert not any(one.overlaps(other) for at, one in enumerate(networks) for other in networks[:at])
    assert len(made.routes) - 1 + len(made.conflicts) == len(nodes)


@settings(deadline=None)
@given(st.sets(st.integers(0, 9)), st.sets(st.integers(0, 9)))
def test_a_difference_brings_what_is_to_what_should_be(present: set[int], wanted: set[int]) -> None:
    have, want = ({Route(f"10.42.{number}.0/24", "10.0.0.2", HERE) for number in some} for some in (present, wanted))
    leaving, coming = difference(have, want)
    assert (have - set(leaving)) | set(coming) == want
    assert not set(leaving) & want
    assert not set(coming) & have


@pytest.mark.parametrize(
    ("host", "words"),
    [
        (Host({"10.42.0.1": "cni0"}), "this host's own address 10.42.0.1 (cni0)"),
        (Host(routes=[HostRoute("10.0.0.0/8", direct=True)]), "the network 10.0.0.0/8 that this host is in"),
        (Host(routes=[HostRoute("10.42.0.128/25", direct=False)]), "a route of its own to 10.42.0.128/25"),
        (Host(routes=[HostRoute("10.42.0.0/24", direct=False)]), "a route of its own to 10.42.0.0/24"),
        (Host({HERE: "eth0"}, [HostRoute("0.0.0.0/0", direct=False), HostRoute("10.0.0.0/8", direct=False)]), ""),
        (Host({"fd00::1": "eth0"}, [HostRoute("fd00::/64", direct=True)]), ""),
    ],
)
def test_what_of_the_host_a_route_would_get_in_the_way_of(host: Host, words: str) -> None:
    said = obstacle(Route("10.42.0.0/24", "", HERE), host)
    assert words in said if words else said == ""


def test_a_heartbeat_is_no_news() -> None:
    before = node("a", HERE, "10.42.0.0/24")
    beaten = {**before, "status": {**before["status"], "conditions": [{"type": "Ready", "status": "True"}]}}
    assert relevant(before) == relevant(beaten)
    assert relevant(before) != relevant(node("a", "10.0.0.9", "10.42.0.0/24"))
    assert relevant(before) != relevant(None)
