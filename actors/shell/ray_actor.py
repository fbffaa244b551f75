"""The Ray actor that hosts one copy of a component."""

from __future__ import annotations

import asyncio
import logging
import os
import threading

import ray

from oarlock.actors.shell.hosted import HostedSettings, serve
from oarlock.actors.shell.ray_processes import MARK, POSITION, POSITION_LABEL, settings_file

_HOME_LOOK_S = 2.0
"""So long, and the time of a start, both copies of a component may be on one node after the other has come back."""


class HostActor:
    """Hosts a copy from the moment it is made; Ray makes it again wherever and whenever it dies.

    Nobody needs to call it, and nobody but itself can: it is busy for life. The component runs on an event loop and
    thread of its own, so that nothing of Ray's comes between the lease and its renewals. When the component's host
    ends, so does the process. A copy that was made away from the node at its `position` ends once there is one: the
    next is made there, so that again no node holds both copies of a component.
    """

    def __init__(self, copy: str, factory: str, component: str, position: str) -> None:
        self._settings = HostedSettings.load(str(settings_file(os.environ[MARK], component)))
        self._position = position
        self._thread = threading.Thread(target=self._run, args=(copy, factory), name=copy, daemon=True)
        self._thread.start()
        ray.get_runtime_context().current_actor.occupy.remote()

    def occupy(self) -> None:
        """Never return: a Ray worker wakes 100 times a second while it waits for a call, but not inside one."""
        self._thread.join()

    def _run(self, copy: str, factory: str) -> None:
        away = os.environ[POSITION] != self._position
        try:
            serve(copy, factory, self._settings, self._home_is_back if away else None)
        except BaseException:
            logging.getLogger(__name__).exception("copy ended name=%s", copy)
        finally:
            logging.shutdown()
            os._exit(1)

    async def _home_is_back(self) -> None:
        """Return once there is a node at the copy's position again."""
        while True:
            await asyncio.sleep(_HOME_LOOK_S)
            if await asyncio.to_thread(_has_node, self._position):
                logging.getLogger(__name__).info("going home position=%s", self._position)
                return


def _has_node(position: str) -> bool:
    return any(node["Alive"] and node["Labels"].get(POSITION_LABEL) == position for node in ray.nodes())
