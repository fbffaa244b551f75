"""A cluster on several hosts of this machine: a server and nodes in network namespaces on a bridge. Needs root.

with Hosts(folder, kubectl, ["a", "b"]) as hosts:
    ... hosts.kubectl("get", "nodes"); hosts.on("a", "ip", "route"); hosts.nodes["a"].stop() ...
"""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from chaos.network import Network
from harness.kubectl import Kubectl

from oarlock.cluster.boot import kubeconfig
from oarlock.cluster.boot.components import CONTROLLERS, components
from oarlock.cluster.boot.pki import MASTERS, Authority, CertificateFiles
from oarlock.cluster.kubelet.process import kill_all

SERVER = "s"
PORT = 6443
CLUSTER_CIDR, SERVICE_CIDR, FIRST_SERVICE_IP = "10.42.0.0/16", "10.43.0.0/16", "10.43.0.1"
LEASE_TTL_MS = 3_000
START_S = 60.0


class Part:
    """A process on one of the hosts, with a log."""

    def __init__(self, name: str, namespace: str, folder: Path, command: Sequence[str]) -> None:
        self._command = ["ip", "netns", "exec", namespace, sys.executable, *command]
        self._log = folder / f"{name}.log"
        self._process: subprocess.Popen[str] | None = None

    def start(self, *, until: str = "") -> None:
        """Start it; return once it has printed the line `until`."""
        with self._log.open("a") as log:
            self._process = subprocess.Popen(self._command, stdout=subprocess.PIPE, stderr=log, text=True)
        assert self._process.stdout is not None
        if until and self._process.stdout.readline().strip() != until:
            raise AssertionError(self.log())

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """End it if it runs; return once it has ended."""
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(timeout=START_S)
            self._process = None

    def log(self) -> str:
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-40:])


class Hosts:
    """The server's host has store, API server, controllers and scheduler; each node's has an agent."""

    def __init__(self, folder: Path, kubectl_path: str, names: Sequence[str]) -> None:
        self._folder, self._kubectl_path = folder, kubectl_path
        self.network = Network([SERVER, *names])
        (folder / "pki").mkdir(mode=0o700)
        self._authority = Authority(folder / "pki")
        here = [str(Path(__file__).with_name("single_process.py"))]
        self.server = self._part(SERVER, here, self._server())
        agent = ["-m", "oarlock.cluster.boot.process", "agent"]
        self.nodes = {name: self._part(name, agent, self._agent(name)) for name in names}
        self.kubectl: Kubectl

    def __enter__(self) -> Self:
        try:
            asyncio.run(self.network.open())
            self.server.start(until="ready")
            for node in self.nodes.values():
                node.start()
        except BaseException:
            self.__exit__()
            raise
        self.kubectl = Kubectl(self._kubectl_path, self._kubeconfig(), self._folder)
        return self

    def __exit__(self, *_: object) -> None:
        for name, node in self.nodes.items():
            node.stop()
            kill_all(self.root(name))
        self.server.stop()
        asyncio.run(self.network.close())

    @property
    def python(self) -> str:
        """An interpreter that has this project."""
        return sys.executable

    def root(self, name: str) -> Path:
        """The folder of a node's agent."""
        return self._folder / "nodes" / name

    def on(self, name: str, *command: str) -> str:
        """Run a command on a host; return what it printed. Raises with what it said if it fails."""
        whole = ["ip", "netns", "exec", self.network.namespace(name), *command]
        done = subprocess.run(whole, capture_output=True, text=True, timeout=START_S, check=False)
        assert done.returncode == 0, f"{command} on {name}: {done.stdout}{done.stderr}"
        return done.stdout

    def logs(self) -> str:
        parts = {"server": self.server, **self.nodes}
        return "\n".join(f"--- {name}\n{part.log()}" for name, part in parts.items())

    def _part(self, name: str, command: Sequence[str], settings: dict[str, Any]) -> Part:
        file = self._folder / f"{name}.json"
        file.write_text(json.dumps(settings))
        return Part(name, self.network.namespace(name), self._folder, [*command, str(file)])

    def _server(self) -> dict[str, Any]:
        address = self.network.address(SERVER)
        names = [address, "localhost", "kubernetes.default.svc", FIRST_SERVICE_IP]
        return {
            "cluster_id": "hosts",
            "store": {
                "name": "store-1",
                "host": "127.0.0.1",
                "port": 7001,
                "data_dir": str(self._folder / "store"),
                "socket": str(self._folder / "socket"),
            },
            "apiserver": {
                "name": "apiserver",
                "host": address,
                "port": PORT,
                "store": [],
                "tls": _files(self._authority.issue("apiserver", "kube-apiserver", hosts=names)),
                "client_tls": self._client_tls("apiserver-client"),
                "service_account_key": str(self._authority.service_account_key()),
                "service_cidr": SERVICE_CIDR,
                "loopback_network": False,
                "token_file": None,
                "advertise": [address, PORT],
            },
            "components": [self._component(one) for one in components(())],
            "agents": [],
            "hollow": [],
        }

    def _component(self, hosted: Any) -> dict[str, Any]:
        tls = self._client_tls(hosted.name)
        settings = dict(hosted.settings)
        if hosted.kind == CONTROLLERS[2]:
            settings |= {"cluster_cidr": CLUSTER_CIDR, "ca_pem": Path(tls["ca_file"]).read_text()}
        return {
            "name": hosted.name,
            "factory": hosted.factory,
            "lease": hosted.lease,
            "lease_ttl_ms": LEASE_TTL_MS,
            "client": {"server": self._url, **tls},
            "settings": settings,
        }

    def _agent(self, name: str) -> dict[str, Any]:
        address = self.network.address(name)
        tls = _files(self._authority.issue(name, f"system:node:{name}", ["system:nodes", MASTERS], [address, name]))
        return {
            "name": name,
            "network": "routed",
            "ip": address,
            "port": 10250,
            "root": str(self.root(name)),
            "client": {"server": self._url, **tls},
            "tls": tls,
        }

    @property
    def _url(self) -> str:
        return f"https://{self.network.address(SERVER)}:{PORT}"

    def _client_tls(self, name: str) -> dict[str, str]:
        return _files(self._authority.issue(name, f"system:{name}", [MASTERS]))

    def _kubeconfig(self) -> Path:
        path = self._folder / "kubeconfig"
        files = self._authority.issue("admin", "admin", [MASTERS])
        kubeconfig.merge(path, "hosts", self._url, files)
        return path


def _files(files: CertificateFiles) -> dict[str, str]:
    return {"ca_file": str(files.ca), "cert_file": str(files.cert), "key_file": str(files.key)}
