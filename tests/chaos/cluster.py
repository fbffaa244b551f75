"""Store replicas as processes on hosts of their own, with small disks."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import sys
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

from chaos.network import Network, run
from harness.authority import Authority

from oarlock.consensus.certificates import NAME_PREFIX, Tls

PEER_PORT = 7001
CLIENT_PORT = 7000
DISK_MIB = 96
SNAPSHOT_AFTER_BYTES = 256 << 10
START_S = 30.0
RUNNER = Path(__file__).parent / "replica.py"


class Refused(Exception):
    """A replica ended instead of serving; the message is what it said."""


@dataclass(slots=True)
class Host:
    """One replica's machine."""

    name: str
    folder: Path
    process: asyncio.subprocess.Process | None = None
    paused: bool = False
    starts: int = 0
    settings: dict[str, object] = field(default_factory=dict)

    @property
    def disk(self) -> Path:
        return self.folder / "disk"

    @property
    def data(self) -> Path:
        return self.disk / "data"

    @property
    def log(self) -> Path:
        return self.folder / "log"

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.returncode is None


class Cluster:
    """Replicas a, b, c …; `tls` is a client's certificate. `sabotage` breaks them on purpose."""

    def __init__(self, folder: Path, size: int, sabotage: str = "") -> None:
        self._sabotage = sabotage
        self.names = list("abcdefg"[:size])
        self.network = Network(self.names)
        self.hosts = {name: Host(name, folder / name) for name in self.names}
        self._authority = Authority(folder / "certificates")
        self.tls: Tls = self._authority.issue("chaos", ["system:masters"])

    @property
    def endpoints(self) -> list[str]:
        return [f"{self.network.address(name)}:{CLIENT_PORT}" for name in self.names]

    def lives(self, name: str) -> int:
        """Tell how often a replica has been started."""
        return self.hosts[name].starts

    async def start(self) -> None:
        await self.network.open()
        for host in self.hosts.values():
            host.disk.mkdir(parents=True)
            await run("mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m", "tmpfs", str(host.disk))
            self._configure(host)
        await asyncio.gather(*(self.boot(name) for name in self.names))

    async def stop(self) -> None:
        """End all processes and remove disks and network, each whatever becomes of the others."""
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self.network.close)
            for host in self.hosts.values():
                stack.push_async_callback(run, "umount", str(host.disk), missing_ok=True)
            for name in self.names:
                stack.push_async_callback(self.kill, name)

    def _configure(self, host: Host) -> None:
        tls = self._authority.issue(NAME_PREFIX + host.name, ["system:oarlock:stores"], file=host.name)
        told = {
            "name": host.name,
            "members": {name: (self.network.address(name), PEER_PORT) for name in self.names},
            "data_dir": str(host.data),
            "cluster_id": "chaos",
            "host": self.network.address(host.name),
            "port": CLIENT_PORT,
            "tls": [str(tls.ca_file), str(tls.cert_file), str(tls.key_file)],
            "snapshot_after_bytes": SNAPSHOT_AFTER_BYTES,
            "sabotage": self._sabotage,
        }
        (host.folder / "settings.json").write_text(json.dumps(told))

    async def boot(self, name: str) -> None:
        """Start a replica that doesn't run; return once it serves. Raises Refused."""
        host = self.hosts[name]
        if host.running:
            return
        space = self.network.namespace(name)
        said_before = host.log.stat().st_size if host.log.exists() else 0
        command = ("ip", "netns", "exec", space, sys.executable, str(RUNNER), str(host.folder / "settings.json"))
        with host.log.open("ab") as log:
            host.starts += 1
            host.process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, stderr=log)
        assert host.process.stdout is not None
        async with asyncio.timeout(START_S):
            line = await host.process.stdout.readline()
        if line.strip() != b"ready":
            await host.process.wait()
            raise Refused(host.log.read_bytes()[said_before:].decode(errors="replace"))

    async def kill(self, name: str) -> None:
        """Kill it as by kill -9."""
        host = self.hosts[name]
        if host.process is not None and host.running:
            host.process.kill()
            await host.process.wait()
        host.paused = False

    async def ended(self, name: str, limit_s: float) -> bool:
        """Wait until a replica has ended by itself, at most so long; return whether it has."""
        process = self.hosts[name].process
        if process is None:
            return True
        try:
            async with asyncio.timeout(limit_s):
                await process.wait()
        except TimeoutError:
            return False
        return True

    def pause(self, name: str) -> None:
        self._signal(name, signal.SIGSTOP, paused=True)

    def resume(self, name: str) -> None:
        self._signal(name, signal.SIGCONT, paused=False)

    def _signal(self, name: str, number: signal.Signals, *, paused: bool) -> None:
        host = self.hosts[name]
        if host.process is not None and host.running:
            host.process.send_signal(number)
            host.paused = paused

    def fill_disk(self, name: str) -> None:
        """Leave no byte of the replica's disk free."""
        with (self.hosts[name].disk / "ballast").open("wb", buffering=0) as ballast:
            block = bytes(1 << 16)
            try:
                while ballast.write(block) == len(block):
                    pass
            except OSError:
                return

    def free_disk(self, name: str) -> None:
        (self.hosts[name].disk / "ballast").unlink(missing_ok=True)

    def move_folder_away(self, name: str) -> None:
        """Do what the message of a damaged file advises."""
        shutil.rmtree(self.hosts[name].data)

    def journal(self, name: str) -> Path:
        """Return the newest segment of a replica's journal."""
        return max((self.hosts[name].data / "journal").glob("*.log"))

    def snapshot(self, name: str) -> Path | None:
        """Return the newest snapshot of a replica."""
        return max(self.hosts[name].data.rglob("*.snapshot"), default=None, key=lambda path: path.stat().st_mtime)
