from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from oarlock.cluster.boot import certs, hoststate, pki
from oarlock.cluster.boot.errors import BootError
from oarlock.cluster.boot.hostlayout import HostLayout
from oarlock.cluster.boot.hosts import Cluster, HostRecord
from oarlock.cluster.boot.pki import Authority
from oarlock.cluster.boot.state import StateFolder, new_record

CLUSTER = Cluster("oarlock", "0123", {"a": "10.9.0.1", "b": "10.9.0.2", "c": "10.9.0.3"}, "0.1.0")
NOW = datetime.now(UTC)


@pytest.fixture
def folder(tmp_path: Path) -> StateFolder:
    """A server's folder after a start."""
    folder = StateFolder(tmp_path / "state")
    folder.create()
    record = HostRecord(CLUSTER, "b", "10.9.0.2", "server")
    hoststate.save_host(folder, record)
    layout = HostLayout(record, folder, Authority(folder.pki), hoststate.ray_token(folder))
    layout.parts()
    layout.admin()
    return folder


def shown(folder: StateFolder, status: int) -> dict[str, str]:
    out = io.StringIO()
    assert certs.check(folder, out) == status, out.getvalue()
    return {line.split()[0]: line for line in out.getvalue().splitlines()}


def test_a_fresh_host_has_nothing_wrong(folder: StateFolder) -> None:
    lines = shown(folder, 0)
    assert next(iter(lines)) == "ca"
    assert {"ca", "apiserver", "join", "node", "store-b", "ray-node", "admin"} <= lines.keys()
    assert all(line.endswith("good") for line in lines.values())


def test_ends_are_told(folder: StateFolder) -> None:
    authority = Authority(folder.pki)
    files = authority.issue("store-b", "system:oarlock:store:store-b")
    for moment, complaint in (
        (NOW + timedelta(days=330), "it ends in 3"),
        (NOW + timedelta(days=400), "it has ended"),
        (NOW - timedelta(days=1), "it begins only at"),
    ):
        _, problems = certs.judge(folder.pki, files.cert.stem, set(), moment)
        assert complaint in problems[0]


def test_another_cas_certificate_is_told(folder: StateFolder, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    files = Authority(tmp_path / "other").issue("join", "x", [], CLUSTER.certificate_names)
    (folder.pki / "join.crt").write_bytes(files.cert.read_bytes())
    (folder.pki / "join.key").write_bytes(files.key.read_bytes())
    assert "it is of another CA" in shown(folder, 1)["join"]


def test_a_key_of_another_certificate_is_told(folder: StateFolder) -> None:
    (folder.pki / "join.key").write_bytes((folder.pki / "admin.key").read_bytes())
    assert "join.key is not its key" in shown(folder, 1)["join"]


def test_a_key_that_others_can_read_is_told(folder: StateFolder) -> None:
    (folder.pki / "join.key").chmod(0o644)
    assert "can be read by others" in shown(folder, 1)["join"]


def test_a_missing_key_and_a_missing_certificate_are_told(folder: StateFolder) -> None:
    (folder.pki / "join.key").unlink()
    (folder.pki / "node.crt").unlink()
    lines = shown(folder, 1)
    assert "its key join.key is missing" in lines["join"]
    assert "it can't be read" in lines["node"]


def test_missing_names_are_told(folder: StateFolder) -> None:
    Authority(folder.pki).issue("join", "x", [], ["10.9.0.2", "localhost", "127.0.0.1"])
    assert "it lacks the names 10.9.0.1, 10.9.0.3, a, b, c" in shown(folder, 1)["join"]


def test_renew_makes_every_certificate_anew_and_keeps_the_ca(folder: StateFolder) -> None:
    before = {file.name: file.read_bytes() for file in folder.pki.glob("*.crt")}
    out = io.StringIO()
    assert certs.renew(folder, out) == 0
    assert "oarlock down" in out.getvalue()
    after = {file.name: file.read_bytes() for file in folder.pki.glob("*.crt")}
    assert before.keys() == after.keys()
    assert [name for name in before if before[name] == after[name]] == ["ca.crt"]
    shown(folder, 0)


def test_a_start_renews_what_ends_soon(folder: StateFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    before = (folder.pki / "join.crt").read_bytes()
    monkeypatch.setattr(pki, "RENEW_BEFORE_DAYS", pki.CERTIFICATE_DAYS + 1)
    record = hoststate.load_host(folder)
    assert record is not None
    HostLayout(record, folder, Authority(folder.pki), "secret").parts()
    assert (folder.pki / "join.crt").read_bytes() != before


def test_a_cluster_on_one_machine_is_checked_too(tmp_path: Path) -> None:
    folder = StateFolder(tmp_path / "state")
    folder.create()
    folder.save(new_record("x", slot=1, servers=3, single=False, port=6443))
    Authority(folder.pki).issue("admin", "oarlock-admin")
    assert shown(folder, 0).keys() == {"ca", "admin"}
    with pytest.raises(BootError, match="on one machine"):
        certs.renew(folder, io.StringIO())


def test_a_folder_without_certificates_is_refused(tmp_path: Path) -> None:
    for act in (certs.check, certs.renew):
        with pytest.raises(BootError, match="has no certificates"):
            act(StateFolder(tmp_path), io.StringIO())
