"""The surroundings of operators: a cluster of one process, a client, a namespace that is gone afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from harness.following import Kind
from harness.operators import Operator, RunOperator
from kubernetes import config
from kubernetes.dynamic import DynamicClient


@pytest.fixture(scope="module")
def dynamic(oarlock_cluster: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DynamicClient]:
    """The official dynamic client with full rights."""
    api = config.new_client_from_config(str(oarlock_cluster.kubeconfig))
    yield DynamicClient(api, cache_file=str(tmp_path_factory.mktemp("discovery") / "cache"))
    api.close()


@pytest.fixture(scope="module")
def namespace(dynamic: DynamicClient, request: pytest.FixtureRequest) -> Iterator[str]:
    """A namespace of the module's own."""
    name = request.module.__name__.rpartition("test_")[2].replace("_", "-")
    namespaces = Kind(dynamic, "v1", "Namespace")
    namespaces.create(name)
    yield name
    namespaces.delete(name)
    namespaces.until_gone(name)


@pytest.fixture(scope="module")
def run_operator(oarlock_cluster: Any, tmp_path_factory: pytest.TempPathFactory) -> RunOperator:
    """Return a context manager that runs `python ARGUMENTS` as an operator of the cluster and ends it."""
    folder: Path = tmp_path_factory.mktemp("operators")
    started: list[Operator] = []

    @contextmanager
    def run(*arguments: str) -> Iterator[Operator]:
        operator = Operator(list(arguments), oarlock_cluster.kubeconfig, folder / f"{len(started)}.log")
        started.append(operator)
        operator.start()
        try:
            yield operator
        finally:
            print(operator.log)  # shown beside a failed test
            operator.stop()

    return run
