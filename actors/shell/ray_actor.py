"""The Ray actor that hosts one copy of a component."""

from __future__ import annotations

import logging
import os
import threading

from oarlock.actors.shell.hosted import HostedSettings, serve


class HostActor:
    """Hosts a copy from the moment it is made; Ray makes it again wherever and whenever it dies.

    Nobody needs to call it. The component runs on an event loop and thread of its own, so that neither Ray's calls
    nor its loop come between the lease and its renewals. When the component's host ends, so does the process.
    """

    def __init__(self, copy: str, factory: str, settings_file: str) -> None:
        self._copy = copy
        self._settings = HostedSettings.load(settings_file)
        self._thread = threading.Thread(target=self._run, args=(factory,), name=copy, daemon=True)
        self._thread.start()

    def describe(self) -> dict[str, object]:
        """Return the copy's name and process id."""
        return {"name": self._copy, "pid": os.getpid()}

    def _run(self, factory: str) -> None:
        try:
            serve(self._copy, factory, self._settings)
        except BaseException:
            logging.getLogger(__name__).exception("copy ended name=%s", self._copy)
        finally:
            logging.shutdown()
            os._exit(1)
