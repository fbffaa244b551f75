"""Validate NetworkPolicies, Ingresses and IngressClasses.

Source: upstream's `pkg/apis/networking/validation/validation.go`.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any, Final

from oarlock.cluster.objects import names
from oarlock.cluster.objects.causes import forbidden, invalid, not_supported, required
from oarlock.cluster.objects.scheduling_validation import label_selector
from oarlock.cluster.objects.status import Cause

Obj = Mapping[str, Any]
_POLICY_TYPES: Final = ("Ingress", "Egress")
_PROTOCOLS: Final = ("TCP", "UDP", "SCTP")
_CLASS_ANNOTATION: Final = "kubernetes.io/ingress.class"
_SCOPES: Final = ("Cluster", "Namespace")
_PATH_TYPES: Final = ("Exact", "ImplementationSpecific", "Prefix")
_BAD_PATH_PARTS: Final = ("//", "/./", "/../", "%2f", "%2F")
_BAD_PATH_ENDS: Final = ("/..", "/.")


def network_policy(obj: Obj) -> list[Cause]:
    """What is wrong with a new NetworkPolicy beyond its metadata."""
    return _policy(obj, check_values=True)


def network_policy_update(new: Obj, old: Obj) -> list[Cause]:
    """What is wrong with a NetworkPolicy that replaces `old`; odd label values may stay with those that have some."""
    return _policy(new, check_values=_policy(old, check_values=True) == _policy(old, check_values=False))


def _policy(obj: Obj, *, check_values: bool) -> list[Cause]:
    spec = obj["spec"]
    causes = label_selector(spec.get("podSelector", {}), "spec.podSelector", check_values=check_values)
    for group, peers in (("ingress", "from"), ("egress", "to")):
        for index, rule in enumerate(spec.get(group, ())):
            place = f"spec.{group}[{index}]"
            for at, port in enumerate(rule.get("ports", ())):
                causes += _policy_port(port, f"{place}.ports[{at}]")
            for at, peer in enumerate(rule.get(peers, ())):
                causes += _peer(peer, f"{place}.{peers}[{at}]", check_values=check_values)
    types = spec.get("policyTypes", ())
    if len(types) > len(_POLICY_TYPES):
        return [*causes, invalid("spec.policyTypes", types, "may not specify more than two policyTypes")]
    for index, kind in enumerate(types):
        if kind not in _POLICY_TYPES:
            causes.append(not_supported(f"spec.policyTypes[{index}]", kind, _POLICY_TYPES))
    return causes


def _policy_port(item: Obj, path: str) -> list[Cause]:
    causes: list[Cause] = []
    protocol = item.get("protocol")
    if protocol is not None and protocol not in _PROTOCOLS:
        causes.append(not_supported(f"{path}.protocol", protocol, _PROTOCOLS))
    port, end = item.get("port"), item.get("endPort")
    if isinstance(port, str):
        if end is not None:
            causes.append(invalid(f"{path}.endPort", end, "may not be specified when `port` is non-numeric"))
        causes += [invalid(f"{path}.port", port, why) for why in names.port_name(port)]
    elif port is not None:
        causes += [invalid(f"{path}.port", port, why) for why in names.port_number(port)]
        if end is not None:
            if end < port:
                # Upstream shows the port here.
                causes.append(invalid(f"{path}.endPort", port, "must be greater than or equal to `port`"))
            causes += [invalid(f"{path}.endPort", end, why) for why in names.port_number(end)]
    elif end is not None:
        causes.append(invalid(f"{path}.endPort", end, "may not be specified when `port` is not specified"))
    return causes


def _peer(item: Obj, path: str, *, check_values: bool) -> list[Cause]:
    causes: list[Cause] = []
    count = 0
    for name in ("podSelector", "namespaceSelector"):
        if name in item:
            count += 1
            causes += label_selector(item[name], f"{path}.{name}", check_values=check_values)
    if "ipBlock" in item:
        causes += _block(item["ipBlock"], f"{path}.ipBlock")
        if count:
            causes.append(forbidden(path, "may not specify both ipBlock and another peer"))
    elif not count:
        causes.append(required(path, "must specify a peer"))
    return causes


def _block(item: Obj, path: str) -> list[Cause]:
    text = item.get("cidr", "")
    if not text:
        return [required(f"{path}.cidr")]
    wrong = names.cidr(text)
    causes = [invalid(f"{path}.cidr", text, why) for why in wrong]
    if wrong:
        return causes
    whole = ipaddress.ip_network(text, strict=False)
    for index, part in enumerate(item.get("except", ())):
        place = f"{path}.except[{index}]"
        bad = names.cidr(part)
        causes += [invalid(place, part, why) for why in bad]
        if not bad and not _inside(part, whole):
            causes.append(invalid(place, part, f"must be a strict subset of {text}"))
    return causes


def _inside(text: str, whole: ipaddress.IPv4Network | ipaddress.IPv6Network) -> bool:
    part = ipaddress.ip_network(text, strict=False)
    if part.version != whole.version or part.prefixlen <= whole.prefixlen:
        return False
    return part.network_address in whole


def ingress(obj: Obj) -> list[Cause]:
    """What is wrong with a new Ingress beyond its metadata: the older way to name a class doesn't contradict."""
    older = (obj["metadata"].get("annotations") or {}).get(_CLASS_ANNOTATION)
    if older is None or obj["spec"].get("ingressClassName", older) == older:
        return _ingress(obj)
    why = "must match `ingressClassName` when both are specified"
    return [*_ingress(obj), invalid(f"metadata.annotations[{_CLASS_ANNOTATION}]", older, why)]


