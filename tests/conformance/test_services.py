"""Services, their endpoints, and the addresses that they get.

Stands for: "Services should complete a service status lifecycle", "... should delete a collection of services", "...
should test the lifecycle of an Endpoint", "... should be able to change the type from ExternalName to ClusterIP ...",
"... should find a service from listing all namespaces", "EndpointSlice should create Endpoints and EndpointSlices for
Pods matching a Service", "EndpointSliceMirroring should mirror a custom Endpoints resource through create update and
delete", "ServiceCIDR and IPAddress API should support ... API operations", "Service CIDRs ...".
"""

from __future__ import annotations

from typing import Any

import pytest
from harness.kinds import TEMPLATE
from harness.rest import JSON_PATCH, Object, Rest

pytestmark = [pytest.mark.thorough, pytest.mark.timeout(120)]
MERGE = "application/merge-patch+json"


@pytest.fixture
def slices(namespace: str) -> str:
    return f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices"


def service(name: str, **spec: Any) -> Object:
    return {"metadata": {"name": name, "labels": {"s": "1"}}, "spec": {"ports": [{"port": 80}], **spec}}


def settled(api: Rest, path: str, name: str, holds: Any) -> list[Object]:
    """Return a Service's slices once `holds(slices)` is true."""
    selector = f"kubernetes.io/service-name={name}"
    listed = api.get(path, labelSelector=selector)
    seen = {one["metadata"]["uid"]: one for one in listed["items"]}
    begin = listed["metadata"]["resourceVersion"]
    with api.watch(path, labelSelector=selector, resourceVersion=begin) as watch:
        while not holds(list(seen.values())):
            event = watch.next()
            seen[event["object"]["metadata"]["uid"]] = event["object"]
            if event["type"] == "DELETED":
                del seen[event["object"]["metadata"]["uid"]]
    return list(seen.values())


def addresses(slices: list[Object], *, ready: bool = True) -> set[str]:
    found = [one for part in slices for one in part["endpoints"] or [] if one["conditions"].get("ready", True) == ready]
    return {address for one in found for address in one["addresses"]}


def test_a_services_status(api: Rest, core: str) -> None:
    api.create(f"{core}/services", service("s", type="LoadBalancer", loadBalancerClass="example.com/none"))
    path = f"{core}/services/s"
    condition = {
        "type": "T",
        "status": "True",
        "reason": "R",
        "message": "M",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }
    told = api.changed(path, lambda found: found["status"].update(conditions=[condition]), "/status")
    assert told["status"]["conditions"] == [condition]
    ingress = {
        "status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.1"}]}},
        "metadata": {"annotations": {"by": "status"}},
    }
    patched = api.patch(f"{path}/status", ingress)
    assert patched["status"]["loadBalancer"]["ingress"] == [{"ip": "203.0.113.1", "ipMode": "VIP"}]
    assert patched["metadata"]["annotations"]["by"] == "status"
    api.patch(path, {"metadata": {"labels": {"found": "everywhere"}}})
    assert len(api.get("/api/v1/services", labelSelector="found=everywhere")["items"]) == 1
    api.create(f"{core}/services", {**service("kept"), "metadata": {"name": "kept"}})
    api.delete(f"{core}/services", labelSelector="s=1")
    api.until_gone(path)
    assert api("GET", f"{core}/services/kept").code == 200


def test_types_change(api: Rest, core: str) -> None:
    made = api.create(
        f"{core}/services",
        {"metadata": {"name": "s"}, "spec": {"type": "ExternalName", "externalName": "a.example.com"}},
    )
    assert "clusterIP" not in made["spec"]
    path = f"{core}/services/s"
    plain = api.patch(path, {"spec": {"type": "ClusterIP", "externalName": None, "ports": [{"port": 80}]}})
    address = plain["spec"]["clusterIP"]
    assert api.get(f"/apis/networking.k8s.io/v1/ipaddresses/{address}")["spec"]["parentRef"]["name"] == "s"
    ports = api.patch(path, {"spec": {"type": "NodePort"}})
    assert (ports["spec"]["clusterIP"], bool(ports["spec"]["ports"][0]["nodePort"])) == (address, True)
    again = api.patch(path, {"spec": {"type": "ClusterIP"}})
    assert "nodePort" not in again["spec"]["ports"][0]
    refused = api("PATCH", path, {"spec": {"clusterIP": "10.0.0.99", "clusterIPs": ["10.0.0.99"]}}, content_type=MERGE)
    assert (refused.code, refused.reason) == (422, "Invalid")
    outside = api.patch(path, {"spec": {"type": "ExternalName", "externalName": "a.example.com"}})
    assert "clusterIP" not in outside["spec"] or outside["spec"]["clusterIP"] == ""
    assert api("GET", f"/apis/networking.k8s.io/v1/ipaddresses/{address}").code == 404
    taken = api("POST", f"{core}/services", service("t", clusterIP="203.0.113.9"))
    assert (taken.code, taken.body["details"]["causes"][0]["field"]) == (422, "spec.clusterIPs")


