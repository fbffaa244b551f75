"""Images named `host/NAME[:TAG]`: no image at all, but the program NAME of the node's own file system."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from oarlock.cluster.kubelet.runtime import ImageFailure, StartFailure

PREFIX = "host/"


def pull(image: str, *, allowed: bool) -> str:
    """Return the reference of a host image. Raises ImageFailure for any other image, or where they are off."""
    if not image.startswith(PREFIX) or not _program(image):
        raise ImageFailure(
            f'failed to pull image "{image}": this node runs plain processes: '
            f"only images named {PREFIX}NAME, programs of the node itself, are possible here"
        )
    if not allowed:
        raise ImageFailure(f'failed to pull image "{image}": this node does not allow {PREFIX}… images')
    return image


def command_line(image: str, command: Sequence[str], args: Sequence[str]) -> list[str]:
    """Return what to run: `command` or else the image's program, then `args`."""
    return [*(command or [_program(image)]), *args]


def executable(program: str, environment: Mapping[str, str], working_dir: Path) -> str:
    """Return the file that runs for `program`, looked up in the container's own PATH. Raises StartFailure."""
    if "/" in program:
        candidates = [working_dir / program]
    else:
        candidates = [Path(folder) / program for folder in environment.get("PATH", "").split(":") if folder]
    for candidate in candidates:
        if candidate.is_file() and os.access(candidate, os.X_OK):
            return str(candidate)
    where = "no such file or directory" if "/" in program else "executable file not found in $PATH"
    raise StartFailure(f'exec: "{program}": {where}', 127)


def _program(image: str) -> str:
    name, _, tag = image.removeprefix(PREFIX).partition(":")
    return "" if "/" in name or "/" in tag else name