def ingress_update(new: Obj, _: Obj) -> list[Cause]:
    """What is wrong with an Ingress that replaces another."""
    return _ingress(new)


def _ingress(obj: Obj) -> list[Cause]:
    spec = obj["spec"]
    causes: list[Cause] = []
    if not spec.get("rules") and "defaultBackend" not in spec:
        causes.append(invalid("spec", spec.get("rules"), "either `defaultBackend` or `rules` must be specified"))
    if "defaultBackend" in spec:
        causes += _backend(spec["defaultBackend"], "spec.defaultBackend")
    for index, rule in enumerate(spec.get("rules", ())):
        causes += _ingress_rule(rule, f"spec.rules[{index}]")
    for index, item in enumerate(spec.get("tls", ())):
        for at, host in enumerate(item.get("hosts", ())):
            causes += _host(host, f"spec.tls[{index}].hosts[{at}]")
        name = item.get("secretName", "")
        if name:
            causes += [invalid(f"spec.tls[{index}].secretName", name, why) for why in names.dns_subdomain(name)]
    name = spec.get("ingressClassName")
    if name is not None:
        causes += [invalid("spec.ingressClassName", name, why) for why in names.dns_subdomain(name)]
    return causes


def ingress_status(new: Obj, _: Obj) -> list[Cause]:
    """What is wrong with an Ingress' new status: where its load balancer is."""
    causes: list[Cause] = []
    balancer = (new.get("status") or {}).get("loadBalancer") or {}
    for index, item in enumerate(balancer.get("ingress") or ()):
        path, address, host = f"status.loadBalancer.ingress[{index}]", item.get("ip", ""), item.get("hostname", "")
        if address:
            causes += [invalid(f"{path}.ip", address, why) for why in names.ip_address(address)]
        if host:
            causes += [invalid(f"{path}.hostname", host, why) for why in names.dns_subdomain(host)]
            if _is_address(host):
                causes.append(invalid(f"{path}.hostname", host, "must be a DNS name, not an IP address"))
    return causes


def _host(host: str, path: str) -> list[Cause]:
    if "*" not in host:
        return [invalid(path, host, why) for why in names.dns_subdomain(host)]
    return [invalid(path, host, why) for why in names.wildcard_subdomain(host)]


def _ingress_rule(rule: Obj, path: str) -> list[Cause]:
    causes: list[Cause] = []
    host = rule.get("host", "")
    if host:
        if _is_address(host):
            causes.append(invalid(f"{path}.host", host, "must be a DNS name, not an IP address"))
        else:
            causes += _host(host, f"{path}.host")
    if "http" in rule:
        paths = rule["http"].get("paths")
        if not paths:
            causes.append(required(f"{path}.http.paths"))
        for index, item in enumerate(paths or ()):
            causes += _http_path(item, f"{path}.http.paths[{index}]")
    return causes


def _is_address(text: str) -> bool:
    return not names.ip_address(text)


