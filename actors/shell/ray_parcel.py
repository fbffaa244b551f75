"""Settings that travel: a component's settings with the files that they name, for a process on a host that has none.

What is secret is on no disk there: it lies in memory files, which are paths to this process and go with it.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

_MARK = "oarlock-parcel:"
"""Stands before the number of a file where settings named its path."""
_PREFIX = "oarlock-guest-"


def pack(document: Mapping[str, Any], room: Path, also: Collection[str] = ()) -> dict[str, Any]:
    """Return the document with the files that it names: those below `room`, which are secret, and those in `also`.

    Whoever gets it may do what they entitle to.
    """
    files: list[dict[str, Any]] = []

    def packed(text: str) -> str:
        path = Path(text)
        is_secret = path.is_relative_to(room)
        if not (is_secret or text in also) or not path.is_file():
            return text
        files.append({"name": path.name, "content": path.read_text(), "secret": is_secret})
        return f"{_MARK}{len(files) - 1}"

    return {"document": _mapped(dict(document), packed), "files": files}


def unpack(parcel: Mapping[str, Any]) -> dict[str, Any]:
    """Return the document with paths of the files as they are in this process, and to no other."""
    places: list[str] = []
    folder: Path | None = None
    for file in parcel["files"]:
        if file["secret"]:
            places.append(_memory_file(file["name"], file["content"]))
            continue
        folder = folder or private_folder()
        place = folder / f"{len(places)}-{Path(file['name']).name}"
        place.write_text(file["content"])
        places.append(str(place))

    def unpacked(text: str) -> str:
        return places[int(text.removeprefix(_MARK))] if text.startswith(_MARK) else text

    document: dict[str, Any] = _mapped(parcel["document"], unpacked)
    return document


def private_folder() -> Path:
    """Return a new folder for this process, and remove those of processes that have ended."""
    base = Path(tempfile.gettempdir())
    for old in base.glob(f"{_PREFIX}*"):
        pid = old.name.removeprefix(_PREFIX).partition("-")[0]
        if pid.isdigit() and not Path(f"/proc/{pid}").exists():
            shutil.rmtree(old, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=base))


def _memory_file(name: str, content: str) -> str:
    """Return the path of a file without a disk. It stays open: this process needs it for as long as it lives."""
    descriptor = os.memfd_create(name, os.MFD_CLOEXEC)
    with os.fdopen(descriptor, "w", closefd=False) as out:
        out.write(content)
    return f"/proc/self/fd/{descriptor}"


def _mapped(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {key: _mapped(one, change) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_mapped(one, change) for one in value]
    return value
