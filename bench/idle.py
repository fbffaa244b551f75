"""What a cluster costs when nobody uses it, and how soon it can be used."""

from __future__ import annotations

import subprocess
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

from bench.clusters import BenchCluster
from bench.report import table

SETTLE_S = 30.0
OBSERVE_S = 30.0
POD = ("create", "deployment", "first", "--image=host/sleep", "--", "sleep", "1000")


def measure() -> str:
    highly_available = _one("--port", "0")
    single = _one("--single")
    head = ("", "highly available", "`--single`")
    rows = [(key, highly_available[key], single[key]) for key in highly_available]
    parts = table(("part (highly available)", "PSS MiB"), _last_parts.most_common())
    return table(head, rows) + "\n\n" + parts


_last_parts: Counter[str] = Counter()


def _one(*flags: str) -> dict[str, float]:
    with tempfile.TemporaryDirectory(prefix="oarlock-bench-") as root:
        cluster = BenchCluster("bench-idle", Path(root))
        try:
            return _measure(cluster, flags)
        finally:
            cluster.oarlock("down", "--delete")


def _measure(cluster: BenchCluster, flags: tuple[str, ...]) -> dict[str, float]:
    """Bring the cluster up warm (a first time to fill caches) and a second time against the clock."""
    cluster.up(*flags)
    cluster.down()
    began = time.monotonic()
    starting = threading.Thread(target=cluster.up, args=("--fresh", *flags))
    starting.start()
    kubeconfig = cluster.folder.kubeconfig
    api_s = _until(began, lambda: _kubectl(kubeconfig, "get", "namespaces"))
    _until(began, lambda: _kubectl(kubeconfig, *POD))
    pod_s = _until(
        began, lambda: _kubectl(kubeconfig, "wait", "pod", "--all", "--for=jsonpath={.status.phase}=Running")
    )
    starting.join()
    time.sleep(SETTLE_S)  # the state that is measured is that of nothing happening
    before_s = cluster.cpu_s()
    time.sleep(OBSERVE_S)
    cpu_percent = (cluster.cpu_s() - before_s) / OBSERVE_S * 100
    sizes = cluster.pss_bytes()
    if "--single" not in flags:
        _last_parts.clear()
        for title, size in sizes.items():
            _last_parts[title.rpartition(" ")[0]] += round(size / 2**20)
    return {
        "API usable after (s)": api_s,
        "first pod Running after (s)": pod_s,
        "memory, PSS (MiB)": sum(sizes.values()) / 2**20,
        "CPU when idle (% of one core)": cpu_percent,
        "processes": len(sizes),
    }


def _until(began: float, attempt: object, within_s: float = 120.0) -> float:
    assert callable(attempt)
    while not attempt():
        if time.monotonic() - began > within_s:
            raise TimeoutError("the cluster did not come up")
        time.sleep(0.01)
    return time.monotonic() - began


def _kubectl(kubeconfig: Path, *arguments: str) -> bool:
    command = ["kubectl", "--kubeconfig", str(kubeconfig), *arguments]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0
