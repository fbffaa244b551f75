"""What the `ip` command says becomes routes, and what it refuses becomes a sentence."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from oarlock.cluster.kubelet.network import iproute
from oarlock.cluster.kubelet.network.iproute import IpRoute, NetworkFailure
from oarlock.cluster.kubelet.network.plan import Host, HostRoute, Route

OURS = """[{"dst":"10.42.2.0/24","gateway":"10.9.0.7","dev":"d0","prefsrc":"10.9.0.1","flags":[]},
{"type":"2","dst":"10.42.1.7","dev":"lo","table":"255","scope":"254","prefsrc":"10.9.0.1","flags":[]}]"""
MAIN = """[{"dst":"default","gateway":"10.9.0.254","dev":"d0","flags":[]},
{"dst":"10.9.0.0/24","dev":"d0","protocol":"2","scope":"253","prefsrc":"10.9.0.1","flags":[]},
{"dst":"172.16.0.0/12","dev":"wg0","protocol":"3","scope":"253","flags":[]},
{"type":"7","dst":"10.42.9.0/24","flags":[]},
{"dst":"10.42.2.0/24","gateway":"10.9.0.7","dev":"d0","protocol":"200","prefsrc":"10.9.0.1","flags":[]}]"""
ADDRESSES = """[{"ifname":"lo","addr_info":[{"family":"inet","local":"127.0.0.1"}]},{},
{"ifname":"d0","addr_info":[{"family":"inet","local":"10.9.0.1"}]}]"""


@pytest.fixture(autouse=True)
def _guard(monkeypatch: pytest.MonkeyPatch) -> None:
    """The guard of this process' own: other tests, or a real agent, may hold the host's."""
    monkeypatch.setattr(iproute, "_GUARD", f"\0oarlock-routes-{os.getpid()}")


def fake(folder: Path, body: str) -> IpRoute:
    """An `ip` that does as told; `$*` are its words, which also stand in the file `said`."""
    program = folder / "ip"
    program.write_text(f'#!/bin/sh\necho "$*" >> {folder}/said\n{body}\n')
    program.chmod(0o755)
    return IpRoute(str(program))


def test_routes_and_addresses_are_read(tmp_path: Path) -> None:
    ip = fake(
        tmp_path,
        f"""case "$*" in
        *-6*) echo 'RTNETLINK answers: Operation not supported' >&2; exit 2;;
        *"proto 200"*) echo '{OURS}';;
        *addr*) echo '{ADDRESSES}';;
        *) echo '{MAIN}';;
        esac""",
    )
    assert ip.ours() == [Route("10.42.2.0/24", "10.9.0.7", "10.9.0.1"), Route("10.42.1.7/32", "", "10.9.0.1")]
    routes = [HostRoute("0.0.0.0/0", direct=False), HostRoute("10.9.0.0/24", direct=True)]
    routes.append(HostRoute("172.16.0.0/12", direct=False))
    assert ip.host() == Host({"127.0.0.1": "lo", "10.9.0.1": "d0"}, routes)


def test_only_routes_with_our_mark_are_changed(tmp_path: Path) -> None:
    ip = fake(tmp_path, "")
    ip.add(Route("10.42.1.0/24", "", "10.9.0.1"))
    ip.add(Route("10.42.2.0/24", "10.9.0.7", "10.9.0.1"))
    ip.remove(Route("fd42::/64", "fd00::2", "fd00::1"))
    assert (tmp_path / "said").read_text().splitlines() == [
        "-4 route add local 10.42.1.0/24 dev lo table local proto 200 src 10.9.0.1",
        "-4 route add 10.42.2.0/24 via 10.9.0.7 table main proto 200 src 10.9.0.1",
        "-6 route del fd42::/64 via fd00::2 table main proto 200",
    ]


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("RTNETLINK answers: File exists", "a route of its own to 10.42.2.0/24"),
        ("Error: Nexthop has invalid gateway.", "10.9.0.7 is in no network that this host is connected to"),
        ("RTNETLINK answers: Operation not permitted", "Operation not permitted"),
    ],
)
def test_a_refusal_says_what_is_wrong(tmp_path: Path, said: str, words: str) -> None:
    ip = fake(tmp_path, f"echo '{said}' >&2; exit 2")
    with pytest.raises(NetworkFailure, match=words):
        ip.add(Route("10.42.2.0/24", "10.9.0.7", "10.9.0.1"))


def test_a_route_that_is_gone_is_removed(tmp_path: Path) -> None:
    ip = fake(tmp_path, "echo 'RTNETLINK answers: No such process' >&2; exit 2")
    ip.remove(Route("10.42.2.0/24", "10.9.0.7", ""))


def test_without_the_command_or_the_right_there_is_no_routed_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(NetworkFailure, match="iproute2"):
        IpRoute(str(tmp_path / "none")).check()
    ip = fake(tmp_path, "")
    monkeypatch.setattr(iproute, "_capabilities", lambda: 0)
    with pytest.raises(NetworkFailure, match="CAP_NET_ADMIN"):
        ip.check()
    monkeypatch.setattr(iproute, "_capabilities", lambda: 1 << 12)
    ip.check()


def test_ipv6_needs_a_setting_of_the_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ip, setting = fake(tmp_path, ""), tmp_path / "nonlocal_bind"
    monkeypatch.setattr(iproute, "_capabilities", lambda: 1 << 12)
    monkeypatch.setattr(iproute, "_NONLOCAL_BIND", setting)
    setting.write_text("0\n")
    with pytest.raises(NetworkFailure, match=r"net\.ipv6\.ip_nonlocal_bind to 1"):
        ip.open("fd00::1")
    setting.write_text("1\n")
    ip.open("fd00::1")
    ip.close()


def test_one_agent_of_a_host_has_the_routes() -> None:
    with iproute.claim():
        with pytest.raises(NetworkFailure, match="another agent"):
            iproute.claim()
        with pytest.raises(NetworkFailure, match="another agent"):
            iproute.remove_routes()
    iproute.claim().close()
