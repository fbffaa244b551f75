from __future__ import annotations

import json

import pytest

from oarlock.cluster.boot.errors import BootError
from oarlock.cluster.boot.hosts import PORTS, Cluster, HostRecord, host_here, parse_members, parse_ports

THREE = {"a": "10.9.0.1", "b": "10.9.0.2", "c": "10.9.0.3"}


def test_members_are_read_in_order() -> None:
    assert parse_members("c=10.9.0.3, a=10.9.0.1,b=10.9.0.2") == {
        "c": "10.9.0.3",
        "a": "10.9.0.1",
        "b": "10.9.0.2",
    }


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("a", "'a', which is no NAME=ADDRESS"),
        ("A=10.9.0.1", "no host name"),
        ("a=10.9.0", "no IP address"),
        ("a=0.0.0.0", "where no host can be reached"),
        ("a=10.9.0.1,a=10.9.0.2,b=10.9.0.3", "names a twice"),
        ("a=10.9.0.1,b=10.9.0.1,c=10.9.0.3", "to two hosts"),
        ("a=10.9.0.1,b=10.9.0.2", "no useful majority"),
        ("a=10.9.0.1,b=10.9.0.2,c=fd00::1", "reached by IPv4 only"),
    ],
)
def test_members_that_make_no_cluster_are_refused(text: str, complaint: str) -> None:
    with pytest.raises(BootError, match=complaint):
        parse_members(text)


def test_ports_are_the_usual_ones_but_for_the_named() -> None:
    assert parse_ports("") == PORTS
    assert parse_ports("api=7443,join=7345") == {**PORTS, "api": 7443, "join": 7345}


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("web=1", "names 'web'"),
        ("api=0", "the port '0'"),
        ("api=x", "the port 'x'"),
        ("api=²", "the port '²'"),
        ("api=6444", "gives 6444 to api and apiserver"),
    ],
)
def test_ports_that_can_not_be_are_refused(text: str, complaint: str) -> None:
    with pytest.raises(BootError, match=complaint):
        parse_ports(text)


def test_a_host_knows_itself_by_its_address() -> None:
    assert host_here(THREE, "", {"a": False, "b": True, "c": False}) == "b"
    assert host_here(THREE, "c", {"a": True, "b": True, "c": True}) == "c"


@pytest.mark.parametrize(
    ("asked", "local", "complaint"),
    [
        ("", (), "none of the addresses is this machine's"),
        ("", ("a", "b"), "several of the addresses are this machine's"),
        ("d", ("a",), "d is none of this cluster's servers a, b, c, which were settled at its founding"),
        ("b", ("a",), "10.9.0.2, the address of b, is none of this machine's"),
    ],
)
def test_a_host_that_is_none_of_the_members_is_refused(asked: str, local: tuple[str, ...], complaint: str) -> None:
    with pytest.raises(BootError, match=complaint):
        host_here(THREE, asked, {name: name in local for name in THREE})


def test_a_record_is_read_as_it_was_written() -> None:
    cluster = Cluster("x", "id", THREE, "0.1.0", controllers=("batch=job",))
    record = HostRecord(cluster, "b", "10.9.0.2", "server", scheduler_plugins=("/a.py", "/b.py"))
    assert HostRecord.of(json.loads(json.dumps(record.document()))) == record
