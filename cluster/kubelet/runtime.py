"""What the agent asks of whatever runs containers: the Container Runtime Interface's nouns as an asynchronous protocol.

Source: CRI v1 (RuntimeService, ImageService). Times are Unix nanoseconds, 0 for "not yet".
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, Self


class RuntimeFailure(Exception):
    """The runtime could not do what was asked; the message is fit for a pod's status and an Event."""


class NetworkNotReady(RuntimeFailure):
    """The node has no network for the pod yet."""


class ImageFailure(RuntimeFailure):
    """The image can't be had. `reason` is the container's waiting reason, such as ErrImagePull."""

    def __init__(self, message: str, reason: str = "ErrImagePull") -> None:
        super().__init__(message)
        self.reason = reason


class ConfigFailure(RuntimeFailure):
    """The runtime can't honour the container's configuration (CreateContainerConfigError)."""


class StartFailure(RuntimeFailure):
    """The container was made but its process could not be started. `exit_code` is what a shell would report."""

    def __init__(self, message: str, exit_code: int = 128) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class State(enum.Enum):
    CREATED = "created"
    RUNNING = "running"
    EXITED = "exited"


@dataclass(frozen=True, slots=True)
class Mount:
    """A volume's folder on the node and where the container wants it."""

    volume: str
    host_path: str
    container_path: str
    read_only: bool = False


@dataclass(frozen=True, slots=True)
class SandboxConfig:
    """A pod as the runtime sees it. `annotations` are the pod's own."""

    uid: str
    namespace: str
    name: str
    ip: str
    host_network: bool = False
    annotations: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Sandbox:
    """A pod that the runtime holds. `log_folder` is where container logs belong."""

    config: SandboxConfig
    created_ns: int
    folder: Path


@dataclass(frozen=True, slots=True)
class ContainerConfig:
    """One run of a container. `attempt` counts restarts; `environment` is complete but for what the runtime adds.

    `memory_bytes` 0 means no limit; `nice` is added to the process' priority. `log_path` is absolute. `stdin` keeps
    standard input open for those who attach, `stdin_once` only for the first of them; `tty` gives a terminal.
    """

    name: str
    attempt: int
    image: str
    command: Sequence[str]
    args: Sequence[str]
    environment: Mapping[str, str]
    working_dir: str
    log_path: str
    mounts: Sequence[Mount] = ()
    memory_bytes: int = 0
    nice: int = 0
    restarts_key: str = ""
    stdin: bool = False
    stdin_once: bool = False
    tty: bool = False


@dataclass(frozen=True, slots=True)
class ContainerStatus:
    """A container as it is. `restarts_key` is what the agent gave to tell apart specs of the same name."""

    id: str
    pod_uid: str
    name: str
    attempt: int
    image: str
    image_ref: str
    state: State
    created_ns: int = 0
    started_ns: int = 0
    finished_ns: int = 0
    exit_code: int = 0
    signal: int = 0
    reason: str = ""
    message: str = ""
    log_path: str = ""
    restarts_key: str = ""


@dataclass(frozen=True, slots=True)
class ExecResult:
    """`output` is standard output and error in the order written, at most the runtime's bound."""

    exit_code: int
    output: bytes


class Source(Protocol):
    """What a process writes."""

    async def read(self) -> bytes:
        """Return what has come; b"" once nothing can come any more."""
        ...


class Sink(Protocol):
    """What a process reads."""

    async def write(self, data: bytes) -> None:
        """Return once all is handed over. Raises BrokenPipeError if nobody will read it."""
        ...

    async def end(self) -> None:
        """Let the process read the end. Idempotent. Raises BrokenPipeError if nobody will read it."""
        ...


class Streams(Protocol):
    """A process' streams while the context lasts. On a terminal (`tty`), `stderr` is None and nothing ends `stdin`."""

    @property
    def stdin(self) -> Sink | None: ...

    @property
    def stdout(self) -> Source: ...

    @property
    def stderr(self) -> Source | None: ...

    @property
    def tty(self) -> bool: ...

    def resize(self, width: int, height: int) -> None:
        """Tell the terminal its size in characters; nothing happens without one."""
        ...

    async def wait(self) -> int:
        """Return the exit code once it has ended, 128 + N after signal N. What is read then ends with what is there."""
        ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *_: object) -> None: ...


Listener = Callable[[ContainerStatus], None]
"""Called in the event loop after a container's state has changed."""


class Runtime(Protocol):
    """Runs pods' containers. Calls are idempotent where CRI's are: stopping or removing what is gone succeeds."""

    @property
    def scheme(self) -> str:
        """The part of a containerID before `://`."""
        ...

    @property
    def version(self) -> str: ...

    async def start(self, listener: Listener) -> None:
        """Take up what an earlier process left running; from now on tell `listener` of every change."""
        ...

    async def stop(self) -> None:
        """Let go of everything and leave it running."""
        ...

    async def run_pod_sandbox(self, config: SandboxConfig) -> Sandbox: ...

    async def stop_pod_sandbox(self, uid: str) -> None: ...

    async def remove_pod_sandbox(self, uid: str) -> None:
        """Remove the sandbox, its containers and their logs."""
        ...

    def list_pod_sandboxes(self) -> list[Sandbox]: ...

    async def pull_image(self, image: str) -> str:
        """Return the image's reference. Raises ImageFailure."""
        ...

    async def create_container(self, uid: str, config: ContainerConfig) -> str: ...

    async def start_container(self, container_id: str) -> None:
        """Start its process. Raises StartFailure."""
        ...

    async def stop_container(self, container_id: str, grace_s: float) -> None:
        """Return once the container has exited: asked to at first, killed after `grace_s`."""
        ...

    async def remove_container(self, container_id: str) -> None: ...

    def list_containers(self, uid: str) -> list[ContainerStatus]:
        """Return the pod's containers, oldest first."""
        ...

    async def exec_sync(self, container_id: str, command: Sequence[str], timeout_s: float) -> ExecResult:
        """Run a command as the container would. Raises TimeoutError, RuntimeFailure."""
        ...

    async def exec(self, container_id: str, command: Sequence[str], *, stdin: bool, tty: bool) -> Streams:
        """Start a command as the container would, in a session of its own, on a terminal if `tty`.

        Leaving the streams before the command has ended kills it. Raises RuntimeFailure.
        """
        ...

    async def attach(self, container_id: str, *, stdin: bool) -> Streams:
        """Open the streams of the container's own process; leaving them leaves it running. Raises RuntimeFailure.

        They end with the container, or when it can't be followed any longer; the exit code is not told.
        """
        ...
