from pathlib import Path

import pytest
import yaml

from oarlock.cluster.boot import kubeconfig
from oarlock.cluster.boot.errors import BootError
from oarlock.cluster.boot.pki import Authority, CertificateFiles


@pytest.fixture
def admin(tmp_path: Path) -> CertificateFiles:
    (tmp_path / "pki").mkdir()
    return Authority(tmp_path / "pki").issue("admin", "alice")


def names(config: dict[str, list[dict[str, str]]], section: str) -> list[str]:
    return [item["name"] for item in config[section]]


def test_merging_keeps_what_was_there(tmp_path: Path, admin: CertificateFiles) -> None:
    path = tmp_path / "config"
    path.write_text("clusters: [{name: other, cluster: {server: https://x}}]\ncurrent-context: other\ncolour: red\n")
    kubeconfig.merge(path, "oarlock", "https://127.0.0.1:6443", admin)
    config = yaml.safe_load(path.read_text())
    assert names(config, "clusters") == ["other", "oarlock"]
    assert names(config, "contexts") == names(config, "users") == ["oarlock"]
    assert config["current-context"] == "oarlock"
    assert config["colour"] == "red"


def test_merging_twice_replaces(tmp_path: Path, admin: CertificateFiles) -> None:
    path = tmp_path / "config"
    kubeconfig.merge(path, "oarlock", "https://127.0.0.1:1", admin)
    kubeconfig.merge(path, "oarlock", "https://127.0.0.1:2", admin)
    clusters = yaml.safe_load(path.read_text())["clusters"]
    assert [c["cluster"]["server"] for c in clusters] == ["https://127.0.0.1:2"]
    assert path.stat().st_mode & 0o777 == 0o600


def test_removing_takes_only_ours(tmp_path: Path, admin: CertificateFiles) -> None:
    path = tmp_path / "config"
    path.write_text("users: [{name: other, user: {}}]\n")
    kubeconfig.merge(path, "oarlock", "https://127.0.0.1:1", admin)
    kubeconfig.remove(path, "oarlock")
    config = yaml.safe_load(path.read_text())
    assert names(config, "users") == ["other"]
    assert config["current-context"] == ""


@pytest.mark.parametrize("content", ["clusters: [", "just text", "clusters: {}", "users: [1]"])
def test_a_broken_file_is_named_and_left_alone(tmp_path: Path, admin: CertificateFiles, content: str) -> None:
    path = tmp_path / "config"
    path.write_text(content)
    with pytest.raises(BootError) as error:
        kubeconfig.merge(path, "oarlock", "https://127.0.0.1:1", admin)
    assert str(path) in error.value.cause
    assert path.read_text() == content
    assert not path.with_name("config.lock").exists()


def test_a_file_that_another_program_writes_is_not_touched(tmp_path: Path, admin: CertificateFiles) -> None:
    path = tmp_path / "config"
    (tmp_path / "config.lock").touch()
    with pytest.raises(BootError, match="another program"):
        kubeconfig.merge(path, "oarlock", "https://127.0.0.1:1", admin)
    assert not path.exists()
