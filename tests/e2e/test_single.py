"""A cluster of one process, driven as a user would: the same parts as the large one, without Ray."""

from __future__ import annotations

import os
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
Waiting = Callable[..., Any]

SLEEPER = ("--image=host/sleep", "--", "sleep", "1000")


@pytest.fixture(scope="module")
def cluster(new_cluster: Callable[[str], Any]) -> Any:
    cluster = new_cluster("single")
    printed = cluster.up("--single")
    assert "kubectl" in printed.splitlines()[-1], "up ends with the next command"
    return cluster


def ready_replicas(cluster: Any, name: str) -> int:
    return int(cluster.get("deployment", name)["status"].get("readyReplicas", 0))


def container_pid(cluster: Any, pod: str) -> int:
    """The process that runs `sleep` of a pod, found by the pod's own name in its environment."""
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            environment = (entry / "environ").read_bytes().split(b"\0")
            command = (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if f"HOSTNAME={pod}".encode() in environment and command.startswith(b"sleep\0"):
            return int(entry.name)
    return 0


def test_the_node_is_ready(cluster: Any, waiting: Waiting) -> None:
    waiting(lambda: "Ready" in cluster.kubectl("get", "nodes", "-o", "wide"))
    assert "v1.36" in cluster.kubectl("get", "nodes")


def test_explain_tells_of_the_last_attempt(cluster: Any) -> None:
    cluster.kubectl("create", "deployment", "explained", *SLEEPER)
    cluster.rolled_out("explained")
    (pod,) = cluster.get("pods", "-l", "app=explained")["items"]
    name = pod["metadata"]["name"]
    command = ["explain", "--kubeconfig", str(cluster.kubeconfig), "pod", name]
    run = subprocess.run(
        [sys.executable, "-m", "oarlock.cluster.boot.main", *command], capture_output=True, text=True, check=True
    )
    said = run.stdout.splitlines()
    assert said[:2] == [f"pod default/{name}", "is on node-1"]
    assert said[2].startswith("attempt ")
    assert said[2].endswith(": bound to node-1")


def test_a_deployment_runs_scales_rolls_and_undoes(cluster: Any, waiting: Waiting) -> None:
    cluster.kubectl("create", "deployment", "sleeper", *SLEEPER)
    cluster.rolled_out("sleeper")
    cluster.kubectl("scale", "deployment/sleeper", "--replicas=3")
    waiting(lambda: ready_replicas(cluster, "sleeper") == 3)
    cluster.kubectl("set", "env", "deployment/sleeper", "GREETING=hello")
    cluster.rolled_out("sleeper")
    assert "revision" in cluster.kubectl("rollout", "history", "deployment/sleeper").lower()
    cluster.kubectl("rollout", "undo", "deployment/sleeper")
    cluster.rolled_out("sleeper")
    container = cluster.get("deployment", "sleeper")["spec"]["template"]["spec"]["containers"][0]
    assert "env" not in container
    cluster.kubectl("rollout", "restart", "deployment/sleeper")
    cluster.rolled_out("sleeper")
    cluster.kubectl("set", "image", "deployment/sleeper", "sleep=host/sleep:2")
    cluster.rolled_out("sleeper")
    described = cluster.kubectl("describe", "deployment", "sleeper")
    assert "ScalingReplicaSet" in described
    assert "host/sleep:2" in described


def test_a_deleted_pod_is_replaced_and_a_killed_container_restarted(cluster: Any, waiting: Waiting) -> None:
    cluster.kubectl("create", "deployment", "healer", *SLEEPER)
    cluster.rolled_out("healer")
    (first,) = cluster.get("pods", "-l", "app=healer")["items"]
    cluster.kubectl("delete", "pod", first["metadata"]["name"], "--grace-period=1")

    def replacement() -> Any:
        pods = cluster.get("pods", "-l", "app=healer")["items"]
        running = [
            p
            for p in pods
            if p["status"].get("phase") == "Running" and p["metadata"]["uid"] != first["metadata"]["uid"]
        ]
        return running[0] if running else None

    second = waiting(replacement)
    name = second["metadata"]["name"]
    pid = container_pid(cluster, name)
    assert pid, "the container is a real process"
    os.kill(pid, 9)
    waiting(lambda: cluster.get("pod", name)["status"]["containerStatuses"][0]["restartCount"] == 1)
    state = cluster.get("pod", name)["status"]["containerStatuses"][0]
    assert state["lastState"]["terminated"]["exitCode"] == 137
    cluster.kubectl("delete", "deployment", "healer")
    waiting(lambda: not cluster.get("pods", "-l", "app=healer")["items"])


def test_everything_in_one_file(cluster: Any, waiting: Waiting) -> None:
    applied = cluster.kubectl("apply", "-f", str(EXAMPLES / "all-in-one.yaml"))
    assert applied.count("created") >= 6
    again = cluster.kubectl("apply", "-f", str(EXAMPLES / "all-in-one.yaml"))
    assert "created" not in again
    namespace = next(o.split("/")[1].split()[0] for o in applied.splitlines() if o.startswith("namespace/"))
    cluster.kubectl("-n", namespace, "wait", "--for=condition=complete", "job", "--all", "--timeout=60s")
    cluster.kubectl("-n", namespace, "rollout", "status", "deployment", "--timeout=60s")
    cluster.kubectl("delete", "namespace", namespace, timeout_s=60)
    assert "not found" in cluster.kubectl_run("get", "namespace", namespace).stderr.lower()


def test_a_service_answers_and_logs_tell_of_it(cluster: Any, waiting: Waiting) -> None:
    cluster.kubectl("apply", "-f", str(EXAMPLES / "web.yaml"))
    cluster.rolled_out("web")
    service = cluster.get("service", "web")
    url = f"http://{service['spec']['clusterIP']}:{service['spec']['ports'][0]['port']}/"

    def answers() -> bool:
        try:
            return urllib.request.urlopen(url, timeout=2).status == 200
        except OSError:
            return False

    waiting(answers)
    slices = cluster.get("endpointslices", "-l", "kubernetes.io/service-name=web")["items"]
    ready = [e for s in slices for e in s["endpoints"] if e["conditions"]["ready"]]
    assert len(ready) == cluster.get("deployment", "web")["spec"]["replicas"]
    waiting(lambda: "GET /" in cluster.kubectl("logs", "-l", "app=web", "--tail=-1"))


def test_logs_follow_a_running_container(cluster: Any, waiting: Waiting) -> None:
    script = "echo first; until test -e $OARLOCK_ROOT/go; do sleep 0.05; done; echo second; sleep 1000"
    cluster.kubectl("run", "talker", "--image=host/sh", "--command", "--", "sh", "-c", script)
    waiting(lambda: "first" in cluster.kubectl_run("logs", "talker").stdout)
    environment = {**os.environ, "KUBECONFIG": str(cluster.kubeconfig)}
    command = [cluster.kubectl_path, "logs", "-f", "talker"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as follower:
        assert follower.stdout is not None
        assert follower.stdout.readline() == "first\n"
        uid = cluster.get("pod", "talker")["metadata"]["uid"]
        next((cluster.folder / "state" / "nodes").glob(f"*/pods/{uid}/fs")).joinpath("go").touch()
        assert follower.stdout.readline() == "second\n"
        follower.kill()
    cluster.kubectl("delete", "pod", "talker", "--now")


def test_what_people_look_at(cluster: Any) -> None:
    assert "deployments" in cluster.kubectl("api-resources")
    assert "replicas" in cluster.kubectl("explain", "deployment.spec")
    assert "running at" in cluster.kubectl("cluster-info")
    assert "Server Version: v1.36" in cluster.kubectl("version")
    assert "kube-system" in cluster.kubectl("get", "namespaces")


def test_a_watch_shows_what_happens_next(cluster: Any) -> None:
    environment = {**os.environ, "KUBECONFIG": str(cluster.kubeconfig)}
    command = [cluster.kubectl_path, "get", "configmaps", "-w", "--no-headers", "-o", "name"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as watch:
        assert watch.stdout is not None
        watch.stdout.readline()
        cluster.kubectl("create", "configmap", "seen-by-the-watch")
        for line in watch.stdout:
            if line.strip() == "configmap/seen-by-the-watch":
                break
        else:
            pytest.fail("the watch ended first")
        watch.kill()


def test_an_image_that_cannot_run_says_why(cluster: Any, waiting: Waiting) -> None:
    cluster.kubectl("run", "nginx", "--image=nginx", "--restart=Never")

    def reason() -> bool:
        statuses = cluster.get("pod", "nginx")["status"].get("containerStatuses") or [{}]
        return statuses[0].get("state", {}).get("waiting", {}).get("reason") in ("ErrImagePull", "ImagePullBackOff")

    waiting(reason)
    assert "host/" in cluster.kubectl("describe", "pod", "nginx")
    cluster.kubectl("delete", "pod", "nginx", "--now")


@pytest.mark.parametrize(
    ("manifest", "said"),
    [
        ("apiVersion: v1\nkind: Pod\nmetadata: {name: x}\nspec: {containers: [{name: c, imagee: y}]}\n", "imagee"),
        ("apiVersion: v1\nkind: Podd\nmetadata: {name: x}\n", 'no matches for kind "Podd"'),
        ("apiVersion: v1\nkind: Pod\nmetadata: {name: x}\nspec: {}\n", "spec.containers"),
        (
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: X_x}\n",
            "metadata.name",
        ),
    ],
)
def test_a_bad_manifest_is_refused_in_words(cluster: Any, manifest: str, said: str) -> None:
    run = cluster.kubectl_run("create", "-f", "-", input_text=manifest)
    assert run.returncode != 0
    assert said in run.stderr
    assert "Traceback" not in run.stderr


def test_objects_survive_down_and_up(cluster: Any, waiting: Waiting) -> None:
    cluster.kubectl("create", "configmap", "kept", "--from-literal=a=b")
    cluster.kubectl("create", "deployment", "keeper", *SLEEPER)
    cluster.rolled_out("keeper")
    cluster.down()
    assert cluster.oarlock("status", check=False).returncode != 0
    cluster.up("--single")
    assert cluster.get("configmap", "kept")["data"] == {"a": "b"}
    waiting(lambda: ready_replicas(cluster, "keeper") == 1)
