"""Kubeconfigs: files, inline data, and what is said of broken ones."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest
import yaml

from oarlock.cluster.client.errors import BadKubeconfig
from oarlock.cluster.client.kubeconfig import load


def write(folder: Path, cluster: dict[str, Any], user: dict[str, Any], **changes: Any) -> Path:
    path = folder / "config"
    document = {
        "current-context": "here",
        "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": cluster}],
        "users": [{"name": "u", "user": user}],
        **changes,
    }
    path.write_text(yaml.safe_dump(document))
    return path


def test_files_count_from_the_kubeconfigs_folder(tmp_path: Path) -> None:
    cluster = {"server": "https://127.0.0.1:6443", "certificate-authority": "ca.crt"}
    user = {"client-certificate": "/abs/u.crt", "client-key": "u.key"}
    settings = load(write(tmp_path, cluster, user))
    assert settings.server == "https://127.0.0.1:6443"
    assert settings.ca_file == str(tmp_path / "ca.crt")
    assert (settings.cert_file, settings.key_file) == ("/abs/u.crt", str(tmp_path / "u.key"))


def test_inline_data_and_tokens(tmp_path: Path) -> None:
    cluster = {"server": "https://h", "certificate-authority-data": base64.b64encode(b"PEM").decode()}
    (tmp_path / "token").write_text("secret\n")
    settings = load(write(tmp_path, cluster, {"tokenFile": "token"}))
    assert (settings.ca_pem, settings.token) == ("PEM", "secret")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"current-context": "gone"}, "no context named 'gone'"),
        ({"clusters": []}, "no cluster named 'c'"),
        ({"users": None}, "no user named 'u'"),
    ],
)
def test_what_is_missing_is_named(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    path = write(tmp_path, {"server": "https://h"}, {}, **change)
    with pytest.raises(BadKubeconfig, match=words):
        load(path)


@pytest.mark.parametrize("text", ["{", "- a list", "\x00"])
def test_broken_files_are_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config"
    path.write_text(text)
    with pytest.raises(BadKubeconfig, match=str(path)):
        load(path)
    with pytest.raises(BadKubeconfig, match="can't read"):
        load(tmp_path / "none")
