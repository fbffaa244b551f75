"""Pods and Services across hosts: an API server and three nodes, each in a network of its own."""

from __future__ import annotations

import ipaddress
import json
import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from harness.hosts import CLUSTER_CIDR, SERVICE_CIDR, Hosts

pytestmark = pytest.mark.thorough
Waiting = Callable[..., Any]
NODES = ("a", "b", "c")

SERVE = """
import http.server, json, os, socket, threading
def echo():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bound:
        bound.bind((os.environ["IP"], 8081))
        while True:
            said, client = bound.recvfrom(2048)
            bound.sendto(said + os.environ["NODE"].encode(), client)
threading.Thread(target=echo, daemon=True).start()
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        told = {"pod": os.environ["POD"], "node": os.environ["NODE"], "from": self.client_address[0]}
        self.send_response(200); self.end_headers(); self.wfile.write(json.dumps(told).encode())
http.server.ThreadingHTTPServer((os.environ["IP"], 8080), Answer).serve_forever()
"""
FETCH = """
import socket, sys
address, port, source, count = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
for _ in range(count):
    with socket.create_connection((address, port), 5, (source, 0) if source else None) as connection:
        connection.sendall(b"GET / HTTP/1.0\\r\\n\\r\\n")
        print(b"".join(iter(lambda: connection.recv(65536), b"")).decode().rpartition("\\n")[2])
"""
ASK = """
import socket, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bound:
    bound.settimeout(5)
    bound.connect((sys.argv[1], 53))
    bound.send(b"on ")
    print(bound.recv(2048).decode())
"""


