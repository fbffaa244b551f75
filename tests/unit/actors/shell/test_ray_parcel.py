from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from oarlock.actors.shell import ray_parcel
from oarlock.actors.shell.ray_parcel import pack, private_folder, unpack
from oarlock.cluster.boot.pki import Authority
from oarlock.cluster.client.settings import ClientSettings


@pytest.fixture
def pki(tmp_path: Path) -> Path:
    room = tmp_path / "pki"
    room.mkdir()
    (room / "ca.crt").write_text("authority")
    (room / "x.key").write_text("hush")
    return room


def test_settings_arrive_with_their_files(pki: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plugin = tmp_path / "plugin.py"
    plugin.write_text("pass")
    document = {
        "client": {"server": "https://10.9.0.1:6443", "ca_file": str(pki / "ca.crt"), "token": None},
        "settings": {"ca_key_file": str(pki / "x.key"), "plugin_files": [str(plugin)], "count": 3},
        "log_folder": "",
    }
    parcel = json.loads(json.dumps(pack(document, pki, {str(plugin)})))
    there = tmp_path / "there"
    there.mkdir()
    monkeypatch.setattr(ray_parcel.tempfile, "gettempdir", lambda: str(there))
    found = unpack(parcel)
    for _ in range(2):  # a file can be read again
        assert Path(found["client"]["ca_file"]).read_text() == "authority"
        assert Path(found["settings"]["ca_key_file"]).read_text() == "hush"
    (unpacked,) = found["settings"]["plugin_files"]
    assert Path(unpacked).read_text() == "pass"
    assert unpacked.endswith(".py")
    assert found["settings"]["count"] == 3
    assert found["client"]["server"] == "https://10.9.0.1:6443"
    assert [file for file in there.rglob("*") if file.is_file()] == [Path(unpacked)], "no secret is on disk"


def test_a_connection_can_be_made_with_what_arrived(tmp_path: Path) -> None:
    files = Authority(tmp_path).issue("x", "alice", [], ["localhost"])
    document = {"ca_file": str(files.ca), "cert_file": str(files.cert), "key_file": str(files.key)}
    found = unpack(pack(document, tmp_path))
    context = ClientSettings("https://localhost", **found).ssl_context()
    assert context is not None
    assert context.cert_store_stats()["x509_ca"] == 1


def test_other_files_of_the_host_stay_there(pki: Path, tmp_path: Path) -> None:
    (tmp_path / "private").write_text("not for you")
    document = {"a": str(tmp_path / "private"), "b": "/etc/passwd", "c": str(pki / "missing"), "d": str(pki)}
    parcel = pack(document, pki)
    assert parcel == {"document": document, "files": []}


def test_a_files_name_leads_out_of_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_parcel.tempfile, "gettempdir", lambda: str(tmp_path))
    document = {"a": "oarlock-parcel:0"}
    found = unpack({"document": document, "files": [{"name": "../../out", "content": "x", "secret": False}]})
    assert Path(found["a"]).name == "0-out"
    assert Path(found["a"]).parent.parent == tmp_path


def test_folders_of_ended_processes_are_removed_and_no_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_parcel.tempfile, "gettempdir", lambda: str(tmp_path))
    dead, mine, strange = (
        tmp_path / name for name in ("oarlock-guest-999999999-x", f"oarlock-guest-{os.getpid()}-y", "other")
    )
    for folder in (dead, mine, strange):
        folder.mkdir()
    made = private_folder()
    assert made.stat().st_mode & 0o777 == 0o700
    assert {path.name for path in tmp_path.iterdir()} == {mine.name, strange.name, made.name}
