"""Three members of one store on this machine, with mutual TLS and their data in a temporary folder.

`OarlockTrio` and `EtcdTrio` differ only in the program: certificates of one kind, one filesystem, loopback ports.
"""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from oarlock.cluster.boot.pki import MASTERS, Authority, CertificateFiles

MEMBERS = ("store-1", "store-2", "store-3")
HOSTS = ("127.0.0.1", "localhost")
ETCD_QUOTA_BYTES = 8 << 30


class Trio(ABC):
    """Three processes that can be killed and started again; `client` is the certificate that they serve."""

    system = ""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        authority = Authority(folder)
        self.certificates = {
            name: authority.issue(name, f"system:oarlock:store:{name}", (MASTERS,), HOSTS) for name in MEMBERS
        }
        self.client = authority.issue("client", "bench", (MASTERS,))
        ports = free_ports(2 * len(MEMBERS))
        self.client_ports = dict(zip(MEMBERS, ports[::2], strict=True))
        self.peer_ports = dict(zip(MEMBERS, ports[1::2], strict=True))
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def endpoints(self) -> dict[str, tuple[str, int]]:
        """Where each member listens for clients."""
        return {name: ("127.0.0.1", port) for name, port in self.client_ports.items()}

    @property
    def pids(self) -> dict[str, int]:
        return {name: process.pid for name, process in self._running.items()}

    def start(self, name: str) -> None:
        with (self.folder / f"{name}.log").open("ab") as log:
            self._running[name] = subprocess.Popen(
                self.command(name), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    def kill(self, name: str) -> None:
        """End a member with no warning; its data stays."""
        process = self._running.pop(name)
        process.send_signal(signal.SIGKILL)
        process.wait()

    def stop(self) -> None:
        """End all members at once: nobody reads their data again."""
        for name in list(self._running):
            self.kill(name)

    def rss_bytes(self) -> int:
        """Return the resident memory of the members, files that they have mapped included."""
        return sum(psutil.Process(pid).memory_info().rss for pid in self.pids.values())

    def private_bytes(self) -> int:
        """Return the resident memory of the members that is theirs alone: what no page cache can take back."""
        return sum(_status_kib(pid, "RssAnon:") * 1024 for pid in self.pids.values())

    @abstractmethod
    def command(self, name: str) -> list[str]:
        """Return the program and its arguments for one member."""

    @abstractmethod
    def version(self) -> str:
        """Return what is measured, by name and version."""


class OarlockTrio(Trio):
    system = "Oarlock"

    def command(self, name: str) -> list[str]:
        settings = {
            "name": name,
            "members": {member: ("127.0.0.1", port) for member, port in self.peer_ports.items()},
            "data_dir": str(self.folder / name),
            "cluster_id": "bench",
            "host": "127.0.0.1",
            "port": self.client_ports[name],
            "tls": tls_settings(self.certificates[name]),
        }
        file = self.folder / f"{name}.json"
        file.write_text(json.dumps(settings))
        return [sys.executable, "-m", "oarlock.cluster.boot.process", "store", str(file)]

    def version(self) -> str:
        """Name the commit, and whether the code differs from it; what the benchmarks write into docs/ doesn't count."""
        commit = _git("rev-parse", "--short=10", "HEAD") or "of no commit"
        changed = _git("status", "--porcelain", "--untracked-files=no", "--", ":/", ":(exclude,top)docs")
        return f"Oarlock {commit}{'-dirty' if changed else ''}"


def _git(*arguments: str) -> str:
    here = Path(__file__).parent
    done = subprocess.run(["git", *arguments], cwd=here, capture_output=True, text=True, check=False)
    return done.stdout.strip()


class EtcdTrio(Trio):
    """etcd with its defaults (fsync of every WAL batch among them) but for a quota that a bench can't fill."""

    system = "etcd"

    def command(self, name: str) -> list[str]:
        files = self.certificates[name]
        client = f"https://127.0.0.1:{self.client_ports[name]}"
        peer = f"https://127.0.0.1:{self.peer_ports[name]}"
        cluster = ",".join(f"{member}=https://127.0.0.1:{port}" for member, port in self.peer_ports.items())
        settings = {
            "name": name,
            "data-dir": self.folder / name,
            "listen-client-urls": client,
            "advertise-client-urls": client,
            "listen-peer-urls": peer,
            "initial-advertise-peer-urls": peer,
            "initial-cluster": cluster,
            "initial-cluster-token": "bench",
            "quota-backend-bytes": ETCD_QUOTA_BYTES,
            "logger": "zap",
            "log-outputs": "stderr",
            "log-level": "warn",
        }
        for prefix in ("", "peer-"):
            settings |= {f"{prefix}trusted-ca-file": files.ca, f"{prefix}client-cert-auth": "true"}
            settings |= {f"{prefix}cert-file": files.cert, f"{prefix}key-file": files.key}
        return ["etcd", *(f"--{key}={value}" for key, value in settings.items())]

    def version(self) -> str:
        lines = subprocess.run(["etcd", "--version"], capture_output=True, text=True, check=True).stdout.splitlines()
        facts = dict(line.split(": ", 1) for line in lines if ": " in line)
        return f"etcd {facts['etcd Version']} ({facts['Go Version']})"


@contextmanager
def trio(kind: type[Trio]) -> Iterator[Trio]:
    """Run three members; they and their data are gone afterwards."""
    with tempfile.TemporaryDirectory(prefix=f"bench-{kind.system}-") as folder:
        running = kind(Path(folder))
        try:
            for name in MEMBERS:
                running.start(name)
            yield running
        finally:
            running.stop()


def cpu_s(pid: int) -> float:
    """Return the CPU seconds of a process with all its threads, those that have ended too; to the nanosecond."""
    return time.clock_gettime((~pid << 3) | 2)  # the kernel's id of the CPU clock of a process


def tls_settings(files: CertificateFiles) -> dict[str, str]:
    return {"ca_file": str(files.ca), "cert_file": str(files.cert), "key_file": str(files.key)}


def free_ports(count: int) -> list[int]:
    """Return loopback ports that nobody listens on now."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]
    finally:
        for one in sockets:
            one.close()


def _status_kib(pid: int, name: str) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name))
