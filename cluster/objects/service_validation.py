"""Validate Services, Endpoints and EndpointSlices.

Source: upstream's `pkg/apis/core/validation/validation.go`, `pkg/apis/discovery/validation`.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from typing import Any, Final

from oarlock.cluster.objects import metadata_validation, names, service_families
from oarlock.cluster.objects.causes import duplicate, forbidden, invalid, not_supported, required, too_many
from oarlock.cluster.objects.container_validation import PROTOCOLS
from oarlock.cluster.objects.gostructs import Struct
from oarlock.cluster.objects.status import Cause

Obj = Mapping[str, Any]
TYPES: Final = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
_AFFINITIES: Final = ("ClientIP", "None")
_TRAFFIC: Final = ("Cluster", "Local")
_DISTRIBUTIONS: Final = ("PreferClose", "PreferSameZone", "PreferSameNode")
_AFFINITY_SECONDS_MAX: Final = 86400
_ENDPOINTS_MAX: Final = 1000
_PORTS_MAX: Final = 20000
_ADDRESSES_MAX: Final = 100
_HINTS_MAX: Final = 8
_ADDRESS_TYPES: Final = ("FQDN", "IPv4", "IPv6")


def service(obj: Obj) -> list[Cause]:
    """What is wrong with a new Service beyond its metadata."""
    spec = obj["spec"]
    kind = spec.get("type", "")
    ports: Sequence[Obj] = spec.get("ports", ())
    causes: list[Cause] = []
    headless = spec.get("clusterIP") == "None"
    if not ports and not headless and kind != "ExternalName":
        causes.append(required("spec.ports"))
    if kind in {"LoadBalancer", "NodePort"} and headless:
        why = f"may not be set to 'None' for {kind} services"
        causes.append(invalid("spec.clusterIPs[0]", "None", why))
    if kind == "ExternalName":
        causes += _external_name(spec)
    for index, port in enumerate(ports):
        causes += _port(port, f"spec.ports[{index}]", named=len(ports) > 1)
    causes += _repeated(ports)
    if "selector" in spec:
        causes += metadata_validation.labels(spec["selector"], "spec.selector")
    causes += _affinity(spec)
    causes += _addresses(spec)
    causes += _type(spec)
    causes += _node_ports(spec)
    causes += _load_balancer(spec)
    return causes + _traffic(spec)


def _external_name(spec: Obj) -> list[Cause]:
    causes = [
        forbidden(f"spec.{name}", "may not be set when `type` is 'ExternalName'")
        for name in ("clusterIPs", "ipFamilies", "ipFamilyPolicy")
        if spec.get(name)
    ]
    name = spec.get("externalName", "").removesuffix(".")
    if not name:
        return [*causes, required("spec.externalName")]
    return causes + [invalid("spec.externalName", name, why) for why in names.dns_subdomain(name)]


def _port(port: Obj, path: str, *, named: bool) -> list[Cause]:
    causes: list[Cause] = []
    name = port.get("name", "")
    if named and not name:
        causes.append(required(f"{path}.name"))
    elif name:
        causes += [invalid(f"{path}.name", name, why) for why in names.dns_label(name)]
    causes += [invalid(f"{path}.port", port.get("port", 0), why) for why in names.port_number(port.get("port", 0))]
    protocol = port.get("protocol", "")
    if not protocol:
        causes.append(required(f"{path}.protocol"))
    elif protocol not in PROTOCOLS:
        causes.append(not_supported(f"{path}.protocol", protocol, PROTOCOLS))
    target = port.get("targetPort", 0)
    rule = names.port_name(target) if isinstance(target, str) else names.port_number(target)
    causes += [invalid(f"{path}.targetPort", target, why) for why in rule]
    if "appProtocol" in port:
        application = port["appProtocol"]
        causes += [invalid(f"{path}.appProtocol", application, why) for why in names.qualified_name(application)]
    return causes


def _repeated(ports: Sequence[Obj]) -> list[Cause]:
    causes: list[Cause] = []
    seen_names: set[str] = set()
    seen: set[tuple[str, int]] = set()
    for index, port in enumerate(ports):
        name = port.get("name", "")
        if name and name in seen_names:
            causes.append(duplicate(f"spec.ports[{index}].name", name))
        seen_names.add(name)
    for index, port in enumerate(ports):
        key = (port.get("protocol", ""), port.get("port", 0))
        if key in seen:
            shown = Struct("core.v1.ServicePort", {name: port[name] for name in ("protocol", "port") if name in port})
            causes.append(duplicate(f"spec.ports[{index}]", shown))
        seen.add(key)
    return causes


def _affinity(spec: Obj) -> list[Cause]:
    kind = spec.get("sessionAffinity", "")
    if kind not in _AFFINITIES:
        return [not_supported("spec.sessionAffinity", kind, _AFFINITIES) if kind else required("spec.sessionAffinity")]
    seconds = spec.get("sessionAffinityConfig", {}).get("clientIP", {}).get("timeoutSeconds")
    if kind == "ClientIP" and seconds is not None and not 0 < seconds <= _AFFINITY_SECONDS_MAX:
        place = "spec.sessionAffinityConfig.clientIP.timeoutSeconds"
        return [invalid(place, seconds, f"must be greater than 0 and less than {_AFFINITY_SECONDS_MAX}")]
    return []


def _addresses(spec: Obj) -> list[Cause]:
    causes = service_families.related_causes(spec)
    for index, address in enumerate(spec.get("externalIPs", ())):
        place = f"spec.externalIPs[{index}]"
        wrong = names.ip_address(address)
        causes += [invalid(place, address, why) for why in wrong]
        if not wrong:
            causes += unusable_address(address, place)
    return causes


def unusable_address(text: str, path: str) -> list[Cause]:
    """What is wrong with an address that others are to reach: no unspecified, loopback or link-local one."""
    address = ipaddress.ip_address(text)
    rules = (
        (address.is_unspecified, f"may not be unspecified ({text})"),
        (address.is_loopback, "may not be in the loopback range (127.0.0.0/8, ::1/128)"),
        (address.is_link_local, "may not be in the link-local range (169.254.0.0/16, fe80::/10)"),
        (
            address.is_multicast and str(address).startswith(("224.0.0.", "ff02:")),
            "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)",
        ),
    )
    return [invalid(path, text, why) for broken, why in rules if broken]


def _type(spec: Obj) -> list[Cause]:
    kind = spec.get("type", "")
    if kind in TYPES:
        return []
    return [not_supported("spec.type", kind, TYPES) if kind else required("spec.type")]


def _node_ports(spec: Obj) -> list[Cause]:
    causes: list[Cause] = []
    kind = spec.get("type", "")
    seen: set[tuple[str, int]] = set()
    for index, port in enumerate(spec.get("ports", ())):
        number = port.get("nodePort", 0)
        place = f"spec.ports[{index}].nodePort"
        if not number:
            continue
        if kind in {"ClusterIP", "ExternalName"}:
            causes.append(forbidden(place, f"may not be used when `type` is '{kind}'"))
        key = (port.get("protocol", ""), number)
        if key in seen:
            causes.append(duplicate(place, number))
        seen.add(key)
    return causes


def _load_balancer(spec: Obj) -> list[Cause]:
    causes: list[Cause] = []
    balanced = spec.get("type") == "LoadBalancer"
    for index, source in enumerate(spec.get("loadBalancerSourceRanges", ())):
        if not balanced:
            causes.append(forbidden("spec.LoadBalancerSourceRanges", "may only be used when `type` is 'LoadBalancer'"))
            break
        place = f"spec.LoadBalancerSourceRanges[{index}]"  # as upstream spells it
        causes += [invalid(place, source, why) for why in names.cidr(source.strip())]
    if "allocateLoadBalancerNodePorts" in spec and not balanced:
        causes.append(forbidden("spec.allocateLoadBalancerNodePorts", "may only be used when `type` is 'LoadBalancer'"))
    name = spec.get("loadBalancerClass")
    if name is not None:
        if balanced:
            causes += [invalid("spec.loadBalancerClass", name, why) for why in names.qualified_name(name)]
        else:
            causes.append(forbidden("spec.loadBalancerClass", "may only be used when `type` is 'LoadBalancer'"))
    return causes


def _traffic(spec: Obj) -> list[Cause]:
    causes: list[Cause] = []
    kind = spec.get("type", "")
    external = spec.get("externalTrafficPolicy")
    if external is not None:
        if kind not in {"NodePort", "LoadBalancer"} and not spec.get("externalIPs"):
            why = "may only be set for externally-accessible services"
            causes.append(invalid("spec.externalTrafficPolicy", external, why))
        elif external not in _TRAFFIC:
            causes.append(not_supported("spec.externalTrafficPolicy", external, _TRAFFIC))
    internal = spec.get("internalTrafficPolicy")
    if internal is not None and internal not in _TRAFFIC:
        causes.append(not_supported("spec.internalTrafficPolicy", internal, _TRAFFIC))
    distribution = spec.get("trafficDistribution")
    if distribution is not None and distribution not in _DISTRIBUTIONS:
        causes.append(not_supported("spec.trafficDistribution", distribution, _DISTRIBUTIONS))
    number = spec.get("healthCheckNodePort", 0)
    if number and not (kind == "LoadBalancer" and external == "Local"):
        why = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'"
        causes.append(invalid("spec.healthCheckNodePort", number, why))
    return causes


def service_update(new: Obj, old: Obj) -> list[Cause]:
    """What is wrong with a Service that replaces `old`: addresses stay while the type uses them."""
    wanted, present = new["spec"], old["spec"]
    causes = service_families.update_causes(wanted, present)
    if wanted.get("type") == present.get("type") == "LoadBalancer":
        name, before = wanted.get("loadBalancerClass"), present.get("loadBalancerClass")
        if name != before:
            causes.append(invalid("spec.loadBalancerClass", name, "may not change once set"))
    return causes + service(new)


def endpoints(obj: Obj, *, loopback: bool = False) -> list[Cause]:
    """What is wrong with Endpoints beyond their metadata; `loopback` permits loopback addresses."""
    causes: list[Cause] = []
    for index, subset in enumerate(obj.get("subsets", ())):
        place = f"subsets[{index}]"
        if not subset.get("addresses") and not subset.get("notReadyAddresses"):
            causes.append(required(place, "must specify `addresses` or `notReadyAddresses`"))
        for name in ("addresses", "notReadyAddresses"):
            for at, address in enumerate(subset.get(name, ())):
                causes += _endpoint_address(address, f"{place}.{name}[{at}]", loopback=loopback)
        ports: Sequence[Obj] = subset.get("ports", ())
        for at, port in enumerate(ports):
            causes += _endpoint_port(port, f"{place}.ports[{at}]", named=len(ports) > 1)
    return causes


def _endpoint_address(address: Obj, path: str, *, loopback: bool) -> list[Cause]:
    text = address.get("ip", "")
    causes = [invalid(f"{path}.ip", text, why) for why in names.ip_address(text)]
    if address.get("hostname"):
        causes += [
            invalid(f"{path}.hostname", address["hostname"], why) for why in names.dns_label(address["hostname"])
        ]
    if address.get("nodeName"):
        causes += [
            invalid(f"{path}.nodeName", address["nodeName"], why) for why in names.dns_subdomain(address["nodeName"])
        ]
    if names.ip_address(text):
        # Upstream's second check of the same text fails too, and says it its own way.
        return [*causes, invalid(f"{path}.ip", text, "must be a valid IP address")]
    if loopback and ipaddress.ip_address(text).is_loopback:
        return causes
    return causes + unusable_address(text, f"{path}.ip")


def _endpoint_port(port: Obj, path: str, *, named: bool) -> list[Cause]:
    causes: list[Cause] = []
    name = port.get("name", "")
    if named and not name:
        causes.append(required(f"{path}.name"))
    elif name:
        causes += [invalid(f"{path}.name", name, why) for why in names.dns_label(name)]
    number = port.get("port", 0)
    causes += [invalid(f"{path}.port", number, why) for why in names.port_number(number)]
    protocol = port.get("protocol", "")
    if not protocol:
        causes.append(required(f"{path}.protocol"))
    elif protocol not in PROTOCOLS:
        causes.append(not_supported(f"{path}.protocol", protocol, PROTOCOLS))
    if "appProtocol" in port:
        application = port["appProtocol"]
        causes += [invalid(f"{path}.appProtocol", application, why) for why in names.qualified_name(application)]
    return causes


def endpoint_slice(obj: Obj, *, loopback: bool = False) -> list[Cause]:
    """What is wrong with an EndpointSlice beyond its metadata; `loopback` permits loopback addresses."""
    causes: list[Cause] = []
    kind = obj.get("addressType", "")
    if not kind:
        causes.append(required("addressType"))
    elif kind not in _ADDRESS_TYPES:
        causes.append(not_supported("addressType", kind, _ADDRESS_TYPES))
    causes += _slice_endpoints(obj.get("endpoints") or (), kind, loopback=loopback)
    return causes + _slice_ports(obj.get("ports") or ())


def _slice_endpoints(items: Sequence[Obj], kind: str, *, loopback: bool) -> list[Cause]:
    if len(items) > _ENDPOINTS_MAX:
        return [too_many("endpoints", len(items), _ENDPOINTS_MAX)]
    causes: list[Cause] = []
    for index, item in enumerate(items):
        place = f"endpoints[{index}]"
        addresses = item.get("addresses") or ()
        if not addresses:
            causes.append(required(f"{place}.addresses", "must contain at least 1 address"))
        elif len(addresses) > _ADDRESSES_MAX:
            causes.append(too_many(f"{place}.addresses", len(addresses), _ADDRESSES_MAX))
        for at, address in enumerate(addresses):
            causes += _slice_address(address, kind, f"{place}.addresses[{at}]", loopback=loopback)
        if "nodeName" in item:
            name = item["nodeName"]
            causes += [invalid(f"{place}.nodeName", name, why) for why in names.dns_subdomain(name)]
        if item.get("hostname") is not None:
            causes += [invalid(f"{place}.hostname", item["hostname"], why) for why in names.dns_label(item["hostname"])]
        causes += _hints(item.get("hints") or {}, f"{place}.hints")
    return causes


def _hints(item: Obj, path: str) -> list[Cause]:
    """Where an endpoint is best used: at most so many zones and nodes, each once."""
    causes: list[Cause] = []
    for field, rule in (("forZones", names.label_value), ("forNodes", names.dns_subdomain)):
        hints = item.get(field) or ()
        if len(hints) > _HINTS_MAX:
            causes.append(too_many(f"{path}.{field}", len(hints), _HINTS_MAX))
            continue
        seen: set[str] = set()
        for index, hint in enumerate(hints):
            name, place = hint.get("name", ""), f"{path}.{field}[{index}].name"
            if name in seen:
                causes.append(duplicate(place, name))
            seen.add(name)
            causes += [invalid(place, name, why) for why in rule(name)]
    return causes


def _slice_address(text: str, kind: str, path: str, *, loopback: bool) -> list[Cause]:
    if kind == "FQDN":
        return [invalid(path, text, why) for why in names.dns_subdomain(text)]
    version = {"IPv4": 4, "IPv6": 6}.get(kind)
    wrong = names.ip_address(text)
    if wrong:
        return [invalid(path, text, why) for why in wrong]
    address = ipaddress.ip_address(text)
    if version is not None and address.version != version:
        return [invalid(path, text, f"must be an {kind} address")]
    if loopback and address.is_loopback:
        return []
    return unusable_address(text, path)


def _slice_ports(ports: Sequence[Obj]) -> list[Cause]:
    if len(ports) > _PORTS_MAX:
        return [too_many("ports", len(ports), _PORTS_MAX)]
    causes: list[Cause] = []
    seen: set[str] = set()
    for index, port in enumerate(ports):
        place = f"ports[{index}]"
        name, protocol = port.get("name", ""), port.get("protocol")
        if name:
            causes += [invalid(f"{place}.name", name, why) for why in names.dns_label(name)]
        if name in seen:
            causes.append(duplicate(f"{place}.name", name))
        seen.add(name)
        if protocol is None:
            causes.append(required(f"{place}.protocol"))
        elif protocol not in PROTOCOLS:
            causes.append(not_supported(f"{place}.protocol", protocol, PROTOCOLS))
        if "port" in port:
            causes += [invalid(f"{place}.port", port["port"], why) for why in names.port_number(port["port"])]
        if "appProtocol" in port:
            application = port["appProtocol"]
            causes += [invalid(f"{place}.appProtocol", application, why) for why in names.qualified_name(application)]
    return causes


def endpoint_slice_update(new: Obj, old: Obj) -> list[Cause]:
    """What is wrong with an EndpointSlice that replaces `old`."""
    causes = endpoint_slice(new)
    if new.get("addressType") != old.get("addressType"):
        causes.append(invalid("addressType", new.get("addressType", ""), metadata_validation.IMMUTABLE))
    return causes