def environment() -> list[dict[str, Any]]:
    fields = {"IP": "status.podIP", "POD": "metadata.name", "NODE": "spec.nodeName"}
    return [{"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}} for name, path in fields.items()]


def deployment() -> dict[str, Any]:
    """A pod that serves on each node."""
    spread = {"maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "DoNotSchedule"}
    labels = {"app": "web"}
    container = {
        "name": "c",
        "image": "host/python3",
        "args": ["-u", "-c", SERVE],
        "env": environment(),
        "readinessProbe": {"httpGet": {"path": "/", "port": 8080}, "periodSeconds": 1},
    }
    pod = {
        "topologySpreadConstraints": [{**spread, "labelSelector": {"matchLabels": labels}}],
        "terminationGracePeriodSeconds": 1,
        "containers": [container],
    }
    spec = {
        "replicas": 3,
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": pod},
    }
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": spec}


def service(name: str, **spec: Any) -> dict[str, Any]:
    ports = [{"port": 80, "targetPort": 8080}]
    whole = {"selector": {"app": "web"}, "ports": ports, **spec}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": whole}


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory, tool: Callable[[str], str], waiting: Waiting) -> Iterator[Hosts]:
    """Three nodes, a pod that serves on each, and Services before them."""
    tool("ip")
    if os.geteuid() != 0:
        (pytest.fail if os.environ.get("OARLOCK_REQUIRE_TOOLS") else pytest.skip)("only root can make namespaces")
    with Hosts(tmp_path_factory.mktemp("hosts"), tool("kubectl"), NODES) as made:
        try:
            waiting(lambda: made.kubectl("get", "nodes", "--no-headers").count(" Ready ") == len(NODES))
            objects = [
                deployment(),
                service("web", type="NodePort"),
                service("near", type="NodePort", externalTrafficPolicy="Local", internalTrafficPolicy="Local"),
                service("sticky", sessionAffinity="ClientIP"),
                service("headless", clusterIP="None"),
                service("datagrams", ports=[{"port": 53, "protocol": "UDP", "targetPort": 8081}]),
            ]
            made.kubectl("apply", "-f", "-", given=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))
            made.kubectl("rollout", "status", "deployment/web", "--timeout=40s")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{made.logs()}") from None
        yield made


def pods(hosts: Hosts) -> dict[str, Any]:
    """The pods by their nodes."""
    found = hosts.kubectl.json("get", "pods", "-l", "app=web")["items"]
    return {pod["spec"]["nodeName"]: pod for pod in found}


def fetch(hosts: Hosts, name: str, address: str, port: int = 80, *, source: str = "", count: int = 1) -> list[Any]:
    """Ask from a host, from an address of its own if `source` says which; return the answers."""
    said = hosts.on(name, "python3", "-c", FETCH, address, str(port), source, str(count))
    return [json.loads(line) for line in said.splitlines()]


def routes(hosts: Hosts, name: str) -> dict[str, str]:
    """Our routes on a host: destination to gateway, or to `local`."""
    found = json.loads(hosts.on(name, "ip", "-j", "route", "show", "table", "all", "proto", "200"))
    return {entry["dst"]: entry.get("gateway", entry.get("type")) for entry in found}


def test_every_host_has_a_range_of_its_own_and_knows_the_others(hosts: Hosts) -> None:
    nodes = {node["metadata"]["name"]: node for node in hosts.kubectl.json("get", "nodes")["items"]}
    ranges = {name: node["spec"]["podCIDR"] for name, node in nodes.items()}
    assert len(set(ranges.values())) == 3
    for name in NODES:
        others = {ranges[other]: hosts.network.address(other) for other in NODES if other != name}
        assert routes(hosts, name) == {ranges[name]: "local", SERVICE_CIDR: "local", **others}
        conditions = {one["type"]: one["status"] for one in nodes[name]["status"]["conditions"]}
        assert conditions["NetworkUnavailable"] == "False"
        assert pods(hosts)[name]["status"]["podIP"].rpartition(".")[0] == ranges[name].rpartition(".")[0]
        assert ipaddress.ip_network(ranges[name]).subnet_of(ipaddress.ip_network(CLUSTER_CIDR))


def test_a_service_answers_on_every_host_for_all_its_pods(hosts: Hosts) -> None:
    found = {one["metadata"]["name"]: one["spec"] for one in hosts.kubectl.json("get", "services")["items"]}
    everybody = {pod["metadata"]["name"] for pod in pods(hosts).values()}
    ports = {name: spec["ports"][0].get("nodePort") for name, spec in found.items()}
    for name in NODES:
        here = hosts.network.address(name)
        answers = fetch(hosts, name, found["web"]["clusterIP"], count=6)
        assert {one["pod"] for one in answers} == everybody
        assert {one["from"] for one in answers} == {here}, "a relayed connection comes from the relaying host"
        outside = fetch(hosts, "s", here, ports["web"], count=6)
        assert {one["pod"] for one in outside} == everybody
        near = fetch(hosts, name, found["near"]["clusterIP"], count=4) + fetch(hosts, "s", here, ports["near"], count=4)
        assert {one["node"] for one in near} == {name}
        assert len({one["pod"] for one in fetch(hosts, name, found["sticky"]["clusterIP"], count=6)}) == 1
        datagrams = {hosts.on(name, "python3", "-c", ASK, found["datagrams"]["clusterIP"]) for _ in NODES}
        assert datagrams == {f"on {other}\n" for other in NODES}
    slices = hosts.kubectl.json("get", "endpointslices", "-l", "kubernetes.io/service-name=headless")["items"]
    addresses = {address for one in slices for endpoint in one["endpoints"] for address in endpoint["addresses"]}
    assert addresses == {pod["status"]["podIP"] for pod in pods(hosts).values()}
    api = hosts.kubectl.json("get", "endpoints", "kubernetes")["subsets"][0]["addresses"]
    assert [one["ip"] for one in api] == [hosts.network.address("s")]


def test_pods_reach_each_other_by_their_own_addresses(hosts: Hosts) -> None:
    placed = pods(hosts)
    for one in NODES:
        for other in NODES:
            source, target = placed[one]["status"]["podIP"], placed[other]["status"]["podIP"]
            (answer,) = fetch(hosts, one, target, 8080, source=source)
            assert (answer["node"], answer["from"]) == (other, source)


def test_streams_reach_the_agents_from_the_api_server(hosts: Hosts) -> None:
    for name, pod in pods(hosts).items():
        known = pod["metadata"]["name"]
        assert hosts.kubectl("exec", known, "--", "sh", "-c", "echo on $NODE") == f"on {name}\n"
        assert "GET / HTTP" in hosts.kubectl("logs", known)


def test_pods_keep_address_and_routes_through_an_agents_end(hosts: Hosts, waiting: Waiting) -> None:
    before = pods(hosts)
    hosts.nodes["a"].stop()
    hosts.nodes["b"].stop(signal.SIGKILL)
    (answer,) = fetch(hosts, "c", before["a"]["status"]["podIP"], 8080)
    assert answer["node"] == "a", "the pod is there, and so is the way to it"
    for name in ("a", "b"):
        hosts.nodes[name].start()
    address = hosts.kubectl.json("get", "service", "web")["spec"]["clusterIP"]
    for name in ("a", "b"):
        waiting(lambda host=name: served(hosts, host, address))
    hosts.kubectl("wait", "--for=condition=Ready", "pods", "--all", "--timeout=20s")
    after = pods(hosts)
    for name in NODES:
        assert after[name]["metadata"]["uid"] == before[name]["metadata"]["uid"]
        assert after[name]["status"]["podIP"] == before[name]["status"]["podIP"]
        assert after[name]["status"]["containerStatuses"][0]["restartCount"] == 0


def served(hosts: Hosts, name: str, address: str) -> bool:
    try:
        return len(fetch(hosts, name, address)) == 1
    except AssertionError:
        return False


def test_a_node_that_goes_is_forgotten_and_leaves_nothing(hosts: Hosts, waiting: Waiting) -> None:
    gone = hosts.kubectl.json("get", "node", "c")["spec"]["podCIDR"]
    hosts.nodes["c"].stop()
    hosts.kubectl("delete", "node", "c")
    waiting(lambda: all(gone not in routes(hosts, name) for name in ("a", "b")))
    foreign = ("192.0.2.0/24", "via", hosts.network.address("a"))
    hosts.on("c", "ip", "route", "add", *foreign)
    remove = "from oarlock.cluster.kubelet.network.iproute import remove_routes; print(remove_routes())"
    assert int(hosts.on("c", hosts.python, "-c", remove)) >= 2
    assert routes(hosts, "c") == {}
    assert "192.0.2.0/24" in hosts.on("c", "ip", "route"), "routes of others are none of ours"
