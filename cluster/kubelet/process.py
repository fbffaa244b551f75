"""The runtime that needs no daemon and no root: a container is a plain process of the agent's user.

What it gives: own session and process group, complete environment, working folder, a log in CRI's format, the true
exit code. Memory limits bound the address space of each process (RLIMIT_AS), so a program that exceeds its limit sees
allocations fail rather than an OOM kill; CPU requests become a nice level, CPU limits are not enforced.
What it does not give: any isolation. A container sees the node's file system, network and processes.

Volumes are folders. A relative mountPath appears under the pod's own folder, which is the default working folder and
stands in OARLOCK_ROOT; each volume's path also stands in OARLOCK_VOLUME_<NAME>. An absolute mountPath could only be
honoured by changing the node itself, so it is refused, except for a hostPath volume mounted where it lies and for
service account credentials, which appear under the pod's folder. Read-only mounts are not enforced.
"""

from __future__ import annotations

import asyncio
import logging
import os
import py_compile
import shutil
import signal
import sys
import time
import uuid
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from oarlock.cluster.kubelet import execution, hostimage, leftovers, records
from oarlock.cluster.kubelet.attachment import Attachment
from oarlock.cluster.kubelet.execution import Command
from oarlock.cluster.kubelet.leftovers import MARK, Started, kill_all
from oarlock.cluster.kubelet.runtime import (
    ConfigFailure,
    ContainerConfig,
    ContainerStatus,
    ExecResult,
    Listener,
    RuntimeFailure,
    Sandbox,
    SandboxConfig,
    StartFailure,
    State,
    Streams,
)

__all__ = ["ProcessRuntime", "kill_all"]

log = logging.getLogger(__name__)

SHIM = Path(__file__).with_name("shim.py")
ATTACH_POINT = Path(__file__).with_name("attachpoint.py")
LOG_BYTES_MAX = 10 << 20
EXEC_OUTPUT_BYTES_MAX = 64 << 10
START_TIMEOUT_S = 30.0
KILL_TIMEOUT_S = 10.0
CREDENTIALS = "/var/run/secrets/kubernetes.io/serviceaccount"


class _Container:
    """One container's configuration and state, and the event that its shim has ended."""

    def __init__(self, folder: Path, config: ContainerConfig, status: ContainerStatus) -> None:
        self.folder = folder
        self.config = config
        self.status = status
        self.started: Started | None = None
        self.exited = asyncio.Event()
        self.pidfd: int | None = None


