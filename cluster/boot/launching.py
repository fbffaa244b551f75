"""Starts the supervisor in the background, shows its parts come up, and takes everything back if one can't."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from oarlock.cluster.boot import control, processes
from oarlock.cluster.boot.down import stop_leftovers
from oarlock.cluster.boot.errors import BootError
from oarlock.cluster.boot.parts import Part
from oarlock.cluster.boot.pki import CertificateFiles
from oarlock.cluster.boot.progress import Progress
from oarlock.cluster.boot.spec import DEFAULT_NAME
from oarlock.cluster.boot.state import StateFolder, write_private

GUARD = "OARLOCK_SLOT_GUARD"
"""The variable that tells the supervisor its descriptor of the socket that holds the slot, if it has one."""
SUPERVISOR_STARTS_S = 15.0
PARTS_START_S = 120.0

Shown = list[dict[str, Any]]
"""Parts as the supervisor tells of them."""


class PartRefused(BootError):
    """A part has ended and isn't started again: waiting for it is in vain."""


def refuse_running(name: str, folder: StateFolder) -> None:
    """Raise BootError if a supervisor answers in that folder."""
    try:
        next(control.ask(folder.control_socket, "status"), None)
    except OSError:
        return
    down = "oarlock down" if name == DEFAULT_NAME else f"oarlock down --name {name}"
    raise BootError(f"the cluster {name} is already running", f"See it: oarlock status. Stop it: {down}.")


def write_plan(
    folder: StateFolder,
    server: str,
    admin: CertificateFiles,
    parts: Sequence[Part],
    host: str = "",
) -> None:
    """Write what the supervisor is to run. `host` is this host's name where there are several."""
    plan = {
        "state": str(folder.path),
        "host": host,
        "server": server,
        "admin": {key: str(value) for key, value in asdict(admin).items()},
        "parts": [asdict(part) for part in parts],
    }
    write_private(folder.settings / "plan.json", json.dumps(plan, indent=1).encode())


def command(folder: StateFolder) -> list[str]:
    """Return the command line of the supervisor, which runs the plan of the folder."""
    return [sys.executable, "-m", "oarlock.cluster.boot.server", str(folder.path)]


def launch(folder: StateFolder, guard: socket.socket | None = None) -> None:
    """Return once the supervisor, which outlives this process, answers. Raises BootError if it doesn't.

    It inherits `guard`, the socket that holds the cluster's slot: nobody else can take it in between.
    """
    inherited = () if guard is None else (guard.fileno(),)
    with (folder.logs / "supervisor.log").open("ab") as output, processes.uninterrupted():
        process = subprocess.Popen(
            command(folder),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            cwd="/",
            pass_fds=inherited,
            env=os.environ | {processes.MARK: str(folder.path), GUARD: " ".join(map(str, inherited))},
        )
    deadline = time.monotonic() + SUPERVISOR_STARTS_S
    while not folder.control_socket.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            raise BootError(
                f"the supervisor did not start (status {process.poll()})", f"See {folder.logs / 'supervisor.log'}."
            )
        time.sleep(0.01)


def become(folder: StateFolder) -> None:
    """Turn this process into the supervisor; doesn't return."""
    os.chdir("/")
    line = command(folder)
    os.execve(line[0], line, os.environ | {processes.MARK: str(folder.path)})  # noqa: S606 - our own interpreter


def all_ready(parts: Shown) -> bool:
    return all(part["state"] == "ready" for part in parts)


def follow(
    folder: StateFolder, progress: Progress, enough: Callable[[Shown], bool] = all_ready, *, strict: bool = True
) -> Shown:
    """Show the parts until there are `enough` and return them. Raises BootError when that takes too long.

    Raises PartRefused when a part ends for good.
    `strict` raises as soon as one fails; otherwise a failed one, which is started again, may still come.
    """
    deadline = time.monotonic() + PARTS_START_S
    parts: Shown = []
    for answer in control.ask(folder.control_socket, "watch", PARTS_START_S):
        parts = answer["parts"]
        progress.show(parts)
        for part in parts:
            if part["state"] == "refused":
                raise PartRefused(f"{part['name']} was refused", part["error"])
            if strict and part["state"] == "failed":
                way_out = f"Nothing was left running. More is in the logs: {folder.logs}."
                raise BootError(f"{part['name']} failed: {part['error']}", way_out)
        if enough(parts):
            return parts
        if time.monotonic() > deadline:
            break
    late = ", ".join(part["name"] for part in parts if part["state"] != "ready")
    raise BootError(f"not ready after {PARTS_START_S:g} s: {late}", f"See the logs in {folder.logs}.")


def abandon(folder: StateFolder, *, new: bool) -> None:
    """Stop all that was started; a folder that this call made keeps only its logs. An impatient Ctrl-C waits."""
    earlier_mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        stop_leftovers(folder)
        if new:
            for room in (folder.pki, folder.store, folder.nodes, folder.settings):
                processes.remove_tree(room)
            for file in (folder.record_file, folder.host_file, folder.kubeconfig):
                file.unlink(missing_ok=True)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, earlier_mask)
