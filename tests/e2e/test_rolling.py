"""No request fails while what serves it is rolled over, scaled or thinned out: docs/examples/rolling.yaml."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.traffic import Address, Traffic

pytestmark = [pytest.mark.thorough, pytest.mark.e2e, pytest.mark.timeout(300)]

MANIFEST = Path(__file__).parents[2] / "docs" / "examples" / "rolling.yaml"
CLIENTS = 6
HOOK = {"name": "web", "lifecycle": {"preStop": {"sleep": {"seconds": 20}}}}


@pytest.fixture(scope="module")
def cluster(new_cluster: Callable[[str], Any], waiting: Callable[..., Any]) -> Any:
    """Two nodes, each with an agent and a Service proxy; every proxy answers."""
    cluster = new_cluster("rolling")
    cluster.up("--single", "--nodes", "2")
    waiting(lambda: cluster.kubectl("get", "nodes", "--no-headers").count(" Ready ") == 2)
    cluster.kubectl("apply", "-f", str(MANIFEST))
    cluster.rolled_out("rolling")
    placed = {pod["spec"]["nodeName"] for pod in cluster.get("pods", "-l", "app=rolling")["items"]}
    assert len(placed) == 2, "both nodes serve"
    waiting(lambda: asyncio.run(answering(addresses(cluster))))
    return cluster


def addresses(cluster: Any) -> list[Address]:
    """Return where the Service is reached: its own address, and its port at every node."""
    spec = cluster.get("service", "rolling")["spec"]
    (port,) = spec["ports"]
    nodes = [
        next(one["address"] for one in node["status"]["addresses"] if one["type"] == "InternalIP")
        for node in cluster.get("nodes")["items"]
    ]
    return [(spec["clusterIP"], port["port"]), *((node, port["nodePort"]) for node in nodes)]


async def answering(found: list[Address]) -> bool:
    traffic = Traffic(found, 1)
    async with traffic.flowing():
        await asyncio.sleep(0)
    return not traffic.failures


def settled(cluster: Any, waiting: Callable[..., Any]) -> None:
    """Wait until the rollout is over and the pods that it took away are gone."""
    cluster.rolled_out("rolling")
    wanted = cluster.get("deployment", "rolling")["spec"]["replicas"]
    waiting(lambda: len(cluster.get("pods", "-l", "app=rolling")["items"]) == wanted, 60)


def scaled(cluster: Any, replicas: int) -> None:
    cluster.kubectl("scale", "deployment/rolling", f"--replicas={replicas}")


def undone_midway(cluster: Any, waiting: Callable[..., Any]) -> None:
    cluster.kubectl("set", "env", "deployment/rolling", "GREETING=hello")
    waiting(lambda: cluster.get("deployment", "rolling")["status"].get("updatedReplicas", 0) >= 2)
    cluster.kubectl("rollout", "undo", "deployment/rolling")


def ended_at_once(cluster: Any, waiting: Callable[..., Any]) -> None:
    """Have nothing serve but pods that are ending: those that come can't be ready for a while."""
    patch = {"spec": {"template": {"spec": {"containers": [HOOK]}}}}
    cluster.kubectl("patch", "deployment/rolling", "-p", json.dumps(patch))
    settled(cluster, waiting)
    cluster.kubectl("delete", "pods", "-l", "app=rolling", "--wait=false")


STEPS: dict[str, Callable[[Any, Callable[..., Any]], object]] = {
    "restart": lambda cluster, _: cluster.kubectl("rollout", "restart", "deployment/rolling"),
    "new image": lambda cluster, _: cluster.kubectl("set", "image", "deployment/rolling", "web=host/python3:2"),
    "undone midway": undone_midway,
    "up": lambda cluster, _: scaled(cluster, 5),
    "down": lambda cluster, _: scaled(cluster, 2),
    "one deleted": lambda cluster, _: cluster.kubectl("delete", first_pod(cluster), "--wait=false"),
    "ended at once": ended_at_once,
    "down to one": lambda cluster, _: scaled(cluster, 1),
}


def first_pod(cluster: Any) -> str:
    return str(cluster.kubectl("get", "pods", "-l", "app=rolling", "-o", "name").split()[0])


@pytest.mark.parametrize("step", STEPS)
def test_no_request_fails(cluster: Any, waiting: Callable[..., Any], step: str) -> None:
    traffic = Traffic(addresses(cluster), CLIENTS)

    async def under_load() -> None:
        async with traffic.flowing():
            await asyncio.to_thread(STEPS[step], cluster, waiting)
            await asyncio.to_thread(settled, cluster, waiting)

    asyncio.run(under_load())
    assert traffic.times_s
    assert traffic.failures == []
