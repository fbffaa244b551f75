"""Nobody notices that a cluster's processes are replaced one by one: no request fails, no container is started anew."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from bench.api_traffic import ApiTraffic, kubectl
from oarlock.cluster.boot.network import free_ports
from oarlock.cluster.client.kubeconfig import load
from oarlock.cluster.client.settings import ClientSettings

pytestmark = [pytest.mark.thorough, pytest.mark.ray, pytest.mark.chaos, pytest.mark.timeout(900)]
CLIENTS = 4
HAPROXY_FLAGS = ("--connections", "200", "--checks", "40")
"""A machine that runs all of this at once keeps checks waiting for longer than an operator would let it."""
UP_SIGNS = 'haproxy_server_check_status{proxy="apiservers",server="%s",state="L7OK"} 1'


@dataclass(frozen=True)
class Fronts:
    """A running cluster, and the two ways to it."""

    cluster: Any
    balancer: ClientSettings
    haproxy: ClientSettings

    def traffic(self, tool: str, *fronts: ClientSettings) -> ApiTraffic:
        command = kubectl(tool, self.cluster.kubeconfig, self.cluster.folder, fronts[-1].server)
        return ApiTraffic(fronts, CLIENTS, command)

    def parts(self, kind: str) -> list[dict[str, Any]]:
        return [part for part in self.cluster.status() if part["kind"] == kind]


@pytest.fixture(scope="module")
def fronts(
    new_cluster: Callable[[str], Any], tool: Callable[[str], str], waiting: Callable[..., Any]
) -> Iterator[Fronts]:
    program = tool("haproxy")
    cluster = new_cluster("restarts")
    cluster.up()
    own = load(cluster.kubeconfig)
    port, metrics = free_ports(2)
    where = ("--bind", f"127.0.0.1:{port}", "--metrics", f"127.0.0.1:{metrics}")
    text = cluster.oarlock("haproxy-config", *where, *HAPROXY_FLAGS).stdout
    with haproxy(program, cluster.folder / "haproxy.cfg", text):
        waiting(lambda: all(UP_SIGNS % f"apiserver-{number}" in scraped(metrics) for number in (1, 2)))
        yield Fronts(cluster, own, replace(own, server=f"https://127.0.0.1:{port}"))


@contextmanager
def haproxy(program: str, file: Path, text: str) -> Iterator[None]:
    file.write_text(text)
    with file.with_suffix(".log").open("wb") as log:
        process = subprocess.Popen([program, "-db", "-f", str(file)], stdout=log, stderr=log)
    try:
        yield
    finally:
        process.kill()
        process.wait()


def scraped(port: int) -> str:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            return str(answer.read().decode())
    except OSError:
        return ""


def told(traffic: ApiTraffic) -> str:
    return "\n".join([f"{len(traffic.failures)} of {len(traffic.times_s)} and more requests:", *traffic.failures[:20]])


def under(traffic: ApiTraffic, step: Callable[[], object]) -> None:
    """Do the step while the clients go round."""

    async def scenario() -> None:
        async with traffic.flowing():
            await asyncio.to_thread(step)

    asyncio.run(scenario())


def test_no_request_fails_while_all_api_servers_are_restarted_twice(fronts: Fronts, tool: Callable[[str], str]) -> None:
    before = {part["pid"] for part in fronts.parts("apiserver")}
    traffic = fronts.traffic(tool("kubectl"), fronts.balancer, fronts.haproxy)

    def step() -> None:
        for _ in range(2):
            fronts.cluster.oarlock("restart", "apiserver", timeout_s=300)

    under(traffic, step)
    assert not before & {part["pid"] for part in fronts.parts("apiserver")}
    assert traffic.commands
    assert len(traffic.written) > 100
    assert not traffic.failures, told(traffic)
    assert traffic.broken_watches == 0, "each watch was ended in order"


def test_no_write_fails_and_no_container_stops_while_everything_is_restarted(
    fronts: Fronts, tool: Callable[[str], str], waiting: Callable[..., Any]
) -> None:
    cluster = fronts.cluster
    cluster.kubectl("create", "deployment", "sleeper", "--image=host/sleep", "--replicas=2", "--", "sleep", "1000")
    cluster.rolled_out("sleeper")
    containers, parts = running(cluster), {part["name"]: part["pid"] for part in cluster.status()}
    traffic = fronts.traffic(tool("kubectl"), fronts.balancer)
    printed: list[str] = []
    under(traffic, lambda: printed.append(cluster.oarlock("restart", timeout_s=600).stdout))
    after = {part["name"]: part["pid"] for part in cluster.status()}
    assert parts.keys() == after.keys()
    assert not set(parts.values()) & set(after.values()), "every process is a new one"
    assert [line.split()[1] for line in printed[0].splitlines()][3:6] == ["apiserver-1", "apiserver-2", "balancer"]
    assert not traffic.failures, told(traffic)
    assert running(cluster) == containers
    cluster.kubectl("scale", "deployment/sleeper", "--replicas=3")
    cluster.rolled_out("sleeper")


def running(cluster: Any) -> dict[str, tuple[int, bool]]:
    """Return each container of the example with how often it was started, and whether it runs."""
    pods = cluster.get("pods", "-l", "app=sleeper")["items"]
    statuses = [status for pod in pods for status in pod["status"]["containerStatuses"]]
    return {one["containerID"]: (one["restartCount"], "running" in one["state"]) for one in statuses}


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_behind_haproxy_requests_and_a_watch_go_on_when_an_api_server_dies_or_hangs(
    fronts: Fronts, tool: Callable[[str], str], waiting: Callable[..., Any], number: signal.Signals
) -> None:
    cluster, name = fronts.cluster, f"seen-{number.name.lower()}"
    command = kubectl(tool("kubectl"), cluster.kubeconfig, cluster.folder, fronts.haproxy.server)
    seen = cluster.folder / name
    following = subprocess.Popen(
        ["sh", "-c", 'while :; do "$@" get configmaps --watch -o name >> "$0" 2>/dev/null; done', str(seen), *command],
        start_new_session=True,
    )
    victim = fronts.parts("apiserver")[0]
    try:
        waiting(lambda: seen.exists() and "kube-root-ca.crt" in seen.read_text())
        os.kill(victim["pid"], number)
        waiting(lambda: subprocess.run([*command, "create", "configmap", name], check=False).returncode == 0)
        for _ in range(10):
            waiting(lambda: subprocess.run([*command, "get", "configmap", name], check=False).returncode == 0)
        waiting(lambda: f"configmap/{name}" in seen.read_text())
    finally:
        os.killpg(following.pid, signal.SIGKILL)
        following.wait()
        if number is signal.SIGSTOP:
            os.kill(victim["pid"], signal.SIGCONT)
    waiting(lambda: all(part["state"] == "ready" for part in cluster.status()), 60)
