"""Facts about this machine, in the words of a Node's status."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

from oarlock.cluster.kubelet.settings import KUBELET_VERSION

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def architecture() -> str:
    """Return the machine's architecture by Go's name."""
    return ARCHITECTURES.get(platform.machine(), platform.machine())


def capacity(root: Path, pods_max: int) -> dict[str, str]:
    """Return how much of each resource there is; storage is that of the file system of `root`."""
    disk = os.statvfs(root)
    return {
        "cpu": str(len(os.sched_getaffinity(0))),
        "memory": f"{_memory_kib()}Ki",
        "ephemeral-storage": f"{disk.f_blocks * disk.f_frsize // 1024}Ki",
        "pods": str(pods_max),
        "hugepages-1Gi": "0",
        "hugepages-2Mi": "0",
    }


def node_info(runtime_version: str) -> dict[str, Any]:
    """Return status.nodeInfo."""
    return {
        "machineID": _read("/etc/machine-id"),
        "systemUUID": _read("/sys/class/dmi/id/product_uuid"),
        "bootID": _read("/proc/sys/kernel/random/boot_id"),
        "kernelVersion": platform.release(),
        "osImage": _os_image(),
        "containerRuntimeVersion": runtime_version,
        "kubeletVersion": KUBELET_VERSION,
        "kubeProxyVersion": "",
        "operatingSystem": "linux",
        "architecture": architecture(),
    }


def _memory_kib() -> int:
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1])
    return 0


def _os_image() -> str:
    for line in _read("/etc/os-release").splitlines():
        if line.startswith("PRETTY_NAME="):
            return line.partition("=")[2].strip('"')
    return "Linux"


def _read(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""
