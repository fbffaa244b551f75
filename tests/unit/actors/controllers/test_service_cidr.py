"""A ServiceCIDR is called ready, and goes once no address needs it."""

from __future__ import annotations

from typing import Any

import pytest

from oarlock.actors.controllers.service_cidr import FINALIZER, GRACE_S, SERVICE_CIDR, is_needed, reconcile

Object = dict[str, Any]


def cidr(name: str, *cidrs: str, deleted: str = "", finalizers: tuple[str, ...] = (FINALIZER,)) -> Object:
    metadata: Object = {"name": name, "finalizers": list(finalizers)}
    if deleted:
        metadata["deletionTimestamp"] = deleted
    kind = {"apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR"}
    return {**kind, "metadata": metadata, "spec": {"cidrs": list(cidrs)}}


def address(name: str, manager: str = "ipallocator.k8s.io") -> Object:
    labels = {"ipaddress.kubernetes.io/managed-by": manager}
    kind = {"apiVersion": "networking.k8s.io/v1", "kind": "IPAddress"}
    parent = {"resource": "services", "namespace": "default", "name": "web"}
    return {**kind, "metadata": {"name": name, "labels": labels}, "spec": {"parentRef": parent}}


def settle(world: Any, key: str) -> Object | None:
    for _ in range(5):
        if not world.act(reconcile(key, world.view)):
            break
    found: Object | None = world.view.get("servicecidrs", key)
    return found


def ready(found: Object | None) -> tuple[str, str, str]:
    assert found is not None
    (condition,) = found["status"]["conditions"]
    return condition["status"], condition["reason"], condition["message"]


def test_a_new_one_gets_its_finalizer_and_is_ready(world: Any) -> None:
    world.put(cidr("a", "10.1.0.0/24", finalizers=("example.com/mine",)))
    found = settle(world, "a")
    assert ready(found) == ("True", "", "Kubernetes Service CIDR is ready")
    assert found is not None
    assert found["metadata"]["finalizers"] == ["example.com/mine", FINALIZER]


def test_a_deleted_one_stays_while_an_address_needs_it(world: Any) -> None:
    world.put(cidr("a", "10.1.0.0/24", deleted=world.stamp))
    held = world.put(address("10.1.0.9"))
    world.pass_time(GRACE_S + 1)
    found = settle(world, "a")
    assert ready(found)[:2] == ("False", "Terminating")
    assert found is not None
    assert found["metadata"]["finalizers"] == [FINALIZER]
    assert [due.key for due in SERVICE_CIDR.keys("ipaddresses", held, None, world.view)] == ["a"]
    world.remove(held)
    settle(world, "a")
    assert not (world.view.get("servicecidrs", "a") or {"metadata": {}})["metadata"].get("finalizers")


def test_a_deleted_one_waits_for_what_may_not_be_seen_yet(world: Any) -> None:
    world.put(cidr("a", "10.1.0.0/24", deleted=world.stamp))
    world.pass_time(4)
    world.act(reconcile("a", world.view))
    assert world.requeues == [GRACE_S - 4]


@pytest.mark.parametrize(
    ("others", "addresses", "needed"),
    [
        ((), ("10.1.0.9",), True),
        ((), ("10.1.0.0", "10.1.0.255", "10.2.0.1", "fd00::1"), False),
        ((cidr("b", "10.1.0.0/16"),), ("10.1.0.9",), False),
        ((cidr("b", "10.1.0.0/24"),), ("10.1.0.9",), False),
        ((cidr("b", "10.1.0.0/24", deleted="2026-01-01T00:00:00Z"),), ("10.1.0.9",), True),
        ((cidr("b", "10.1.0.0/28"),), ("10.1.0.9",), False),
        ((cidr("b", "10.1.0.0/28"),), ("10.1.0.9", "10.1.0.99"), True),
        ((cidr("b", "10.1.0.0/28"),), ("10.1.0.15",), True),
    ],
)
def test_who_needs_a_service_cidr(
    world: Any, others: tuple[Object, ...], addresses: tuple[str, ...], needed: bool
) -> None:
    gone = world.put(cidr("a", "10.1.0.0/24", deleted=world.stamp))
    for one in (*others, *(address(name) for name in addresses), address("10.1.0.77", "somebody.else")):
        world.put(one)
    assert is_needed(gone, world.view) is needed
