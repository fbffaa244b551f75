import ipaddress
import socket
from pathlib import Path

import pytest

from oarlock.cluster.boot.errors import BootError
from oarlock.cluster.boot.network import PORTS, SLOTS, Slot, free_ports, hold_slot, is_free


def test_no_two_slots_share_an_address() -> None:
    networks = [ipaddress.ip_network(Slot(n).service_cidr) for n in range(SLOTS)]
    networks += [ipaddress.ip_network(f"{Slot(n).pod_ip_prefix(0)}.0/16") for n in range(SLOTS)]
    assert len(set(networks)) == 2 * SLOTS
    assert all(network.is_loopback for network in networks)
    assert not any(ipaddress.ip_address("127.0.0.1") in network for network in networks)


def test_no_two_slots_share_a_port() -> None:
    ports = [port for n in range(SLOTS) for port in Slot(n).ports]
    assert len(set(ports)) == len(ports)
    assert set(ports) <= set(PORTS)
    assert {len(Slot(n).ports) for n in range(SLOTS)} == {166}


def test_a_held_slot_is_passed_over_and_comes_back() -> None:
    first, guard = hold_slot("seed")
    with guard:
        other, others = hold_slot("seed")
        others.close()
        assert other != first
    again, guard = hold_slot("seed")
    guard.close()
    assert again == first


def test_when_all_slots_are_taken_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def held(_: Slot) -> socket.socket:
        raise OSError

    monkeypatch.setattr(Slot, "hold", held)
    with pytest.raises(BootError, match="60 network slots"):
        hold_slot("seed")


def test_free_ports_are_different_and_free() -> None:
    ports = free_ports(8)
    assert len(set(ports)) == 8
    assert all(is_free(port) for port in ports)


def test_a_port_in_use_is_not_free() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert not is_free(server.getsockname()[1])


def test_chosen_ports_are_none_that_an_outgoing_connection_may_take() -> None:
    low, high = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    if low <= PORTS[0] <= high:
        pytest.skip("the kernel of this machine gives these ports to outgoing connections")
    ports = free_ports(200)
    assert len(set(ports)) == 200
    assert not [port for port in ports if low <= port <= high]


def test_ports_are_of_those_asked_for_while_there_are_any() -> None:
    asked = Slot(59).ports
    assert set(free_ports(20, among=asked)) <= set(asked)


def test_more_ports_than_were_asked_for_are_found_all_the_same() -> None:
    ports = free_ports(6, among=range(20_000, 20_003))
    assert len(set(ports)) == 6
