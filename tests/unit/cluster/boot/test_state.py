import json
import os
from pathlib import Path

import pytest

from oarlock.cluster.boot import state
from oarlock.cluster.boot.errors import BootError
from oarlock.cluster.boot.state import StateFolder, new_record


@pytest.fixture
def folder(tmp_path: Path) -> StateFolder:
    folder = StateFolder(tmp_path / "state")
    folder.create()
    return folder


def record(**changes: object) -> dict[str, object]:
    base = {
        "name": "x",
        "cluster_id": "c",
        "slot": 1,
        "servers": 3,
        "single": False,
        "port": 1,
        "ports": {},
        "format": 1,
    }
    return base | changes


def test_a_record_survives_the_way_to_disk(folder: StateFolder) -> None:
    written = new_record("blue", slot=7, servers=3, single=False, port=6443)
    folder.save(written)
    assert folder.load() == written


def test_no_record_is_no_error(folder: StateFolder) -> None:
    assert folder.load() is None


def test_files_and_folders_are_private(folder: StateFolder) -> None:
    folder.save(new_record("blue", slot=7, servers=3, single=False, port=6443))
    assert folder.record_file.stat().st_mode & 0o777 == 0o600
    assert folder.path.stat().st_mode & 0o777 == 0o700
    assert folder.runtime.stat().st_mode & 0o777 == 0o700


def test_another_format_is_refused_by_number(folder: StateFolder) -> None:
    folder.record_file.write_text(json.dumps(record(format=9)))
    with pytest.raises(BootError, match="has format 9") as error:
        folder.load()
    assert "--fresh" in error.value.way_out


@pytest.mark.parametrize("content", ["{", "[]", '{"format": 1}', '{"format": 1, "colour": 3}'])
def test_a_broken_record_is_refused(folder: StateFolder, content: str) -> None:
    folder.record_file.write_text(content)
    with pytest.raises(BootError) as error:
        folder.load()
    assert str(folder.path) in error.value.cause


def test_a_store_without_a_record_is_not_overwritten(folder: StateFolder) -> None:
    (folder.store / "store-1").mkdir()
    (folder.store / "store-1" / "journal").touch()
    with pytest.raises(BootError, match=r"no cluster\.json"):
        folder.load()


def test_another_users_folder_is_refused(folder: StateFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    with pytest.raises(BootError, match="another user"):
        folder.check()


def test_a_full_disk_is_refused(folder: StateFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "FREE_BYTES_MIN", 1 << 62)
    with pytest.raises(BootError, match="MiB are free"):
        folder.check()


def test_a_file_in_the_folders_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BootError, match="not a folder"):
        StateFolder(tmp_path / "file").check()


def test_the_lock_keeps_a_second_cluster_out(folder: StateFolder) -> None:
    held = folder.lock()
    with pytest.raises(BlockingIOError):
        folder.lock()
    os.close(held)
    os.close(folder.lock())


def test_the_control_socket_fits_into_an_address(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 100) / ("e" * 100)
    assert len(str(StateFolder(deep).control_socket)) < 80
