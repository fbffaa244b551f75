"""Validate paths below a volume.

Source: upstream's `validateLocalDescendingPath`, `validateLocalNonReservedPath` and `validatePathNoBacksteps`.
"""

from __future__ import annotations

from oarlock.cluster.objects.causes import invalid
from oarlock.cluster.objects.status import Cause


def steps_back(text: str) -> bool:
    """Whether a path leads upwards."""
    return ".." in text.split("/")


def local_path(text: str, path: str) -> list[Cause]:
    """What is wrong with a path below a volume: relative, and never upwards."""
    causes: list[Cause] = []
    if text.startswith("/"):
        causes.append(invalid(path, text, "must be a relative path"))
    if steps_back(text):
        causes.append(invalid(path, text, "must not contain '..'"))
    return causes


def unreserved_path(text: str, path: str) -> list[Cause]:
    """What is wrong with a file's path in a volume that is written by the node: its own files start with two dots."""
    causes = local_path(text, path)
    if text.startswith("..") and not text.startswith("../"):
        causes.append(invalid(path, text, "must not start with '..'"))
    return causes
