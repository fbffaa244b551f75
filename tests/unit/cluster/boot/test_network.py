import ipaddress
import socket

import pytest

from oarlock.cluster.boot.errors import BootError
from oarlock.cluster.boot.network import SLOTS, Slot, choose_slot, free_ports, is_free


def test_no_two_slots_share_an_address() -> None:
    networks = [ipaddress.ip_network(Slot(n).service_cidr) for n in range(SLOTS)]
    networks += [ipaddress.ip_network(f"{Slot(n).pod_ip_prefix(0)}.0/16") for n in range(SLOTS)]
    assert len(set(networks)) == 2 * SLOTS
    assert all(network.is_loopback for network in networks)
    assert not any(ipaddress.ip_address("127.0.0.1") in network for network in networks)


def test_a_held_slot_is_passed_over_and_comes_back() -> None:
    first = choose_slot("seed")
    with first.hold():
        assert not first.is_free()
        assert choose_slot("seed") != first
    assert choose_slot("seed") == first


def test_when_all_slots_are_taken_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Slot, "is_free", lambda _: False)
    with pytest.raises(BootError, match="60 network slots"):
        choose_slot("seed")


def test_free_ports_are_different_and_free() -> None:
    ports = free_ports(8)
    assert len(set(ports)) == 8
    assert all(is_free(port) for port in ports)


def test_a_port_in_use_is_not_free() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert not is_free(server.getsockname()[1])