def _http_path(item: Obj, path: str) -> list[Cause]:
    causes: list[Cause] = []
    kind, text = item.get("pathType"), item.get("path", "")
    if kind is None:
        return [required(f"{path}.pathType", "pathType must be specified")]
    if kind in {"Exact", "Prefix"}:
        causes += _strict_path(text, f"{path}.path")
    elif kind == "ImplementationSpecific":
        if text and not text.startswith("/"):
            causes.append(invalid(f"{path}.path", text, "must be an absolute path"))
    else:
        causes.append(not_supported(f"{path}.pathType", kind, _PATH_TYPES))
    return causes + _backend(item.get("backend", {}), f"{path}.backend")


def _strict_path(text: str, path: str) -> list[Cause]:
    causes: list[Cause] = []
    if not text.startswith("/"):
        causes.append(invalid(path, text, "must be an absolute path"))
    if text:
        causes += [invalid(path, text, f"must not contain '{part}'") for part in _BAD_PATH_PARTS if part in text]
        causes += [invalid(path, text, f"cannot end with '{end}'") for end in _BAD_PATH_ENDS if text.endswith(end)]
    return causes


def _backend(item: Obj, path: str) -> list[Cause]:
    resource, service = item.get("resource"), item.get("service")
    if resource is not None and service is not None:
        return [invalid(path, "", "cannot set both resource and service backends")]
    if resource is not None:
        return _local_reference(resource, f"{path}.resource")
    if service is None:
        return [invalid(path, "", "resource or service backend is required")]
    causes: list[Cause] = []
    name, port = service.get("name", ""), service.get("port", {})
    if not name:
        causes.append(required(f"{path}.service.name"))
    else:
        causes += [invalid(f"{path}.service.name", name, why) for why in names.dns_label(name)]
    if port.get("name") and port.get("number"):
        causes.append(invalid(path, "", "cannot set both port name & port number"))
    elif port.get("name"):
        causes += [invalid(f"{path}.service.port.name", port["name"], why) for why in names.port_name(port["name"])]
    elif port.get("number"):
        place = f"{path}.service.port.number"
        causes += [invalid(place, port["number"], why) for why in names.port_number(port["number"])]
    else:
        causes.append(required(path, "port name or number is required"))
    return causes


def _local_reference(item: Obj, path: str) -> list[Cause]:
    """An object of any kind, in a namespace that is known."""
    group = item.get("apiGroup")
    causes = [] if group is None else [invalid(f"{path}.apiGroup", group, why) for why in names.dns_subdomain(group)]
    for name in ("kind", "name"):
        value = item.get(name, "")
        if not value:
            causes.append(required(f"{path}.{name}"))
        causes += [invalid(f"{path}.{name}", value, why) for why in names.path_segment(value)]
    return causes


def ingress_class(obj: Obj) -> list[Cause]:
    """What is wrong with an IngressClass beyond its metadata."""
    spec = obj["spec"]
    name = spec.get("controller", "")
    causes: list[Cause] = []
    if len(name) > 250:
        causes.append(Cause("FieldValueTooLong", "Too long: may not be more than 250 bytes", "spec.controller"))
    if not name:
        return [required("spec.controller")]
    causes += [invalid("spec.controller", name, why) for why in names.domain_prefixed(name)]
    return causes + (_parameters(spec["parameters"], "spec.parameters") if "parameters" in spec else [])


def _parameters(item: Obj, path: str) -> list[Cause]:
    """A class' parameters: an object of the cluster's or of one namespace."""
    causes = _local_reference(item, path)
    scope, namespace = item.get("scope"), item.get("namespace")
    if scope is None:
        return [*causes, required(f"{path}.scope")]
    if scope not in _SCOPES:
        return [*causes, not_supported(f"{path}.scope", scope, _SCOPES)]
    if scope == "Cluster":
        why = "`parameters.scope` is set to 'Cluster'"
        return causes if namespace is None else [*causes, forbidden(f"{path}.namespace", why)]
    if namespace is None:
        return [*causes, required(f"{path}.namespace", "`parameters.scope` is set to 'Namespace'")]
    return causes + [invalid(f"{path}.namespace", namespace, why) for why in names.dns_label(namespace)]


def ingress_class_update(new: Obj, old: Obj) -> list[Cause]:
    """An IngressClass keeps its controller."""
    causes = ingress_class(new)
    if new["spec"].get("controller") != old["spec"].get("controller"):
        causes.append(invalid("spec.controller", new["spec"].get("controller", ""), "field is immutable"))
    return causes
