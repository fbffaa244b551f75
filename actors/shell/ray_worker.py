"""What a raylet starts as a worker: it asks the node's zygote for a process, or becomes the worker itself.

Run as a file by `python -I -S`, so that it takes 10 ms: it imports nothing of ours and nothing that is installed.
Usage: SOCKET WORKER ARGUMENT..., where WORKER is Ray's own program and the rest its arguments.
"""

import json
import os
import socket
import sys

_WAIT_S = 30.0
"""Longer than a zygote takes to import everything, shorter than a raylet waits for its workers."""
_SETUP = ("--serialized-runtime-env-context", "--language")
"""Options of what Ray would run in between, to build the environment that a job may ask for; ours ask for none."""


def main() -> None:
    """Return once the zygote has forked the worker."""
    where, worker, *arguments = sys.argv[1:]
    command = [worker, *(one for one in arguments if one.partition("=")[0] not in _SETUP)]
    if not _forked(where, command):
        os.execv(sys.executable, [sys.executable, *command])  # noqa: S606 - a shell would only be in the way


def _forked(where: str, command: list[str]) -> bool:
    """Return False if there is no zygote, or it ended before it forked."""
    request = json.dumps({"command": command, "environment": dict(os.environ)}).encode()
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(_WAIT_S)
            connection.connect(where)
            sent = socket.send_fds(connection, [request], [0, 1, 2])
            connection.sendall(request[sent:])
            connection.shutdown(socket.SHUT_WR)
            return bool(connection.recv(1))
    except OSError:
        return False


if __name__ == "__main__":
    main()
