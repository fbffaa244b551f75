"""The Ray actor that hosts one copy of a component."""

from __future__ import annotations

import logging
import os
import threading

import ray

from oarlock.actors.shell.hosted import HostedSettings, serve


class HostActor:
    """Hosts a copy from the moment it is made; Ray makes it again wherever and whenever it dies.

    Nobody needs to call it, and nobody but itself can: it is busy for life. The component runs on an event loop and
    thread of its own, so that nothing of Ray's comes between the lease and its renewals. When the component's host
    ends, so does the process.
    """

    def __init__(self, copy: str, factory: str, settings_file: str) -> None:
        self._settings = HostedSettings.load(settings_file)
        self._thread = threading.Thread(target=self._run, args=(copy, factory), name=copy, daemon=True)
        self._thread.start()
        ray.get_runtime_context().current_actor.occupy.remote()

    def occupy(self) -> None:
        """Never return: a Ray worker wakes 100 times a second while it waits for a call, but not inside one."""
        self._thread.join()

    def _run(self, copy: str, factory: str) -> None:
        try:
            serve(copy, factory, self._settings)
        except BaseException:
            logging.getLogger(__name__).exception("copy ended name=%s", copy)
        finally:
            logging.shutdown()
            os._exit(1)
