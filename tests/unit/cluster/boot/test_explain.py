"""`oarlock explain` and `oarlock whatif` against a real API server."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from harness.apiserver import start_api_server
from harness.scheduling import node_object, pod_object

from oarlock.cluster.boot.main import main
from oarlock.cluster.client.http import ApiClient
from oarlock.cluster.client.kubeconfig import load

TAINT = {"key": "dedicated", "value": "gpu", "effect": "NoSchedule"}
MANIFEST = """
apiVersion: v1
kind: Pod
metadata: {name: maybe}
spec:
  automountServiceAccountToken: false
  containers: [{name: c, image: host/x, resources: {requests: {cpu: CPU}}}]
"""


def asked(folder: Path, *command: str) -> int:
    """Run a command while a cluster with one roomy and one tainted node is there."""

    async def story() -> int:
        async with start_api_server(folder, disabled_plugins=("ServiceAccount",)) as api:
            async with ApiClient(load(api.kubeconfig)) as client:
                await _fill(client)
            return await asyncio.to_thread(main, [command[0], "--kubeconfig", str(api.kubeconfig), *command[1:]])

    return asyncio.run(story())


async def _fill(client: ApiClient) -> None:
    for name, taints in (("roomy", []), ("tainted", [TAINT])):
        node: dict[str, Any] = node_object(name, taints=taints)
        await client.create("/api/v1/nodes", node)
        await client.patch(f"/api/v1/nodes/{name}", {"spec": {"taints": taints}})
        await client.patch(f"/api/v1/nodes/{name}/status", {"status": node["status"]})
    pod = pod_object("web", cpu="1", nodeName="roomy", automountServiceAccountToken=False)
    del pod["metadata"]["uid"]
    await client.create("/api/v1/namespaces/default/pods", pod)


def test_explain_now_tells_every_verdict_and_score(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert asked(tmp_path, "explain", "pod", "web", "--now") == 0
    said = capsys.readouterr().out.splitlines()
    assert said[:3] == ["pod default/web", "is on roomy", "would go to roomy"]
    words = [" ".join(line.split()) for line in said]
    assert "TaintToleration node(s) had untolerated taint(s)" in words
    assert "NodeResourcesFit passes" in words
    assert any(line.startswith("NodeResourcesFit 86 x 1 = 86") for line in words)


def test_what_if_creates_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = tmp_path / "pod.yaml"
    manifest.write_text(MANIFEST.replace("CPU", '"9"'))
    assert asked(tmp_path, "whatif", "-f", str(manifest)) == 1
    assert (
        "would not be scheduled: 0/2 nodes are available: 1 Insufficient cpu, 1 node(s) had" in capsys.readouterr().out
    )


def test_what_if_finds_a_place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = tmp_path / "pod.yaml"
    manifest.write_text(MANIFEST.replace("CPU", '"1"'))
    assert asked(tmp_path, "whatif", "-f", str(manifest)) == 0
    assert "would go to roomy" in capsys.readouterr().out


def test_what_goes_wrong_is_told_in_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert asked(tmp_path, "explain", "pod", "nobody") == 1
    assert 'oarlock: pods "nobody" not found' in capsys.readouterr().err
    config = tmp_path / "broken.yaml"
    config.write_text("kind: Pod\n")
    assert asked(tmp_path / "again", "explain", "--scheduler-config", str(config), "pod", "web") == 1
    assert f"{config}:1: apiVersion must be" in capsys.readouterr().err
