"""The whole cluster: three store replicas, two API servers, Ray; every process is killed once."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from oarlock.actors.shell import ray_remains
from oarlock.actors.shell.ray_processes import MARK as RAY_NODE
from oarlock.actors.shell.ray_processes import POSITION
from oarlock.cluster.boot import processes

pytestmark = [pytest.mark.ray, pytest.mark.chaos]
Waiting = Callable[..., Any]
HEAD_DEATHS = 6


@pytest.fixture(scope="module")
def cluster(new_cluster: Callable[[str], Any]) -> Any:
    cluster = new_cluster("ha")
    cluster.up("--hollow", "2")
    cluster.kubectl("create", "deployment", "sleeper", "--image=host/sleep", "--replicas=2", "--", "sleep", "1000")
    cluster.rolled_out("sleeper")
    return cluster


def parts(cluster: Any, kind: str) -> list[dict[str, Any]]:
    return [part for part in cluster.status() if part["kind"] == kind]


def all_ready(cluster: Any) -> bool:
    status = cluster.status()
    kinds = [part["kind"] for part in status]
    return all(part["state"] == "ready" for part in status) and kinds.count("actor") == 4


def container_ids(cluster: Any) -> set[str]:
    pods = cluster.get("pods", "-l", "app=sleeper")["items"]
    return {status["containerID"] for pod in pods for status in pod["status"]["containerStatuses"]}


def test_all_parts_are_there(cluster: Any, waiting: Waiting) -> None:
    waiting(lambda: all_ready(cluster))
    status = cluster.status()
    count = {kind: sum(part["kind"] == kind for part in status) for kind in {part["kind"] for part in status}}
    assert count == {
        "store": 3,
        "apiserver": 2,
        "balancer": 1,
        "agent": 1,
        "hollow": 1,
        "resp": 2,
        "ray": 2,
        "actor": 4,
    }
    assert sum(part["active"] for part in parts(cluster, "store")) == 1
    assert sum(part["active"] for part in parts(cluster, "actor")) == 2
    assert sum(part["active"] for part in parts(cluster, "ray")) == 1
    assert all(part["age_s"] >= 0 and part["pid"] > 0 and part["address"] for part in status)


def test_hollow_nodes_are_nodes(cluster: Any, waiting: Waiting) -> None:
    waiting(lambda: cluster.kubectl("get", "nodes", "--no-headers").count(" Ready ") == 3)


class Writer:
    """Creates config maps until told to stop; remembers each one that was acknowledged."""

    def __init__(self, cluster: Any, prefix: str) -> None:
        self.acknowledged: list[str] = []
        self._cluster, self._prefix = cluster, prefix
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Writer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        number = 0
        while not self._stop.is_set():
            name = f"{self._prefix}-{number}"
            number += 1
            if self._cluster.kubectl_run("create", "configmap", name).returncode == 0:
                self.acknowledged.append(name)


def victim(cluster: Any, kind: str, active: bool | None) -> dict[str, Any]:
    return next(part for part in parts(cluster, kind) if active is None or part["active"] == active)


@pytest.mark.parametrize(
    ("kind", "active"),
    [
        ("store", True),
        ("store", False),
        ("apiserver", None),
        ("balancer", None),
        ("agent", None),
        ("actor", True),
        ("ray", True),
        ("ray", False),
        ("resp", None),
    ],
)
def test_kill_one(cluster: Any, waiting: Waiting, kind: str, active: bool | None) -> None:
    waiting(lambda: all_ready(cluster), 90)
    before = container_ids(cluster)
    killed = victim(cluster, kind, active)
    assert killed["pid"] > 1
    prefix = f"during-{kind}-{str(active).lower()}"
    with Writer(cluster, prefix) as writer:
        waiting(lambda: writer.acknowledged)
        os.kill(killed["pid"], 9)
        count = len(writer.acknowledged)
        waiting(lambda: len(writer.acknowledged) > count + 3)
        waiting(lambda: all_ready(cluster) and killed["pid"] not in {p["pid"] for p in cluster.status()}, 90)
    there = {item["metadata"]["name"] for item in cluster.get("configmaps")["items"]}
    assert set(writer.acknowledged) <= there
    assert container_ids(cluster) == before, "containers went on running"
    name = f"after-{kind}-{str(active).lower()}"
    cluster.kubectl("create", "deployment", name, "--image=host/sleep", "--", "sleep", "1000")
    cluster.rolled_out(name)


def ray_processes(cluster: Any, program: bytes) -> list[int]:
    """Process ids of one of Ray's programs that belong to this cluster, by their session folder."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            command = (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if command.split(b"\0")[0].endswith(program) and runtime_folder(cluster) in command:
            found.append(int(entry.name))
    return sorted(found)


def runtime_folder(cluster: Any) -> bytes:
    from oarlock.cluster.boot.state import StateFolder

    return os.fsencode(StateFolder(cluster.folder / "state").runtime)


