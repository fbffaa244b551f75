"""Streams through real kubectl: exec, attach, cp, port-forward, proxy and logs, over WebSocket and over SPDY."""

from __future__ import annotations

import hashlib
import json
import os
import pty
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest

WebSocket, Spdy = ("true", "false")

PODS = """
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec:
  containers:
  - name: web
    image: host/python3
    command: [python3, -m, http.server, "8080", --bind, $(POD_IP)]
    env: [{name: POD_IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}]
    ports: [{containerPort: 8080}]
    readinessProbe: {httpGet: {path: /, port: 8080}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Pod
metadata: {name: reader}
spec:
  containers:
  - {name: c, image: host/sh, stdin: true, stdinOnce: true, command: [sh, -c, 'while read x; do echo "got $x"; done']}
  restartPolicy: Never
"""


@pytest.fixture(scope="module")
def cluster(new_cluster: Callable[[str], Any]) -> Any:
    cluster = new_cluster("streams")
    cluster.up("--single")
    cluster.kubectl("apply", "-f", "-", input_text=PODS)
    cluster.kubectl("wait", "--for=condition=Ready", "pod/web", "pod/reader", "--timeout=30s")
    return cluster


@pytest.fixture(params=[WebSocket, Spdy], ids=["websocket", "spdy"])
def transport(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", request.param)
    monkeypatch.setenv("KUBECTL_PORT_FORWARD_WEBSOCKETS", request.param)
    return str(request.param)


@contextmanager
def running(cluster: Any, *arguments: str, **streams: Any) -> Iterator[subprocess.Popen[bytes]]:
    """A kubectl that runs while the context lasts."""
    environment = {**os.environ, "KUBECONFIG": str(cluster.kubeconfig), "HOME": str(cluster.folder)}
    process = subprocess.Popen([cluster.kubectl_path, *arguments], env=environment, **streams)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@contextmanager
def forwarded(cluster: Any, target: str, port: int) -> Iterator[str]:
    """Yield the URL at which a port of the target is reachable."""
    with running(cluster, "port-forward", target, f":{port}", stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        line = process.stdout.readline().decode()
        assert line.startswith("Forwarding from 127.0.0.1:"), line
        yield f"http://127.0.0.1:{line.split(':')[1].split()[0]}"


def get(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return bytes(answer.read())


def test_exec_has_both_outputs_and_the_exit_code(cluster: Any, transport: str) -> None:
    run = cluster.kubectl_run("exec", "web", "--", "sh", "-c", "echo out; echo err >&2; exit 3")
    assert (run.returncode, run.stdout) == (3, "out\n")
    assert run.stderr == "err\ncommand terminated with exit code 3\n"


def test_exec_passes_input_on_to_its_end(cluster: Any, transport: str) -> None:
    text = "".join(f"line {number}\n" for number in range(20_000))
    assert cluster.kubectl("exec", "-i", "web", "--", "cat", input_text=text) == text


def test_exec_on_a_terminal(cluster: Any, transport: str) -> None:
    ours, theirs = pty.openpty()
    command = ["exec", "-it", "web", "--", "sh", "-c", "test -t 0 && read answer && echo they said $answer"]
    with running(cluster, *command, stdin=theirs, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        os.write(ours, b"yes\n")
        shown = b""
        while b"they said yes" not in shown:
            shown += os.read(ours, 4096)
        assert process.wait(20) == 0
    os.close(ours)


def test_a_command_that_is_not_there_is_told(cluster: Any, transport: str) -> None:
    run = cluster.kubectl_run("exec", "web", "--", "nosuchprogram")
    assert run.returncode == 1
    assert 'exec: "nosuchprogram": executable file not found in $PATH' in run.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nopod", "--", "ls"], 'Error from server (NotFound): pods "nopod" not found'),
        (["web", "-c", "nope", "--", "ls"], "container nope is not valid for pod web"),
    ],
)
def test_exec_where_nothing_runs_is_refused(cluster: Any, transport: str, arguments: list[str], said: str) -> None:
    run = cluster.kubectl_run("exec", *arguments)
    assert run.returncode == 1
    assert said in run.stderr


def test_cp_both_ways(cluster: Any, tmp_path: Path) -> None:
    content = os.urandom(3_000_000)
    (tmp_path / "here").write_bytes(content)
    cluster.kubectl("cp", str(tmp_path / "here"), "web:there")
    cluster.kubectl("cp", "web:there", str(tmp_path / "back"))
    assert (tmp_path / "back").read_bytes() == content


def test_attach_feeds_a_container_that_reads_once(cluster: Any) -> None:
    assert "got hello\n" in cluster.kubectl("attach", "-i", "reader", input_text="hello\n")
    cluster.kubectl("wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/reader", "--timeout=20s")
    assert cluster.kubectl("logs", "reader") == "got hello\n"


def test_run_and_remove_like_a_command(cluster: Any) -> None:
    flags = ("--image=host/cat", "--restart=Never", "--rm", "-i", "-q")
    assert cluster.kubectl("run", "once", *flags, input_text="through the pod\n") == "through the pod\n"
    assert "not found" in cluster.kubectl_run("get", "pod", "once").stderr


def test_port_forward(cluster: Any, transport: str) -> None:
    cluster.kubectl("exec", "web", "--", "sh", "-c", "head -c 1000000 /dev/zero > zeros; echo here > page")
    with forwarded(cluster, "pod/web", 8080) as url:
        assert [get(f"{url}/page") for _ in range(3)] == [b"here\n"] * 3
        assert hashlib.sha256(get(f"{url}/zeros")).digest() == hashlib.sha256(bytes(1_000_000)).digest()
    with forwarded(cluster, "service/web", 80) as url:
        assert get(f"{url}/page") == b"here\n"


def test_a_port_nobody_listens_on_is_told(cluster: Any, transport: str) -> None:
    with running(cluster, "port-forward", "pod/web", ":9", stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        port = process.stdout.readline().decode().split(":")[1].split()[0]
        with pytest.raises((URLError, ConnectionError)):
            get(f"http://127.0.0.1:{port}/")
        assert "connect: connection refused" in process.stderr.readline().decode()


@pytest.mark.parametrize("name", ["pods/web", "pods/http:web:8080", "services/web:http", "services/http:web:80"])
def test_proxy_to_pods_and_services(cluster: Any, name: str) -> None:
    cluster.kubectl("exec", "web", "--", "sh", "-c", "mkdir -p sub; echo '<a href=\"/x\">' > sub/index.html")
    root = f"/api/v1/namespaces/default/{name}/proxy"
    assert cluster.kubectl("get", "--raw", f"{root}/sub/") == f'<a href="{root}/x">\n'


def test_proxy_to_the_node(cluster: Any) -> None:
    node = cluster.get("nodes")["items"][0]["metadata"]["name"]
    assert cluster.kubectl("get", "--raw", f"/api/v1/nodes/{node}/proxy/healthz") == "ok"
    pods = json.loads(cluster.kubectl("get", "--raw", f"/api/v1/nodes/{node}:10250/proxy/pods"))
    assert "web" in {pod["metadata"]["name"] for pod in pods["items"]}


def test_log_options(cluster: Any) -> None:
    cluster.kubectl("run", "talker", "--image=host/sh", "--restart=Never", "--", "-c", "echo one; echo two; echo three")
    cluster.kubectl("wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/talker", "--timeout=20s")
    assert cluster.kubectl("logs", "talker", "--tail=2") == "two\nthree\n"
    assert cluster.kubectl("logs", "talker", "--limit-bytes=5") == "one\nt"
    assert cluster.kubectl("logs", "talker", "--since-time=2020-01-01T00:00:00Z", "-f") == "one\ntwo\nthree\n"
    assert cluster.kubectl("logs", "talker", "--timestamps").split()[1::2] == ["one", "two", "three"]
    refused = cluster.kubectl_run("get", "--raw", "/api/v1/namespaces/default/pods/talker/log?limitBytes=0")
    assert "limitBytes: Invalid value: 0: must be greater than 0" in refused.stderr
    assert "previous terminated container" in cluster.kubectl_run("logs", "-p", "talker").stderr
