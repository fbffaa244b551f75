"""Cluster addresses and node ports of Services. Source: upstream's pkg/registry/core/service/storage/alloc.go."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from oarlock.cluster.apiserver.allocation import IPS, PORTS, Full, Pool
from oarlock.cluster.apiserver.storage import NO_CLAIMS, Claims
from oarlock.cluster.objects import status
from oarlock.cluster.objects.gotext import quote
from oarlock.cluster.objects.status import ApiError, Cause

Obj = dict[str, Any]
_NODE_PORT_TYPES = ("NodePort", "LoadBalancer")


def held(service: Obj) -> Iterator[bytes]:
    """Yield the store keys of what a Service holds."""
    spec = service.get("spec", {})
    for address in spec.get("clusterIPs") or ():
        if address and address != "None":
            yield IPS + address.encode()
    for port in _ports(spec):
        yield PORTS + str(port).encode()


def allocate(pool: Pool, key: bytes, service: Obj) -> tuple[Obj, Claims]:
    """Return the Service with addresses and ports, and the claims on them. Raises ApiError 422, 500."""
    filled = _filled(pool, service)
    return filled, Claims(take=dict.fromkeys(held(filled), key))


def reallocate(pool: Pool, key: bytes, new: Obj, old: Obj) -> tuple[Obj, Claims]:
    """The same for an update: takes only what is new, gives back what is no longer used."""
    filled = _filled(pool, new)
    before, after = set(held(old)), set(held(filled))
    if before == after:
        return filled, NO_CLAIMS
    return filled, Claims(dict.fromkeys(sorted(after - before), key), tuple(sorted(before - after)))


def refuse_taken(service: Obj, asked: frozenset[bytes], keys: tuple[bytes, ...]) -> None:
    """Raise ApiError 422 if a taken key is one that the client `asked` for; our own choices are made again."""
    name = service["metadata"].get("name", "")
    for key in keys:
        if key not in asked:
            continue
        value = key.rpartition(b"/")[2].decode()
        if key.startswith(IPS):
            raise _bad_address(name, value, f"failed to allocate IP {value}: provided IP is already allocated")
        text = f"Invalid value: {value}: provided port is already allocated"
        cause = Cause("FieldValueInvalid", text, _port_field(service, int(value)))
        raise status.invalid("Service", "", name, [cause])


def _filled(pool: Pool, service: Obj) -> Obj:
    spec = dict(service["spec"])
    name = service["metadata"].get("name", "")
    kind = spec.get("type", "ClusterIP")
    if kind == "ExternalName":
        return {**service, "spec": spec}
    try:
        if spec.get("clusterIP") != "None":
            _fill_address(pool, spec, name)
        else:
            spec["clusterIPs"] = ["None"]
        if kind in _NODE_PORT_TYPES:
            _fill_ports(pool, spec, name)
    except Full as error:
        raise status.unreasoned(f"failed to allocate: {error}") from None
    return {**service, "spec": spec}


def _fill_address(pool: Pool, spec: Obj, name: str) -> None:
    address = spec.get("clusterIP")
    if not address:
        address = pool.free_address()
    elif not _contained(pool, address):
        why = f"failed to allocate IP {address}: the provided network does not match the current range"
        raise _bad_address(name, address, why)
    spec["clusterIP"] = address
    spec["clusterIPs"] = [address]


def _contained(pool: Pool, address: str) -> bool:
    try:
        return pool.contains(address)
    except ValueError:
        return False


def _fill_ports(pool: Pool, spec: Obj, name: str) -> None:
    if spec.get("type") == "LoadBalancer" and spec.get("allocateLoadBalancerNodePorts") is False:
        return
    chosen = set(_ports(spec))
    ports = []
    for index, port in enumerate(spec.get("ports") or ()):
        number = port.get("nodePort")
        if not number:
            number = pool.free_port(chosen)
            chosen.add(number)
        elif not pool.contains_port(number):
            why = "provided port is not in the valid range. The range of valid ports is {}-{}"
            text = f"Invalid value: {number}: {why.format(*pool.port_range)}"
            raise status.invalid(
                "Service", "", name, [Cause("FieldValueInvalid", text, f"spec.ports[{index}].nodePort")]
            )
        ports.append({**port, "nodePort": number})
    spec["ports"] = ports
    checked = spec.get("externalTrafficPolicy") == "Local" and spec["type"] == "LoadBalancer"
    if checked and not spec.get("healthCheckNodePort"):
        spec["healthCheckNodePort"] = pool.free_port(chosen)


def _ports(spec: Obj) -> list[int]:
    found = [port["nodePort"] for port in spec.get("ports") or () if port.get("nodePort")]
    if spec.get("healthCheckNodePort"):
        found.append(spec["healthCheckNodePort"])
    return found


def _port_field(service: Obj, number: int) -> str:
    for index, port in enumerate(service["spec"].get("ports") or ()):
        if port.get("nodePort") == number:
            return f"spec.ports[{index}].nodePort"
    return "spec.healthCheckNodePort"


def _bad_address(name: str, address: str, why: str) -> ApiError:
    return status.invalid(
        "Service",
        "",
        name,
        [Cause("FieldValueInvalid", f"Invalid value: [{quote(address)}]: {why}", "spec.clusterIPs")],
    )