@pytest.mark.parametrize(("program", "count"), [("/raylet", 2), ("/gcs_server", 1)])
def test_kill_each_of_rays_own_processes(cluster: Any, waiting: Waiting, program: str, count: int) -> None:
    waiting(lambda: all_ready(cluster), 90)

    def running() -> list[int]:
        return ray_processes(cluster, program.encode())

    found = running()
    assert len(found) == count
    for number, pid in enumerate(found):
        os.kill(pid, 9)
        name = f"after-{program.strip('/').replace('_', '-')}-{number}"
        cluster.kubectl("create", "deployment", name, "--image=host/sleep", "--", "sleep", "1000")
        cluster.rolled_out(name)
        waiting(lambda pid=pid: len(running()) == count and pid not in running() and all_ready(cluster), 90)


def of_ray_node(cluster: Any, number: int) -> list[int]:
    """Every process of one Ray node: its own, its front to the store, Ray's programs, the actors."""
    own = [part["pid"] for part in cluster.status() if part["name"] in (f"ray-{number}", f"state-{number}")]
    folder = os.fsdecode(runtime_folder(cluster)) + "/" + "ab"[number - 1]
    return [*own, *ray_remains.processes(RAY_NODE, folder)]


def copies(cluster: Any) -> dict[str, int]:
    """The process of each copy of a component, as it registers itself; asks no supervisor."""
    targets = json.loads(cluster.kubectl("get", "--raw", "/oarlock/v1/targets"))
    named = {target["labels"]["instance_name"]: int(target["labels"].get("pid", 0)) for target in targets}
    return {name: pid for name, pid in named.items() if name.endswith(("-a", "-b"))}


def position(pid: int) -> str:
    """The position of the Ray node that a process belongs to, "" if there is no such process."""
    try:
        variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return ""
    mark = f"{POSITION}=".encode()
    return next((one.removeprefix(mark).decode() for one in variables if one.startswith(mark)), "")


def all_at_home(cluster: Any) -> bool:
    found = copies(cluster)
    return len(found) == 4 and all(position(pid) == name[-1] for name, pid in found.items())


@pytest.mark.thorough
@pytest.mark.timeout(1200)
def test_the_head_dies_with_its_whole_node_again_and_again(cluster: Any, waiting: Waiting) -> None:
    """While a host is gone its supervisor is stopped, so that nothing comes back there."""
    supervisor = json.loads((cluster.folder / "state" / "processes.json").read_bytes())[processes.SUPERVISOR][0]
    heads = set[str]()
    for number in range(HEAD_DEATHS):
        waiting(lambda: all_ready(cluster) and all_at_home(cluster), 180)
        head = victim(cluster, "ray", active=True)["name"]
        heads.add(head)
        gone, stays = ("a", "b") if head == "ray-1" else ("b", "a")
        before = copies(cluster)
        victims = of_ray_node(cluster, int(head[-1]))
        assert len(victims) >= 6, "the node, its front, the GCS, a raylet, two actors"
        os.kill(supervisor, signal.SIGSTOP)
        try:
            for pid in victims:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            name = f"head-death-{number}"
            cluster.kubectl("create", "deployment", name, "--image=host/sleep", "--", "sleep", "1000")
            cluster.rolled_out(name)
            waiting(lambda stays=stays: {position(pid) for pid in copies(cluster).values()} == {stays}, 90)
            after = copies(cluster)
        finally:
            os.kill(supervisor, signal.SIGCONT)
        assert {one: pid for one, pid in after.items() if one[-1] == stays} == {
            one: pid for one, pid in before.items() if one[-1] == stays
        }, "actors of the other host never stopped"
        assert all(after[one] != pid for one, pid in before.items() if one[-1] == gone)
    assert heads == {"ray-1", "ray-2"}, "each node has been the head"
    cluster.rolled_out("sleeper")


def test_prometheus_finds_every_process(cluster: Any, waiting: Waiting) -> None:
    def jobs() -> set[str]:
        targets = json.loads(cluster.kubectl("get", "--raw", "/oarlock/v1/targets"))
        return {target["labels"]["job"] for target in targets}

    expected = {
        "store",
        "apiserver",
        "balancer",
        "agent",
        "hollow",
        "ray",
        "resp",
        "kube-scheduler",
        "kube-controller-manager",
    }
    waiting(lambda: expected <= jobs(), 60)


def test_down_leaves_no_process_and_up_finds_all_objects(cluster: Any, waiting: Waiting) -> None:
    waiting(lambda: all_ready(cluster), 90)
    before = {item["metadata"]["uid"] for item in cluster.get("configmaps")["items"]}
    cluster.down()
    assert processes_of(cluster) == []
    cluster.up("--hollow", "2")
    after = {item["metadata"]["uid"] for item in cluster.get("configmaps")["items"]}
    assert before <= after
    cluster.rolled_out("sleeper")
    cluster.down()
    assert processes_of(cluster) == []
    cluster.up("--fresh", "--hollow", "2")
    assert "during-" not in cluster.kubectl("get", "configmaps", "-o", "name")


def processes_of(cluster: Any) -> list[int]:
    """The ids of every process that carries the cluster's mark in its environment."""
    return list(processes.marked(f"{processes.MARK}={cluster.folder / 'state'}"))
