"""kopf, unchanged: an operator over a built-in kind runs beside a cluster of one process."""

from __future__ import annotations

import base64
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client, config
from kubernetes.client.exceptions import NotFoundException

pytestmark = [pytest.mark.thorough, pytest.mark.timeout(120)]

OPERATOR = Path(__file__).with_name("operator_with_kopf.py")
NAMESPACE = "kopf"


@pytest.fixture
def core(oarlock_cluster: Any) -> Iterator[client.CoreV1Api]:
    api = config.new_client_from_config(str(oarlock_cluster.kubeconfig))
    core = client.CoreV1Api(api)
    core.create_namespace({"metadata": {"name": NAMESPACE}})
    yield core
    core.delete_namespace(NAMESPACE)
    api.close()


@pytest.fixture
def operator(core: client.CoreV1Api, oarlock_cluster: Any, tmp_path: Path) -> Iterator[Path]:
    output = tmp_path / "operator.log"
    command = [sys.executable, "-m", "kopf", "run", "--standalone", "-n", NAMESPACE, str(OPERATOR)]
    environment = {**os.environ, "KUBECONFIG": str(oarlock_cluster.kubeconfig)}
    with output.open("wb") as file:
        process = subprocess.Popen(command, env=environment, stdout=file, stderr=subprocess.STDOUT)
    yield output
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0, output.read_text()


def eventually(holds: Callable[[], Any], output: Path) -> Any:
    """Return what `holds` returns once it is true; what the operator does comes by no event to us."""
    deadline = time.monotonic() + 40
    while True:
        with suppress(NotFoundException):
            if found := holds():
                return found
        assert time.monotonic() < deadline, output.read_text()
        time.sleep(0.1)


def test_an_operator_handles_creation_change_and_deletion(core: client.CoreV1Api, operator: Path) -> None:
    body = {"metadata": {"name": "one", "labels": {"copied": "yes"}}, "data": {"a": "1"}}
    core.create_namespaced_config_map(NAMESPACE, body)
    secret = eventually(lambda: core.read_namespaced_secret("one", NAMESPACE), operator)
    assert secret.data == {"a": base64.b64encode(b"1").decode()}
    assert secret.metadata.owner_references[0].kind == "ConfigMap"
    handled = "kopf.zalando.org/last-handled-configuration"
    kept = eventually(
        lambda: handled in (core.read_namespaced_config_map("one", NAMESPACE).metadata.annotations or {}), operator
    )
    assert kept
    assert core.read_namespaced_config_map("one", NAMESPACE).metadata.finalizers == ["example.com/copier"]
    reasons = eventually(
        lambda: {event.reason for event in core.list_namespaced_event(NAMESPACE).items} & {"Copied"}, operator
    )
    assert reasons == {"Copied"}
    core.patch_namespaced_config_map("one", NAMESPACE, {"data": {"a": "2"}})
    eventually(
        lambda: core.read_namespaced_secret("one", NAMESPACE).data == {"a": base64.b64encode(b"2").decode()}, operator
    )
    core.delete_namespaced_config_map("one", NAMESPACE)
    assert eventually(lambda: core.read_namespaced_config_map("one-was-here", NAMESPACE), operator)
    eventually(
        lambda: "one" not in {one.metadata.name for one in core.list_namespaced_config_map(NAMESPACE).items}, operator
    )
    eventually(
        lambda: not [s for s in core.list_namespaced_secret(NAMESPACE).items if s.metadata.name == "one"], operator
    )
