"""What `oarlock server` and `oarlock node` refuse before anything is started, and that the folder is as it was then."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import socket
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from oarlock.cluster.boot import hoststate, processes
from oarlock.cluster.boot.down import down
from oarlock.cluster.boot.errors import BootError
from oarlock.cluster.boot.hosts import PORTS, Cluster, HostRecord
from oarlock.cluster.boot.jointokens import Secrets, Token
from oarlock.cluster.boot.network import free_ports
from oarlock.cluster.boot.pki import Authority
from oarlock.cluster.boot.serving import Wanted, is_local, start_host
from oarlock.cluster.boot.state import StateFolder, new_record, write_private

THREE = "a=127.0.9.1,b=127.0.9.2,c=127.0.9.3"
ELSEWHERE = "192.0.2.7"
"""Reserved for documentation: no machine has it."""


@pytest.fixture
def folder(tmp_path: Path) -> StateFolder:
    return StateFolder(tmp_path / "state")


@pytest.fixture
def wanted(tmp_path: Path) -> Wanted:
    return Wanted("oarlock", "server", tmp_path / "kubeconfig")


def refusal(wanted: Wanted, folder: StateFolder) -> BootError:
    with pytest.raises(BootError) as refused:
        start_host(wanted, folder, io.StringIO())
    assert not (folder.path / "processes.json").exists()
    return refused.value


def known_host(folder: StateFolder, address: str = "127.0.9.2") -> HostRecord:
    folder.create()
    Authority(folder.pki)
    ports = dict(zip(PORTS, free_ports(len(PORTS), "127.0.9.2"), strict=True))
    members = {"a": "127.0.9.1", "b": address, "c": "127.0.9.3"}
    record = HostRecord(Cluster("oarlock", "0123", members, "0.1.0", ports), "b", address, "server")
    hoststate.save_host(folder, record)
    return record


def test_a_host_that_is_none_yet_has_to_be_told(wanted: Wanted, folder: StateFolder) -> None:
    assert "is no host's yet" in refusal(wanted, folder).cause
    assert "--hosts" in refusal(wanted, folder).way_out
    assert "oarlock token" in refusal(replace(wanted, role="node"), folder).way_out


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        (
            {"hosts": THREE, "join": ("https://127.0.9.1:9345",), "token": "x"},
            "--hosts founds a cluster and --join joins",
        ),
        ({"join": ("https://127.0.9.1:9345",)}, "--join and --token belong together"),
        ({"token": "x"}, "--join and --token belong together"),
        ({"join": ("http://127.0.9.1",), "token": f"oarlock1.{'a' * 64}.{'b' * 32}"}, "is no join server"),
        ({"join": ("https://127.0.9.1",), "token": "x"}, "--token is no join token"),
        ({"hosts": THREE, "host": "B"}, "no host name"),
        ({"hosts": THREE}, "several of the addresses are this machine's"),
        ({"hosts": f"a={ELSEWHERE}"}, "none of the addresses is this machine's"),
        ({"hosts": "a=127.0.9.1", "ports": "api=6444"}, "gives 6444 to api and apiserver"),
        ({"hosts": "a=127.0.9.1", "node_timings": "slow"}, "--node-timings 'slow' is unknown"),
    ],
)
def test_flags_that_make_no_host_are_refused(
    wanted: Wanted, folder: StateFolder, changes: dict[str, object], cause: str
) -> None:
    assert cause in refusal(replace(wanted, **changes), folder).cause  # type: ignore[arg-type]
    assert not folder.host_file.exists()
    assert not list(folder.pki.glob("*"))


def test_no_server_that_answers_is_said(wanted: Wanted, folder: StateFolder) -> None:
    token = f"oarlock1.{'a' * 64}.{'b' * 32}"
    (port,) = free_ports(1)
    refused = refusal(replace(wanted, join=(f"https://127.0.0.1:{port}",), token=token), folder)
    assert f"https://127.0.0.1:{port}: Connection refused" in refused.cause


def test_a_known_host_is_not_made_another(wanted: Wanted, folder: StateFolder) -> None:
    before = known_host(folder)
    assert "was founded with --hosts a=127.0.9.1" in refusal(replace(wanted, hosts="x=127.0.9.2"), folder).cause
    assert "this host is b of" in refusal(replace(wanted, host="c"), folder).cause
    assert "this host is a server" in refusal(replace(wanted, role="node"), folder).cause
    token = str(Token("0" * 64, Secrets.new().server))
    other = replace(wanted, join=("https://127.0.9.1",), token=token)
    assert "(0123), the token of another" in refusal(other, folder).cause
    assert hoststate.load_host(folder) == before


def test_a_folder_copied_to_another_host_is_refused_there(wanted: Wanted, folder: StateFolder) -> None:
    known_host(folder, ELSEWHERE)
    refused = refusal(wanted, folder)
    assert f"this folder is of host b at {ELSEWHERE}, which is none of this machine's addresses" in refused.cause
    assert "If it was copied from there, remove it" in refused.way_out


def test_a_copy_beside_its_original_is_refused_and_the_original_lives_on(wanted: Wanted, folder: StateFolder) -> None:
    known_host(folder)
    running = subprocess.Popen(["sleep", "60"], env={**os.environ, processes.MARK: str(folder.path)})
    try:
        write_private(
            folder.processes_file, json.dumps({"store-b": [running.pid, processes.start_ticks(running.pid)]}).encode()
        )
        copy = StateFolder(folder.path.with_name("copy"))
        shutil.copytree(folder.path, copy.path)
        for act in (lambda: start_host(wanted, copy, io.StringIO()), lambda: down(copy, io.StringIO())):
            with pytest.raises(BootError, match=f"copy is a copy of {folder.path}, which runs on this machine"):
                act()
        assert running.poll() is None
        assert down(folder, io.StringIO())
        assert running.wait(10) == -signal.SIGTERM
    finally:
        running.kill()
        running.wait()


def test_a_port_in_use_is_named(wanted: Wanted, folder: StateFolder) -> None:
    record = known_host(folder)
    port = record.cluster.ports["store-peer"]
    with socket.create_server(("127.0.9.2", port)):
        assert f"port {port} (store-peer) of 127.0.9.2 is in use on this host" in refusal(wanted, folder).cause


def test_a_cluster_on_one_machine_is_left_alone(wanted: Wanted, folder: StateFolder) -> None:
    folder.create()
    folder.save(new_record("oarlock", slot=1, servers=3, single=False, port=6443))
    assert "holds a cluster of `oarlock up`" in refusal(replace(wanted, hosts=THREE, fresh=True), folder).cause
    assert folder.record_file.exists()


def test_local_addresses_are_told_from_others() -> None:
    assert is_local("127.0.9.2")
    assert not is_local(ELSEWHERE)


@pytest.mark.parametrize(
    ("flag", "cause"),
    [
        ({"token_file": Path("/gone")}, "--token-file /gone is not a file"),
        ({"scheduler_plugins": (Path("/gone.py"),)}, "--scheduler-plugin /gone.py is not a file"),
        ({"scheduler_config": Path("/gone.yaml")}, "/gone.yaml"),
        ({"lease_ttl_s": 0.1}, "--lease-ttl 0.1 is out of range"),
    ],
)
def test_files_and_leases_that_make_no_sense_are_refused(
    flag: dict[str, Any], cause: str, wanted: Wanted, folder: StateFolder
) -> None:
    assert cause in refusal(replace(wanted, hosts=THREE, host="b", **flag), folder).cause


def test_a_file_that_has_gone_since_is_refused(wanted: Wanted, folder: StateFolder) -> None:
    record = known_host(folder)
    hoststate.save_host(folder, replace(record, token_file="/gone"))
    assert "--token-file /gone is not a file" in refusal(wanted, folder).cause