class ProcessRuntime:
    """Keeps everything it must remember under `root`, so that the next agent process takes up where this one ended."""

    scheme = "process"
    version = "process://0.1.0"

    def __init__(self, root: Path, *, allow_host_images: bool = False, log_bytes_max: int = LOG_BYTES_MAX) -> None:
        self._root = root / "pods"
        self._allow_host_images = allow_host_images
        self._log_bytes_max = log_bytes_max
        self._sandboxes: dict[str, Sandbox] = {}
        self._containers: dict[str, _Container] = {}
        self._listener: Listener = lambda _: None
        # The interpreter itself rather than a virtual environment's link to it: a shim needs no packages.
        self._python = os.path.realpath(sys.executable)
        self._shim = root / "shim.pyc"

    async def start(self, listener: Listener) -> None:
        """Adopt what is recorded: running containers are watched, exits that happened meanwhile become known."""
        self._listener = listener
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Compiled once: a shim that need not parse its source starts sooner and stays smaller.
        for source in (SHIM, ATTACH_POINT):
            py_compile.compile(str(source), str(self._shim.with_name(source.name + "c")), doraise=True)
        for folder in sorted(self._root.iterdir()):
            sandbox = records.read_sandbox(folder)
            if sandbox is None:
                shutil.rmtree(folder, ignore_errors=True)
                continue
            self._sandboxes[sandbox.config.uid] = sandbox
            for container_folder in sorted((folder / "containers").iterdir()):
                self._adopt(sandbox.config.uid, container_folder)

    async def stop(self) -> None:
        for container in self._containers.values():
            self._unwatch(container)

    async def run_pod_sandbox(self, config: SandboxConfig) -> Sandbox:
        known = self._sandboxes.get(config.uid)
        if known is not None and known.config.ip == config.ip:
            return known
        folder = self._root / config.uid
        for name in ("containers", "fs", "logs", "volumes"):
            (folder / name).mkdir(mode=0o700, parents=True, exist_ok=True)
        sandbox = Sandbox(config, time.time_ns(), folder)
        records.write_sandbox(sandbox)
        self._sandboxes[config.uid] = sandbox
        return sandbox

    async def stop_pod_sandbox(self, uid: str) -> None:
        await asyncio.gather(*(self.stop_container(status.id, 0) for status in self.list_containers(uid)))

    async def remove_pod_sandbox(self, uid: str) -> None:
        await self.stop_pod_sandbox(uid)
        for status in self.list_containers(uid):
            self._containers.pop(status.id, None)
        sandbox = self._sandboxes.pop(uid, None)
        if sandbox is not None:
            # The record goes first: a folder without one is rubbish that the next start removes.
            records.forget_sandbox(sandbox)
            await asyncio.to_thread(shutil.rmtree, sandbox.folder, ignore_errors=True)

    def list_pod_sandboxes(self) -> list[Sandbox]:
        return list(self._sandboxes.values())

    async def pull_image(self, image: str) -> str:
        return hostimage.pull(image, allowed=self._allow_host_images)

    async def create_container(self, uid: str, config: ContainerConfig) -> str:
        sandbox = self._sandboxes[uid]
        container_id = uuid.uuid4().hex * 2
        fs = sandbox.folder / "fs"
        environment = {**config.environment, MARK: container_id, "OARLOCK_ROOT": str(fs)}
        environment |= _place_mounts(config, fs)
        if config.tty:
            environment.setdefault("TERM", "xterm")
        working_dir = fs / config.working_dir if config.working_dir else fs
        if not config.working_dir.startswith("/"):
            working_dir.mkdir(parents=True, exist_ok=True)
        config = replace(config, environment=environment, working_dir=str(working_dir))
        folder = sandbox.folder / "containers" / container_id
        folder.mkdir(mode=0o700)
        Path(config.log_path).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = ContainerStatus(
            container_id,
            uid,
            config.name,
            config.attempt,
            config.image,
            config.image,
            State.CREATED,
            created_ns=time.time_ns(),
            log_path=config.log_path,
            restarts_key=config.restarts_key,
        )
        records.write_container(folder, config, status)
        self._containers[container_id] = _Container(folder, config, status)
        return container_id

    async def start_container(self, container_id: str) -> None:
        container = self._containers[container_id]
        config = container.config
        try:
            argv = hostimage.command_line(config.image, config.command, config.args)
            program = hostimage.executable(argv[0], config.environment, Path(config.working_dir))
            records.write_spec(container.folder, config, program, argv, self._log_bytes_max)
            await self._launch(container)
        except StartFailure as failure:
            self._end(container, failure.exit_code, 0, time.time_ns(), "StartError", str(failure))
            records.write_exit(container.folder, failure.exit_code, container.status.finished_ns)
            raise
        container.started = leftovers.read_started(container.folder)
        if container.started is None:
            raise StartFailure("the container's keeper left no record")
        container.status = replace(container.status, state=State.RUNNING, started_ns=container.started.at_ns)
        self._watch(container)

    async def stop_container(self, container_id: str, grace_s: float) -> None:
        container = self._containers.get(container_id)
        if container is None or container.started is None or container.status.state is not State.RUNNING:
            return
        if grace_s > 0:
            leftovers.signal_group(container.started, signal.SIGTERM)
            with suppress(TimeoutError):
                await asyncio.wait_for(container.exited.wait(), grace_s)
        if not container.exited.is_set():
            leftovers.signal_group(container.started, signal.SIGKILL)
            leftovers.kill([container_id], [container.started.pid])
        try:
            await asyncio.wait_for(container.exited.wait(), KILL_TIMEOUT_S)
        except TimeoutError:
            raise RuntimeFailure(f"process {container.started.pid} does not end") from None

    async def remove_container(self, container_id: str) -> None:
        await self.stop_container(container_id, 0)
        container = self._containers.pop(container_id, None)
        if container is not None:
            shutil.rmtree(container.folder, ignore_errors=True)
            for path in Path(container.config.log_path).parent.glob(Path(container.config.log_path).name + "*"):
                path.unlink(missing_ok=True)

    def list_containers(self, uid: str) -> list[ContainerStatus]:
        found = [container.status for container in self._containers.values() if container.status.pod_uid == uid]
        return sorted(found, key=lambda status: status.created_ns)

    async def exec_sync(self, container_id: str, command: Sequence[str], timeout_s: float) -> ExecResult:
        container = self._containers[container_id]
        config = container.config
        try:
            program = hostimage.executable(command[0], config.environment, Path(config.working_dir))
            process = await asyncio.create_subprocess_exec(
                program,
                *command[1:],
                cwd=config.working_dir,
                env=dict(config.environment),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            raise RuntimeFailure(f"{command[0]}: {error.strerror}") from None
        try:
            async with asyncio.timeout(timeout_s):
                output = await _read_bounded(process)
                code = await process.wait()
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        return ExecResult(code, output)

    async def exec(self, container_id: str, command: Sequence[str], *, stdin: bool, tty: bool) -> Streams:
        container = self._containers[container_id]
        config = container.config
        program = hostimage.executable(command[0], config.environment, Path(config.working_dir))
        what = Command(program, command, config.environment, config.working_dir, config.nice, config.memory_bytes)
        return execution.start(what, stdin=stdin, tty=tty)

    async def attach(self, container_id: str, *, stdin: bool) -> Streams:
        container = self._containers[container_id]
        return Attachment(container.folder, stdin=stdin and container.config.stdin, tty=container.config.tty)

    async def _launch(self, container: _Container) -> None:
        """Run the shim until it says how the start went."""
        process = await asyncio.create_subprocess_exec(
            self._python,
            "-I",
            "-S",
            "-E",
            str(self._shim),
            str(container.folder),
            cwd="/",
            env={},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        assert process.stdout is not None
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                word, _, message = (await process.stdout.readline()).decode(errors="replace").strip().partition(" ")
                await process.wait()
        except TimeoutError:
            raise StartFailure("the container's keeper gave no answer") from None
        if word != "started":
            raise StartFailure(message or "the container's keeper ended early")

    def _adopt(self, uid: str, folder: Path) -> None:
        recorded = records.read_container(folder)
        if recorded is None or recorded[1].pod_uid != uid:
            leftovers.kill([folder.name])
            shutil.rmtree(folder, ignore_errors=True)
            return
        container = _Container(folder, *recorded)
        self._containers[folder.name] = container
        container.started = leftovers.read_started(folder)
        if container.started is not None:
            container.status = replace(container.status, state=State.RUNNING, started_ns=container.started.at_ns)
            self._watch(container)
        elif leftovers.read_exit(folder) is not None:
            self._take_exit(container)

    def _watch(self, container: _Container) -> None:
        """Be told by the kernel when the shim ends."""
        started = container.started
        assert started is not None
        try:
            if not started.shim_alive:
                raise ProcessLookupError
            container.pidfd = os.pidfd_open(started.shim_pid)
        except ProcessLookupError:
            self._take_exit(container)
            return
        asyncio.get_running_loop().add_reader(container.pidfd, self._take_exit, container)

    def _unwatch(self, container: _Container) -> None:
        if container.pidfd is not None:
            asyncio.get_running_loop().remove_reader(container.pidfd)
            os.close(container.pidfd)
            container.pidfd = None

    def _take_exit(self, container: _Container) -> None:
        self._unwatch(container)
        exit_record = leftovers.read_exit(container.folder)
        session = [container.started.pid] if container.started and container.started.alive else []
        leftovers.kill([container.status.id], session)
        if exit_record is None:
            message = "the container's keeper was gone, so its exit code is unknown"
            records.write_exit(container.folder, 137, time.time_ns())
            self._end(container, 137, 0, time.time_ns(), "ContainerStatusUnknown", message)
        else:
            code, number, at_ns = exit_record
            code = 128 + number if number else code
            self._end(container, code, number, at_ns, "Completed" if code == 0 else "Error", "")

    def _end(self, container: _Container, code: int, number: int, at_ns: int, reason: str, message: str) -> None:
        container.status = replace(
            container.status,
            state=State.EXITED,
            exit_code=code,
            signal=number,
            finished_ns=at_ns,
            reason=reason,
            message=message,
        )
        container.exited.set()
        self._listener(container.status)


def _place_mounts(config: ContainerConfig, fs: Path) -> dict[str, str]:
    """Make the container's volumes reachable as the module promises and return the variables that name them."""
    variables = {}
    for mount in config.mounts:
        variables["OARLOCK_VOLUME_" + mount.volume.upper().replace("-", "_").replace(".", "_")] = mount.host_path
        if mount.container_path == mount.host_path:
            continue
        if mount.container_path.startswith("/") and mount.container_path != CREDENTIALS:
            raise ConfigFailure(
                f"volume \"{mount.volume}\" can't be mounted at {mount.container_path}: a process on the node's own "
                f"file system has no mounts of its own; use the relative mountPath {mount.container_path.lstrip('/')}, "
                "which appears in the pod's working folder"
            )
        link = Path(os.path.normpath(fs / mount.container_path.lstrip("/")))
        if not link.is_relative_to(fs) or link == fs:
            raise ConfigFailure(f'volume "{mount.volume}": mountPath {mount.container_path} leaves the pod\'s folder')
        link.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            link.unlink()
        link.symlink_to(mount.host_path)
    return variables


async def _read_bounded(process: asyncio.subprocess.Process) -> bytes:
    """Return the first output bytes; the rest is read and dropped, so that the program isn't blocked."""
    assert process.stdout is not None
    kept = b""
    while data := await process.stdout.read(65536):
        kept = (kept + data)[:EXEC_OUTPUT_BYTES_MAX]
    return kept
