"""What the process runtime writes down about pods and containers, so that its next process knows them."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import orjson

from oarlock.cluster.kubelet.runtime import ContainerConfig, ContainerStatus, Mount, Sandbox, SandboxConfig, State

NUL = b"\0"


def write_sandbox(sandbox: Sandbox) -> None:
    _write(sandbox.folder / "sandbox.json", {"config": asdict(sandbox.config), "created_ns": sandbox.created_ns})


def read_sandbox(folder: Path) -> Sandbox | None:
    """Return the recorded pod; None if there is no readable record."""
    content = _read(folder / "sandbox.json")
    try:
        return Sandbox(SandboxConfig(**content["config"]), content["created_ns"], folder) if content else None
    except (KeyError, TypeError):
        return None


def forget_sandbox(sandbox: Sandbox) -> None:
    (sandbox.folder / "sandbox.json").unlink(missing_ok=True)


def write_container(folder: Path, config: ContainerConfig, status: ContainerStatus) -> None:
    _write(
        folder / "container.json",
        {
            "config": asdict(config),
            "uid": status.pod_uid,
            "image_ref": status.image_ref,
            "created_ns": status.created_ns,
        },
    )


def read_container(folder: Path) -> tuple[ContainerConfig, ContainerStatus] | None:
    """Return a recorded container as created; None if there is no readable record."""
    content = _read(folder / "container.json")
    if content is None:
        return None
    try:
        config = ContainerConfig(
            **{**content["config"], "mounts": [Mount(**mount) for mount in content["config"]["mounts"]]}
        )
        status = ContainerStatus(
            folder.name,
            content["uid"],
            config.name,
            config.attempt,
            config.image,
            content["image_ref"],
            State.CREATED,
            created_ns=content["created_ns"],
            log_path=config.log_path,
            restarts_key=config.restarts_key,
        )
    except (KeyError, TypeError):
        return None
    return config, status


def write_spec(folder: Path, config: ContainerConfig, program: str, argv: list[str], log_bytes_max: int) -> None:
    """Write what the shim reads; its module describes the form."""
    fields = [
        config.log_path,
        config.working_dir,
        str(config.memory_bytes),
        str(config.nice),
        str(log_bytes_max),
        "none" if not config.stdin else "once" if config.stdin_once else "open",
        "tty" if config.tty else "",
        str(len(argv)),
        program,
        *argv,
        *(f"{name}={value}" for name, value in config.environment.items()),
    ]
    path = folder / "spec"
    path.touch(mode=0o600)
    path.write_bytes(NUL.join(field.encode(errors="surrogateescape").replace(NUL, b"") for field in fields))


def write_exit(folder: Path, code: int, at_ns: int | None = None) -> None:
    """Record an exit in the shim's stead: it could not start, or it is gone."""
    (folder / "exit").write_text(f"{code} 0 {at_ns or time.time_ns()}\n")


def _write(path: Path, content: dict[str, Any]) -> None:
    temporary = path.with_suffix(".new")
    temporary.touch(mode=0o600)
    temporary.write_bytes(orjson.dumps(content))
    temporary.replace(path)


def _read(path: Path) -> dict[str, Any] | None:
    try:
        content = orjson.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None
