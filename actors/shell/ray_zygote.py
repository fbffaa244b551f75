"""A process that has imported what actors need and does nothing; the workers of its node are forked from it.

A fork costs milliseconds where a new Python with ray and a component takes more than a second of CPU, and it shares the
pages of what was imported. Importing ray starts no thread and draws no random number, both of which would be wrong to
inherit; `tests/unit/actors/shell/test_ray_zygote.py` looks at both.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import runpy
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

JOB: Final = "RAY_JOB_ID"
RAYLET: Final = "RAY_RAYLET_PID"
_LOADED: Final = (JOB, RAYLET)
"""Variables that ray reads once, as it is loaded: a worker for whom they differ can't be forked from this process."""
_ANSWER_S: Final = 5.0
_REQUEST_BYTES_MAX: Final = 1 << 20
_STANDARD: Final = 3
"""Standard input, output and error, which travel with the request."""


class Request(NamedTuple):
    """The worker that is wanted: Ray's program and its arguments, and the environment."""

    command: list[str]
    environment: dict[str, str]


def main(socket_file: str, modules: Sequence[str]) -> None:
    """Fork a worker for each request until killed; return in a worker that has ended."""
    gc.disable()
    with _listener(socket_file) as listener:
        for module in modules:
            importlib.import_module(module)
        gc.freeze()
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for workers
        request = _in_child(listener)
    _become(request)


def _listener(socket_file: str) -> socket.socket:
    """Listen before anything is imported: who comes early waits."""
    early = Path(socket_file + ".new")
    early.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(early))
    listener.listen()
    early.rename(socket_file)
    return listener


def _in_child(listener: socket.socket) -> Request:
    """Return in each child what it is to become, and never in the zygote itself."""
    while True:
        connection, _ = listener.accept()
        with connection:
            connection.settimeout(_ANSWER_S)
            try:
                request, standard = _read(connection)
            except (OSError, ValueError, TypeError):
                continue  # whoever asked helps itself
            if not os.fork():
                for number, descriptor in enumerate(standard):
                    os.dup2(descriptor, number)
                _close(standard)
                return request
            _close(standard)
            with contextlib.suppress(OSError):  # the worker lives, whether or not who asked for it does
                connection.sendall(b"1")


def _read(connection: socket.socket) -> tuple[Request, list[int]]:
    """Raises OSError, ValueError or TypeError if what comes is no request."""
    text, descriptors, _, _ = socket.recv_fds(connection, _REQUEST_BYTES_MAX, _STANDARD)
    try:
        while len(text) < _REQUEST_BYTES_MAX and (part := connection.recv(_REQUEST_BYTES_MAX)):
            text += part
        request = Request(**json.loads(text))
        if any(request.environment.get(name) != os.environ.get(name) for name in _LOADED):
            raise ValueError("a worker of another job or raylet")
        if len(descriptors) != _STANDARD:
            raise ValueError("a worker needs its standard input, output and error")
        return request, descriptors
    except BaseException:
        _close(descriptors)
        raise


def _close(descriptors: Sequence[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


def _become(request: Request) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    gc.enable()
    os.environ.clear()
    os.environ.update(request.environment)
    sys.argv = request.command
    runpy.run_path(request.command[0], run_name="__main__")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
