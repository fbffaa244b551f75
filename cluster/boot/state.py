"""The state folder of one cluster: what is where, whose it is, and whether this version can use it."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from oarlock.cluster.boot.errors import BootError

FORMAT = 1
FREE_BYTES_MIN = 512 << 20
OURS = frozenset(
    {"admin.kubeconfig", "cluster.json", "host.json", "lock"}
    | {"logs", "nodes", "pki", "processes.json", "settings", "store"}
)
"""All that is ever made directly in a state folder: a folder with anything else in it is neither used nor deleted."""


@dataclass(frozen=True, slots=True)
class ClusterRecord:
    """What must stay the same from one `up` to the next; kept in cluster.json."""

    name: str
    cluster_id: str
    slot: int
    servers: int
    single: bool
    port: int
    ports: dict[str, int] = field(default_factory=dict)
    format: int = FORMAT
    kubeconfig: str = ""


def default_folder(name: str) -> Path:
    """Return where a cluster's state lives without --state. Source: XDG base directories."""
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(base) / "oarlock" / name


@dataclass(frozen=True, slots=True)
class StateFolder:
    """Paths of one cluster. `runtime`, for sockets, lies elsewhere: a socket's path has 107 bytes at most."""

    path: Path

    @property
    def record_file(self) -> Path:
        return self.path / "cluster.json"

    @property
    def host_file(self) -> Path:
        """Instead of cluster.json where the cluster is on several hosts."""
        return self.path / "host.json"

    @property
    def pki(self) -> Path:
        return self.path / "pki"

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    @property
    def settings(self) -> Path:
        return self.path / "settings"

    @property
    def store(self) -> Path:
        return self.path / "store"

    @property
    def nodes(self) -> Path:
        return self.path / "nodes"

    @property
    def kubeconfig(self) -> Path:
        """The cluster's own admin kubeconfig, beside the entry merged into the user's."""
        return self.path / "admin.kubeconfig"

    @property
    def runtime(self) -> Path:
        digest = hashlib.sha256(os.fsencode(self.path.resolve())).hexdigest()[:8]
        return Path(tempfile.gettempdir()) / f"oarlock-{os.getuid()}-{digest}"

    @property
    def control_socket(self) -> Path:
        return self.runtime / "control"

    @property
    def processes_file(self) -> Path:
        """The process ids that the supervisor has started, for a `down` after the supervisor's death."""
        return self.path / "processes.json"

    def create(self) -> None:
        """Make the folder and its rooms, readable by this user alone. Raises BootError if that can't be."""
        try:
            for folder in (self.path, self.pki, self.logs, self.settings, self.store, self.nodes):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.path.chmod(0o700)
        except OSError as error:
            raise BootError(
                f"the state folder {self.path} can't be made: {error.strerror}", "Choose another one: --state DIR."
            ) from None
        self.runtime.mkdir(mode=0o700, exist_ok=True)
        if self.runtime.stat().st_uid != os.getuid():
            raise BootError(f"{self.runtime} belongs to another user", "Remove it, or set TMPDIR to a folder of yours.")

    def check(self) -> None:
        """Raise BootError if the folder is another user's or no state folder, or its disk is nearly full."""
        choose = "Choose another one: --state DIR."
        try:
            present = next(path for path in (self.path, *self.path.parents) if path.exists())
            if not present.is_dir():
                raise BootError(f"{present} is not a folder", choose)
            if present == self.path and present.stat().st_uid != os.getuid():
                raise BootError(f"the state folder {self.path} belongs to another user", choose)
            strange = sorted(self._strangers())
            if strange:
                raise BootError(f"the folder {self.path} is no cluster's: it holds {strange[0]}", choose)
            free = shutil.disk_usage(present).free
        except OSError as error:
            raise BootError(f"the state folder {self.path} can't be used: {error.strerror}", choose) from None
        if free < FREE_BYTES_MIN:
            raise BootError(
                f"only {free >> 20} MiB are free on the disk of {self.path}, {FREE_BYTES_MIN >> 20} MiB are needed",
                "Free some space or choose a folder on another disk: --state DIR.",
            )

    def load(self) -> ClusterRecord | None:
        """Return the record of an earlier `up`, or None. Raises BootError on a folder of another version."""
        try:
            content = json.loads(self.record_file.read_bytes())
            version = content.get("format")
            if version == FORMAT:
                return ClusterRecord(**content)
        except FileNotFoundError:
            if self.path.is_dir() and any(self.store.glob("*/*")):
                raise BootError(
                    f"{self.path} holds a store but no cluster.json", "Restore it, or start anew: oarlock up --fresh."
                ) from None
            return None
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise BootError(
                f"{self.record_file} can't be read: {error}", "Restore it, or start anew: oarlock up --fresh."
            ) from None
        raise BootError(
            f"the state folder {self.path} has format {version}, this version of Oarlock reads format {FORMAT}",
            "Use the version that wrote it, another folder (--state DIR), or start anew: oarlock up --fresh.",
        )

    def save(self, record: ClusterRecord) -> None:
        write_private(self.record_file, json.dumps(asdict(record), indent=1).encode())

    def lock(self) -> int:
        """Hold the folder for one `up` or supervisor; the kernel frees it with the process. Raises BlockingIOError."""
        descriptor = os.open(self.path / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            raise
        return descriptor

    def remove(self) -> None:
        """Delete the folder, unless there is something in it that no cluster made."""
        if self.path.is_dir() and not any(self._strangers()):
            shutil.rmtree(self.path, ignore_errors=True)
        shutil.rmtree(self.runtime, ignore_errors=True)

    def _strangers(self) -> Iterator[str]:
        """Yield the names in the folder that are neither ours nor the remains of an interrupted `write_private`."""
        for path in self.path.iterdir() if self.path.exists() else ():
            if path.name not in OURS and path.name.removeprefix(".").rpartition(".")[0] not in OURS:
                yield path.name


def new_record(name: str, *, slot: int, servers: int, single: bool, port: int) -> ClusterRecord:
    return ClusterRecord(name, uuid.uuid4().hex, slot, servers, single, port)


def with_ports(record: ClusterRecord, ports: dict[str, int]) -> ClusterRecord:
    return replace(record, ports=ports)


def write_private(path: Path, content: bytes) -> None:
    """Write a file that only this user can read, whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
