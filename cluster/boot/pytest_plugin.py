"""A pytest plugin: the fixture `oarlock_cluster` is a real cluster of one process, ready in about a second.

Every xdist worker gets its own, on its own ports, addresses and temporary folder; nothing of the user's is touched.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True, slots=True)
class TestCluster:
    """A running cluster. `kubeconfig` grants full rights, `server` is its URL, `ca_file` the PEM file to trust."""

    __test__ = False

    name: str
    kubeconfig: Path
    server: str
    ca_file: Path
    folder: Path


@pytest.fixture(scope="session")
def oarlock_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestCluster]:
    """Run `oarlock up --single` for the test session; everything is gone afterwards."""
    from oarlock.cluster.boot.down import delete, down
    from oarlock.cluster.boot.spec import ClusterSpec
    from oarlock.cluster.boot.state import StateFolder
    from oarlock.cluster.boot.up import up

    path = tmp_path_factory.mktemp("oarlock")
    folder = StateFolder(path / "state")
    spec = ClusterSpec(name="test", single=True)
    kubeconfig = path / "kubeconfig"
    try:
        up(spec, folder, kubeconfig, fresh=False, out=io.StringIO())
        record = folder.load()
        assert record is not None
        server = f"https://127.0.0.1:{record.port}"
        yield TestCluster("test", kubeconfig, server, folder.pki / "ca.crt", folder.path)
    finally:
        down(folder, io.StringIO())
        delete(folder, spec.context)
