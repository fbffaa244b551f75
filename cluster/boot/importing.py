"""What importing a part's code costs a process, and need not."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager

OBJECTS_MAX = 200_000
"""Objects made and not freed before the first garbage collection: importing makes 60,000, and they stay."""


def put_off_collections() -> None:
    """Let no garbage collection look again and again at what is imported. `Pauses` sets what holds after the start."""
    gc.set_threshold(OBJECTS_MAX)


def import_aiohttp() -> None:
    """Import aiohttp without the system's CA certificates, for parts whose clients all say whom they trust.

    As it is imported it makes a context for clients that don't, and would read 140 certificates for that: 50 ms of CPU.
    A client that did use it would trust nobody.
    """
    with _environment("SSL_CERT_FILE", os.devnull), _environment("SSL_CERT_DIR", os.devnull):
        import aiohttp  # noqa: F401


@contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
