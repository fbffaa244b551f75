from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from oarlock.cluster.boot.hostlayout import HostLayout
from oarlock.cluster.boot.hosts import Cluster, HostRecord
from oarlock.cluster.boot.nodecertificate import HeldCertificate
from oarlock.cluster.boot.pki import Authority
from oarlock.cluster.boot.state import StateFolder

THREE = {"a": "10.9.0.1", "b": "10.9.0.2", "c": "10.9.0.3"}
CLUSTER = Cluster("oarlock", "0123", THREE, "0.1.0")


@pytest.fixture
def folder(tmp_path: Path) -> StateFolder:
    folder = StateFolder(tmp_path / "state")
    folder.create()
    return folder


def server(folder: StateFolder, host: str, *, runs_pods: bool = True) -> HostLayout:
    record = HostRecord(CLUSTER, host, THREE[host], "server", runs_pods=runs_pods)
    return HostLayout(record, folder, Authority(folder.pki), "secret")


def settings(layout: HostLayout, kind: str) -> dict[str, Any]:
    (found,) = [dict(part.settings) for part in layout.parts() if part.kind == kind]
    return found


def test_a_server_has_one_of_each_part(folder: StateFolder) -> None:
    parts = server(folder, "b").parts()
    assert [part.kind for part in parts] == ["store", "join", "balancer", "apiserver", "resp", "ray", "agent"]
    assert all(part.name.endswith("-b") for part in parts)


def test_a_server_without_an_agent_is_no_node(folder: StateFolder) -> None:
    layout = server(folder, "b", runs_pods=False)
    assert "agent" not in {part.kind for part in layout.parts()}
    assert "kubelet" not in layout.record.ports


def test_a_node_has_a_balancer_and_an_agent_with_one_certificate(folder: StateFolder) -> None:
    record = HostRecord(CLUSTER, "w", "10.9.0.9", "node")
    parts = HostLayout(record, folder, HeldCertificate(folder.pki)).parts()
    assert [part.kind for part in parts] == ["balancer", "agent"]
    assert {part.settings["tls"]["cert_file"] for part in parts} == {str(folder.pki / "node.crt")}  # type: ignore[index]
    assert parts[0].settings["host"] == "127.0.0.1"
    assert set(record.ports) == {"api", "kubelet"}


def test_parts_that_others_reach_listen_on_the_hosts_own_address(folder: StateFolder) -> None:
    layout = server(folder, "b")
    for kind in ("store", "join", "apiserver", "resp"):
        assert settings(layout, kind)["host"] == "10.9.0.2"
    balancer = settings(layout, "balancer")
    assert [balancer["host"], *balancer["also"]] == ["10.9.0.2", "127.0.0.1"]
    assert all(part.settings.get("metrics", {"host": "10.9.0.2"})["host"] == "10.9.0.2" for part in layout.parts())  # type: ignore[attr-defined]


def test_every_server_knows_the_same_members(folder: StateFolder) -> None:
    found = [settings(server(folder, host), "store")["members"] for host in THREE]
    assert found == [{f"store-{name}": [address, 2380] for name, address in THREE.items()}] * 3


def test_what_rays_nodes_share_is_the_same_on_every_server_and_at_every_start(folder: StateFolder) -> None:
    nodes = [settings(server(folder, host), "ray") for host in (*THREE, "a")]
    for shared in (
        [node["token"] for node in nodes],
        [node["head"]["generation"] for node in nodes],
        [node["head"]["state_password"] for node in nodes],
    ):
        assert len(set(shared)) == 1
    assert [node["position"] for node in nodes] == ["a", "b", "c", "a"]
    assert nodes[0]["wire_tls"] is not None


def test_certificates_name_every_server(folder: StateFolder) -> None:
    server(folder, "b").parts()
    for name in ("apiserver", "ray-node", "join", "store-b"):
        cert = x509.load_pem_x509_certificate((folder.pki / f"{name}.crt").read_bytes())
        names = {str(one.value) for one in cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value}
        assert {*THREE, *THREE.values()} <= names


def test_a_host_called_like_one_of_our_files_keeps_it(folder: StateFolder) -> None:
    members = {"ca": "10.9.0.1", "admin": "10.9.0.2", "join": "10.9.0.3"}
    authority = Authority(folder.pki)
    before = (folder.pki / "ca.crt").read_bytes()
    for host, address in members.items():
        record = HostRecord(dataclasses.replace(CLUSTER, members=members), host, address, "server")
        HostLayout(record, folder, authority, "secret").parts()
    assert (folder.pki / "ca.crt").read_bytes() == before


def test_hosts_that_share_a_machines_loopback_do_not_share_an_address(folder: StateFolder) -> None:
    members = {"a": "127.0.10.1", "b": "127.0.10.2", "c": "127.0.10.3"}
    record = HostRecord(dataclasses.replace(CLUSTER, members=members), "b", "127.0.10.2", "server")
    layout = HostLayout(record, folder, Authority(folder.pki), "secret")
    balancer = settings(layout, "balancer")
    assert (balancer["host"], balancer["also"]) == ("127.0.10.2", [])
    assert layout.server == "https://127.0.10.2:6443"
    assert settings(layout, "agent")["network"] == "loopback"
    assert settings(layout, "apiserver")["loopback_network"]


def test_pods_of_several_machines_have_addresses_that_others_reach(folder: StateFolder) -> None:
    layout = server(folder, "b")
    assert settings(layout, "agent")["network"] == "routed"
    assert not settings(layout, "apiserver")["loopback_network"]
    (controllers,) = [one for one in settings(layout, "ray")["components"] if one["name"] == "controllers"]
    assert controllers["settings"]["cluster_cidr"] == "10.42.0.0/16"


def test_a_servers_own_files_and_the_clusters_leases_are_told(folder: StateFolder) -> None:
    cluster = dataclasses.replace(CLUSTER, lease_ttl_ms=5_000)
    own = {"token_file": "/t.csv", "scheduler_config": "/s.yaml", "scheduler_plugins": ("/p.py",)}
    record = HostRecord(cluster, "b", THREE["b"], "server", **own)  # type: ignore[arg-type]
    layout = HostLayout(record, folder, Authority(folder.pki), "secret")
    assert settings(layout, "apiserver")["token_file"] == "/t.csv"
    hosted = {one["name"]: one for one in settings(layout, "ray")["components"]}
    assert hosted["scheduler"]["settings"]["config"] == "/s.yaml"
    assert hosted["scheduler"]["settings"]["plugin_files"] == ["/p.py"]
    assert {one["lease_ttl_ms"] for one in hosted.values()} == {5_000}