def running(api: Rest, core: str, name: str, address: str, **labels: str) -> None:
    """Make a pod on the node "here", and tell that it runs there."""
    api.create(f"{core}/pods", {"metadata": {"name": name, "labels": labels}, "spec": TEMPLATE["spec"]})
    target = {"apiVersion": "v1", "kind": "Node", "name": "here"}
    api.create(f"{core}/pods/{name}/binding", {"metadata": {"name": name}, "target": target})
    told(api, core, name, address, "True")


def told(api: Rest, core: str, name: str, address: str, ready: str) -> None:
    status = {
        "phase": "Running",
        "podIP": address,
        "podIPs": [{"ip": address}],
        "conditions": [{"type": "Ready", "status": ready}],
    }
    api.patch(f"{core}/pods/{name}/status", {"status": status})


def test_endpoints_follow_pods(api: Rest, core: str, slices: str) -> None:
    api("POST", "/api/v1/nodes", {"metadata": {"name": "here"}})  # pods on nodes that aren't there are no endpoints
    api.create(f"{core}/services", service("s", selector={"app": "e"}))
    running(api, core, "one", "192.0.2.1", app="e")
    running(api, core, "two", "192.0.2.2", app="e")
    running(api, core, "other", "192.0.2.3", app="f")
    (part,) = settled(api, slices, "s", lambda found: addresses(found) == {"192.0.2.1", "192.0.2.2"})
    assert part["metadata"]["labels"]["endpointslice.kubernetes.io/managed-by"] == "endpointslice-controller.k8s.io"
    assert {one["targetRef"]["name"] for one in part["endpoints"]} == {"one", "two"}
    assert part["ports"] == [{"name": "", "port": 80, "protocol": "TCP"}]
    told(api, core, "two", "192.0.2.2", "False")
    found = settled(api, slices, "s", lambda found: addresses(found) == {"192.0.2.1"})
    assert addresses(found, ready=False) == {"192.0.2.2"}
    api.until(
        f"{core}/endpoints/s",
        lambda found: (
            [[one["ip"] for one in part.get("notReadyAddresses", [])] for part in found["subsets"]] == [["192.0.2.2"]]
        ),
    )
    for name in ("one", "two"):
        api.delete(f"{core}/pods/{name}", gracePeriodSeconds=0)
    settled(api, slices, "s", lambda found: not addresses(found) | addresses(found, ready=False))
    api.delete(f"{core}/services/s")
    settled(api, slices, "s", lambda found: not found)
    api.until_gone(f"{core}/endpoints/s")


def test_endpoints_by_hand_are_mirrored(api: Rest, core: str, slices: str) -> None:
    api.create(f"{core}/services", service("m"))
    subset = {"addresses": [{"ip": "192.0.2.4"}], "ports": [{"name": "p", "port": 80}]}
    api.create(f"{core}/endpoints", {"metadata": {"name": "m"}, "subsets": [subset]})
    (part,) = settled(api, slices, "m", lambda found: addresses(found) == {"192.0.2.4"})
    assert (
        part["metadata"]["labels"]["endpointslice.kubernetes.io/managed-by"]
        == "endpointslicemirroring-controller.k8s.io"
    )
    assert [(port["name"], port["port"]) for port in part["ports"]] == [("p", 80)]
    api.patch(
        f"{core}/endpoints/m",
        [{"op": "replace", "path": "/subsets/0/addresses/0/ip", "value": "192.0.2.5"}],
        JSON_PATCH,
    )
    settled(api, slices, "m", lambda found: addresses(found) == {"192.0.2.5"})
    api.delete(f"{core}/endpoints/m")
    settled(api, slices, "m", lambda found: not found)


def test_a_range_of_addresses_is_added_and_held_while_used(api: Rest, core: str) -> None:
    ranges = "/apis/networking.k8s.io/v1/servicecidrs"
    api.create(ranges, {"metadata": {"name": "added"}, "spec": {"cidrs": ["203.0.113.0/24"]}})
    ready = api.until(f"{ranges}/added", lambda found: found.get("status", {}).get("conditions"))
    assert [(one["type"], one["status"]) for one in ready["status"]["conditions"]] == [("Ready", "True")]
    assert ready["metadata"]["finalizers"] == ["networking.k8s.io/service-cidr-finalizer"]
    refused = api("PATCH", f"{ranges}/added", {"spec": {"cidrs": ["203.0.113.0/25"]}}, content_type=MERGE)
    assert refused.code == 422
    api.create(f"{core}/services", service("in", clusterIP="203.0.113.7"))
    api.delete(f"{ranges}/added")

    def is_going(found: Object) -> bool:
        return [(one["status"], one["reason"]) for one in found["status"]["conditions"]] == [("False", "Terminating")]

    api.until(f"{ranges}/added", is_going)
    api.delete(f"{core}/services/in")
    api.until_gone(f"{ranges}/added")
