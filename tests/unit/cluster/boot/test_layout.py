import dataclasses
from pathlib import Path

import pytest

from oarlock.cluster.apiserver import storage
from oarlock.cluster.boot.drafts import LEASES
from oarlock.cluster.boot.layout import Layout, choose_ports, port_names
from oarlock.cluster.boot.pki import Authority
from oarlock.cluster.boot.spec import ClusterSpec
from oarlock.cluster.boot.state import StateFolder, new_record, with_ports


@pytest.fixture
def folder(tmp_path: Path) -> StateFolder:
    folder = StateFolder(tmp_path / "state")
    folder.create()
    return folder


def layout(folder: StateFolder, spec: ClusterSpec) -> Layout:
    record = new_record(spec.name, slot=5, servers=spec.servers, single=spec.single, port=6443)
    ports = {name: 20_000 + number for number, name in enumerate(port_names(spec))}
    return Layout(spec, with_ports(record, ports), folder, Authority(folder.pki), "token")


def test_the_default_layout(folder: StateFolder) -> None:
    parts = layout(folder, ClusterSpec()).parts()
    kinds = [part.kind for part in parts]
    assert kinds == ["store"] * 3 + ["apiserver"] * 2 + ["balancer", "agent"] + ["resp", "ray"] * 2
    assert len({part.name for part in parts}) == len(parts)


def test_the_api_starts_before_ray_and_works_without_it(folder: StateFolder) -> None:
    after = {part.name: part.after for part in layout(folder, ClusterSpec()).parts()}
    assert after["ray-1"] == after["ray-2"] == ("balancer",)
    assert not any("ray" in name for part, names in after.items() if not part.startswith("ray") for name in names)


def test_both_ray_nodes_are_alike_and_know_the_same_state(folder: StateFolder) -> None:
    parts = layout(folder, ClusterSpec()).parts()
    nodes = [part.settings for part in parts if part.kind == "ray"]
    fronts = {part.settings["port"]: part.settings for part in parts if part.kind == "resp"}
    assert len(fronts) == 2
    for one in ("generation", "state_password"):
        assert len({node["head"][one] for node in nodes}) == 1
    for node in nodes:
        assert fronts[node["head"]["state_port"]]["password"] == node["head"]["state_password"]
        assert [component["name"] for component in node["components"]] == ["scheduler", "controllers"]


def test_fronts_look_for_leases_where_the_api_servers_keep_them(folder: StateFolder) -> None:
    assert storage.LEASES.decode() == LEASES


def test_every_lease_has_the_time_to_live_that_was_asked_for(folder: StateFolder) -> None:
    parts = layout(folder, ClusterSpec(lease_ttl_s=7.5)).parts()
    nodes = [part.settings for part in parts if part.kind == "ray"]
    asked = [one["head"]["lease_ttl_ms"] for one in nodes]
    asked += [component["lease_ttl_ms"] for one in nodes for component in one["components"]]
    (single,) = layout(folder, ClusterSpec(single=True, lease_ttl_s=7.5)).parts()
    asked += [component["lease_ttl_ms"] for component in single.settings["components"]]
    assert (len(asked), set(asked)) == (8, {7500})


def test_a_start_drops_the_ray_cluster_of_the_one_before(folder: StateFolder) -> None:
    first = layout(folder, ClusterSpec())
    second = dataclasses.replace(first, ray_token="another")
    generations = [
        part.settings["head"]["generation"] for one in (first, second) for part in one.parts() if part.name == "ray-1"
    ]
    assert generations[0] != generations[1]
    assert "token" not in generations[0]


def test_no_address_is_used_twice(folder: StateFolder) -> None:
    spec = ClusterSpec(nodes=3, hollow=10)
    names = port_names(spec)
    assert len(set(names)) == len(names)
    agents = [part.settings for part in layout(folder, spec).parts() if part.kind == "agent"]
    assert len({agent["ip"] for agent in agents}) == 3
    assert len({agent["pod_ip_prefix"] for agent in agents}) == 3


def test_single_is_one_process(folder: StateFolder) -> None:
    (part,) = layout(folder, ClusterSpec(single=True, servers=1)).parts()
    assert part.role == "single"


def test_every_secret_file_is_private(folder: StateFolder) -> None:
    layout(folder, ClusterSpec(hollow=1)).parts()
    keys = list(folder.pki.glob("*.key"))
    assert len(keys) > 8
    assert all(key.stat().st_mode & 0o777 == 0o600 for key in keys)


def test_ports_are_kept_while_free() -> None:
    chosen = choose_ports(["a", "b", "c"], {"a": 1, "b": 2}, lambda port: port != 2, [7, 8, 9])
    assert chosen == {"a": 1, "b": 7, "c": 8}
