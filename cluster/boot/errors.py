"""Errors meant for the person at the terminal."""

from __future__ import annotations


class BootError(Exception):
    """One sentence that names the cause, and one that names the way out. Printed without a traceback, exit status 1."""

    def __init__(self, cause: str, way_out: str = "") -> None:
        super().__init__(f"{cause}\n  {way_out}" if way_out else cause)
        self.cause = cause
        self.way_out = way_out
