"""How services and everything about the network is printed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from oarlock.cluster.objects.cells import (
    AGE,
    NAME,
    NONE,
    UNKNOWN,
    UNSET,
    Cells,
    Column,
    Object,
    Printer,
    Printers,
    age_of,
    at,
    labels_text,
    name_of,
    selector_text,
    shortened,
    wide,
)

_SHOWN: Final = 3


def _service(obj: Object, now: float) -> Cells:
    spec = obj.get("spec", {})
    addresses = spec.get("clusterIPs") or ([spec["clusterIP"]] if spec.get("clusterIP") else [])
    return [
        name_of(obj),
        spec.get("type", ""),
        addresses[0] if addresses else NONE,
        _external_address(obj),
        ",".join(map(_port, spec.get("ports") or ())) or NONE,
        age_of(obj, now),
        labels_text(spec.get("selector")),
    ]


def _external_address(obj: Object) -> str:
    spec = obj.get("spec", {})
    given = spec.get("externalIPs") or []
    kind = spec.get("type")
    if kind == "ExternalName":
        return str(spec.get("externalName", ""))
    if kind == "LoadBalancer":
        return ",".join([*_load_balancer(obj), *given]) or "<pending>"
    return ",".join(given) or NONE if kind in {"ClusterIP", "NodePort"} else UNKNOWN


def _load_balancer(obj: Object) -> list[str]:
    ingress = at(obj, "status", "loadBalancer", "ingress", default=())
    return sorted({one.get("ip") or one.get("hostname") or "" for one in ingress} - {""})


def _port(port: Object) -> str:
    protocol = port.get("protocol", "")
    if port.get("nodePort"):
        return f"{port['port']}:{port['nodePort']}/{protocol}"
    return f"{port['port']}/{protocol}"


def _ingress(obj: Object, now: float) -> Cells:
    return [
        name_of(obj),
        at(obj, "spec", "ingressClassName", default=NONE),
        _hosts(at(obj, "spec", "rules", default=())),
        ",".join(_load_balancer(obj)),
        "80, 443" if at(obj, "spec", "tls") else "80",
        age_of(obj, now),
    ]


def _hosts(rules: Sequence[Object]) -> str:
    named = [rule["host"] for rule in rules if rule.get("host")]
    if not named:
        return "*"
    return shortened(named, len(rules) if len(named) > _SHOWN else len(named), _SHOWN)


def _ingress_class(obj: Object, now: float) -> Cells:
    given = at(obj, "spec", "parameters")
    parameters = NONE
    if given is not None:
        group = f".{given['apiGroup']}" if "apiGroup" in given else ""
        parameters = f"{given['kind']}{group}/{given['name']}"
    return [name_of(obj), at(obj, "spec", "controller", default=""), parameters, age_of(obj, now)]


def _network_policy(obj: Object, now: float) -> Cells:
    return [name_of(obj), selector_text(at(obj, "spec", "podSelector", default={})), age_of(obj, now)]


def _endpoints(obj: Object, now: float) -> Cells:
    texts: list[str] = []
    for subset in obj.get("subsets") or ():
        addresses = [one["ip"] for one in subset.get("addresses") or ()]
        ports = subset.get("ports") or ()
        texts += [_join(ip, port["port"]) for port in ports for ip in addresses] if ports else addresses
    return [
        name_of(obj),
        shortened(texts, len(texts), _SHOWN) or ("" if obj.get("subsets") else NONE),
        age_of(obj, now),
    ]


def _join(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _endpoint_slice(obj: Object, now: float) -> Cells:
    ports = [str(port.get("port") or port.get("name") or "*") for port in obj.get("ports") or ()]
    addresses = [address for one in obj.get("endpoints") or () for address in one.get("addresses") or ()]
    return [
        name_of(obj),
        obj.get("addressType", ""),
        shortened(ports, len(ports), _SHOWN) or UNSET,
        shortened(addresses, len(addresses), _SHOWN) or UNSET,
        age_of(obj, now),
    ]


def _service_cidr(obj: Object, now: float) -> Cells:
    return [name_of(obj), ",".join(at(obj, "spec", "cidrs", default=())), age_of(obj, now)]


def _ip_address(obj: Object, now: float) -> Cells:
    """Upstream gives these rows an age, though the columns have none."""
    parent = at(obj, "spec", "parentRef")
    text = NONE
    if parent is not None:
        group = f".{parent['group']}" if parent.get("group") else ""
        parts = (f"{parent.get('resource', '')}{group}".lower(), parent.get("namespace"), parent.get("name"))
        text = "/".join(part for part in parts if part)
    return [name_of(obj), text, age_of(obj, now)]


PRINTERS: Final[Printers] = {
    ("", "Service"): Printer(
        (
            NAME,
            Column("Type", "=core.v1.ServiceSpec.type"),
            Column("Cluster-IP", "=core.v1.ServiceSpec.clusterIP"),
            Column("External-IP", "=core.v1.ServiceSpec.externalIPs"),
            Column("Port(s)", "=core.v1.ServiceSpec.ports"),
            AGE,
            wide("Selector", "=core.v1.ServiceSpec.selector"),
        ),
        _service,
    ),
    ("networking.k8s.io", "Ingress"): Printer(
        (
            NAME,
            Column("Class", "The name of the IngressClass resource that should be used for additional configuration"),
            Column("Hosts", "Hosts that incoming requests are matched against before the ingress rule"),
            Column("Address", "Address is a list containing ingress points for the load-balancer"),
            Column("Ports", "Ports of TLS configurations that open"),
            AGE,
        ),
        _ingress,
    ),
    ("networking.k8s.io", "IngressClass"): Printer(
        (
            NAME,
            Column("Controller", "Controller that is responsible for handling this class"),
            Column("Parameters", "A reference to a resource with additional parameters"),
            AGE,
        ),
        _ingress_class,
    ),
    ("networking.k8s.io", "NetworkPolicy"): Printer(
        (NAME, Column("Pod-Selector", "=networking.v1.NetworkPolicySpec.podSelector"), AGE), _network_policy
    ),
    ("", "Endpoints"): Printer((NAME, Column("Endpoints", "=core.v1.Endpoints.subsets"), AGE), _endpoints),
    ("discovery.k8s.io", "EndpointSlice"): Printer(
        (
            NAME,
            Column("AddressType", "=discovery.v1.EndpointSlice.addressType"),
            Column("Ports", "=discovery.v1.EndpointSlice.ports"),
            Column("Endpoints", "=discovery.v1.EndpointSlice.endpoints"),
            AGE,
        ),
        _endpoint_slice,
    ),
    ("networking.k8s.io", "ServiceCIDR"): Printer(
        (NAME, Column("CIDRs", "=networking.v1.ServiceCIDRSpec.cidrs"), AGE), _service_cidr
    ),
    ("networking.k8s.io", "IPAddress"): Printer(
        (NAME, Column("ParentRef", "=networking.v1.IPAddressSpec.parentRef")), _ip_address
    ),
}
