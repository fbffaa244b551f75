"""A replica's folder: one process at a time, one member's data, and the faults that make a replica stop."""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path
from typing import NamedTuple

FORMAT_VERSION = 1
IDENTITY_FILE = "identity.json"


class StorageFault(Exception):
    """The disk, or a file on it, can't be trusted: the replica must stop. The message says what to do."""


class FolderRefused(StorageFault):
    """The folder is in use, or belongs to another member, another cluster or another version."""


class SeatLost(StorageFault):
    """A newer folder has this member's seat: what this one holds is history. Starting it again changes nothing."""


class Identity(NamedTuple):
    """Whose folder it is. A folder never changes its identity."""

    cluster: str
    member: str
    version: int = FORMAT_VERSION


def fsync_directory(folder: Path) -> None:
    """Make the names in `folder` durable; a file's own fsync doesn't."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(path: Path) -> None:
    """Create a folder if it isn't there; its name is durable on return."""
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    fsync_directory(path.parent)


def write_durably(path: Path, data: bytes) -> None:
    """Replace `path` by `data`, all or nothing, durable on return."""
    temporary = path.with_name(path.name + ".new")
    descriptor = os.open(temporary, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    fsync_directory(path.parent)


class Folder:
    """A locked replica folder. The lock ends with `close` or with the process, however it dies."""

    def __init__(self, path: Path, identity: Identity) -> None:
        """Lock `path`, creating it if needed, and claim it for `identity`; raises FolderRefused."""
        self.path = path
        self.begun = False
        """True once this member's journal has been on disk: from then on it must be there."""
        self._identity = identity
        try:
            make_folder(path)
            self._lock = os.open(path / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise FolderRefused(f"can't use the folder {path}: {error.strerror or error}") from error
        try:
            self._claim(identity)
        except BaseException:
            os.close(self._lock)
            raise

    def _claim(self, identity: Identity) -> None:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(self._lock, 32, 0).decode(errors="replace").strip() or "unknown"
            raise FolderRefused(
                f"the folder {self.path} is in use by another process (pid {holder}): stop it first"
            ) from error
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, f"{os.getpid()}\n".encode(), 0)
        file = self.path / IDENTITY_FILE
        if file.exists():
            self.begun = _check(file, identity)
            return
        left_over = sorted(
            entry.name for entry in self.path.iterdir() if entry.name not in {"lock", file.name + ".new"}
        )
        if left_over:
            raise FolderRefused(
                f"the folder {self.path} holds {left_over[0]} but no {file.name}: it is not a replica's folder, or the "
                "file was lost; give an empty folder, or restore the whole folder from a copy"
            )
        self._write()

    def begin(self) -> None:
        """Note that the journal is on disk."""
        if not self.begun:
            self.begun = True
            self._write()

    def _write(self) -> None:
        content = {**self._identity._asdict(), "begun": self.begun}
        write_durably(self.path / IDENTITY_FILE, json.dumps(content, indent=1).encode())

    def close(self) -> None:
        """Release the lock."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def _check(file: Path, wanted: Identity) -> bool:
    """Raise FolderRefused unless the folder is `wanted`'s; return whether its journal has been begun."""
    try:
        found = json.loads(file.read_bytes())
        version, cluster, member = found["version"], found["cluster"], found["member"]
        begun = found.get("begun", False)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FolderRefused(f"{file} is unreadable ({error!r}): restore the whole folder from a copy") from error
    if version != wanted.version:
        raise FolderRefused(
            f"the folder {file.parent} has format version {version}, this release reads version {wanted.version}: "
            "use the release that wrote it, or give another folder"
        )
    if cluster != wanted.cluster:
        raise FolderRefused(f"the folder {file.parent} belongs to cluster {cluster!r}, not to {wanted.cluster!r}")
    if member != wanted.member:
        raise FolderRefused(f"the folder {file.parent} belongs to member {member!r}, not to {wanted.member!r}")
    return bool(begun)
