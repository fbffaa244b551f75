"""A cluster on several hosts, by the commands that people type; each host is a network namespace with its folders."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from chaos.network import Network

pytestmark = [pytest.mark.chaos, pytest.mark.thorough, pytest.mark.timeout(300)]
SERVERS = ("a", "b", "c")
COMMAND_S = 150
PROGRAM = """
import http.server, os
print("hello")
address = (os.environ["POD_IP"], 8080)
http.server.HTTPServer(address, http.server.SimpleHTTPRequestHandler).serve_forever()
"""
DEPLOYMENT = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "web"},
    "spec": {
        "replicas": 2,
        "selector": {"matchLabels": {"app": "web"}},
        "template": {
            "metadata": {"labels": {"app": "web"}},
            "spec": {
                "terminationGracePeriodSeconds": 1,
                "containers": [
                    {
                        "name": "web",
                        "image": "host/python3",
                        "command": ["python3", "-u", "-c"],
                        "args": [PROGRAM],
                        "env": [{"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
                        "readinessProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 1},
                    }
                ],
            },
        },
    },
}
SERVICE = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "web"},
    "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]},
}


class Hosts:
    """Namespaces on a bridge. A host's folders are short: sockets live in them."""

    def __init__(self, names: tuple[str, ...], kubectl: str) -> None:
        self.network = Network(names)
        self.names = names
        self.folder = Path(tempfile.mkdtemp(prefix="oh", dir="/tmp"))
        self._kubectl = kubectl

    def open(self) -> None:
        asyncio.run(self.network.open())
        for name in self.names:
            (self.folder / name / "t").mkdir(parents=True)

    def close(self) -> None:
        for name in self.names:
            self.kill(name)
        asyncio.run(self.network.close())
        shutil.rmtree(self.folder, ignore_errors=True)

    def start(self, host: str, *arguments: str) -> subprocess.Popen[str]:
        home = self.folder / host
        environment = {**os.environ, "HOME": str(home), "TMPDIR": str(home / "t"), "KUBECONFIG": str(home / "config")}
        program = [sys.executable, "-m", "oarlock.cluster.boot.main", arguments[0], "--state", str(home / "s")]
        return subprocess.Popen(
            ["ip", "netns", "exec", self.network.namespace(host), *program, *arguments[1:]],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment,
        )

    def said(self, process: subprocess.Popen[str], status: int = 0) -> str:
        """Return what a command printed; fail unless it ended with that status."""
        text, _ = process.communicate(timeout=COMMAND_S)
        assert process.returncode == status, f"{text}\n{self.logs()}"
        return text

    def run(self, host: str, *arguments: str, status: int = 0) -> str:
        return self.said(self.start(host, *arguments), status)

    def kill(self, host: str) -> int:
        """End every process of the host at once, as the loss of its power would; return how many there were."""
        listed = subprocess.run(
            ["ip", "netns", "pids", self.network.namespace(host)], capture_output=True, text=True, check=False
        )
        pids = [int(pid) for pid in listed.stdout.split()]
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        return len(pids)

    def kubectl(self, host: str, *arguments: str, text: str | None = None) -> str:
        """Ask at that server's address, from beside the hosts."""
        run = self.try_kubectl(host, *arguments, text=text)
        assert run.returncode == 0, f"kubectl {arguments}: {run.stdout}{run.stderr}\n{self.logs()}"
        return run.stdout

    def try_kubectl(self, host: str, *arguments: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
        config = self.folder / host / "s" / "admin.kubeconfig"
        command = [self._kubectl, "--kubeconfig", str(config), "--request-timeout=5s", *arguments]
        return subprocess.run(command, capture_output=True, text=True, input=text, timeout=60, check=False)

    def get(self, host: str, *arguments: str) -> Any:
        run = self.try_kubectl(host, "get", *arguments, "-o", "json")
        return json.loads(run.stdout) if run.returncode == 0 else None

    def ready_nodes(self, host: str) -> list[str]:
        found = self.get(host, "nodes") or {"items": []}
        return sorted(node["metadata"]["name"] for node in found["items"] if _is_ready(node))

    def running(self, host: str) -> list[str]:
        """Return the nodes on which pods of the Deployment are ready."""
        found = self.get(host, "pods", "-l", "app=web") or {"items": []}
        return [pod["spec"]["nodeName"] for pod in found["items"] if _is_ready(pod)]

    def holder(self, host: str, lease: str) -> str:
        run = self.try_kubectl(host, "get", "--raw", f"/oarlock/v1/leases/{lease}")
        return str(json.loads(run.stdout).get("holder") or "") if run.returncode == 0 else ""

    def answers(self, host: str, address: str) -> bool:
        """Tell whether a server answers HTTP to that host."""
        read = f"import urllib.request; urllib.request.urlopen('http://{address}/', timeout=2)"
        command = ["ip", "netns", "exec", self.network.namespace(host), sys.executable, "-c", read]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    def routes(self, host: str) -> str:
        """Return the routes to pods that there are on a host."""
        command = ["ip", "-n", self.network.namespace(host), "route", "show", "table", "all", "proto", "200"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    def logs(self) -> str:
        logs = sorted(self.folder.glob("*/s/logs/*.log"))
        return "\n".join(f"--- {log}\n" + "\n".join(log.read_text(errors="replace").splitlines()[-6:]) for log in logs)


def _is_ready(item: dict[str, Any]) -> bool:
    conditions = (item.get("status") or {}).get("conditions") or []
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


def eventually(condition: Callable[[], Any], hosts: Hosts, within_s: float = 60.0) -> Any:
    """Return the first true value; for what other programs do there is nothing to await."""
    deadline = time.monotonic() + within_s
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {within_s} s; last: {value!r}\n{hosts.logs()}"
        time.sleep(0.2)
    return value


@pytest.fixture
def hosts(tool: Callable[[str], str]) -> Iterator[Hosts]:
    tool("ip")
    if os.geteuid() != 0:
        (pytest.fail if os.environ.get("OARLOCK_REQUIRE_TOOLS") else pytest.skip)("only root can make namespaces")
    made = Hosts((*SERVERS, "w"), tool("kubectl"))
    try:
        made.open()
        yield made
    finally:
        made.close()


def test_three_servers_and_a_node_outlive_the_loss_of_one(hosts: Hosts) -> None:
    listed = ",".join(f"{name}={hosts.network.address(name)}" for name in SERVERS)
    founded = hosts.run("a", "server", "--hosts", listed)
    assert "The API answers once 1 more of b, c has joined" in founded
    server, node = (
        re.findall(rf"oarlock {role} (--join \S+ --token \S+)", founded)[0].split() for role in ("server", "node")
    )

    joining = [hosts.start(name, "server", *server) for name in ("b", "c")]
    for process in joining:
        hosts.said(process)
    assert "is a node at" in hosts.run("w", "node", *node, "--host", "w")
    eventually(lambda: hosts.ready_nodes("b") == ["a", "b", "c", "w"], hosts)

    hosts.kubectl("c", "apply", "-f", "-", text=json.dumps(DEPLOYMENT))
    eventually(lambda: len(hosts.running("c")) == 2, hosts)
    for pod in hosts.get("c", "pods", "-l", "app=web")["items"]:
        eventually(lambda name=pod["metadata"]["name"]: "hello\n" in hosts.kubectl("c", "logs", name), hosts)
    hosts.kubectl("c", "apply", "-f", "-", text=json.dumps(SERVICE))
    address = hosts.get("c", "service", "web")["spec"]["clusterIP"]
    for host in hosts.names:
        eventually(lambda host=host: hosts.answers(host, address), hosts)

    assert hosts.kill("a") > 5
    eventually(lambda: hosts.try_kubectl("b", "create", "configmap", "written-meanwhile").returncode == 0, hosts)
    eventually(lambda: hosts.try_kubectl("b", "scale", "deployment/web", "--replicas=4").returncode == 0, hosts)
    eventually(lambda: len([one for one in hosts.running("b") if one != "a"]) == 4, hosts)
    for host in ("b", "c", "w"):
        eventually(lambda host=host: hosts.answers(host, address), hosts)
    for lease in ("kube-scheduler", "kube-controller-manager", "gcs"):
        assert hosts.holder("c", lease)

    assert re.search(r"^a +host +unreachable", hosts.run("b", "status", status=1), re.MULTILINE)

    assert "The API answers at" in hosts.run("a", "server")
    eventually(lambda: hosts.ready_nodes("a") == ["a", "b", "c", "w"], hosts)
    assert hosts.get("a", "configmap", "written-meanwhile")
    stopping = [hosts.start(name, "down") for name in hosts.names]
    for process in stopping:
        hosts.said(process)
    assert [name for name in hosts.names if hosts.kill(name)] == []
    assert [name for name in hosts.names if hosts.routes(name)] == []
