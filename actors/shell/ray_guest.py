"""The Ray actor that hosts one copy of a component on a Ray cluster that isn't ours."""

from __future__ import annotations

import json
import logging
import os
import threading

import ray
from ray.util import get_node_ip_address

from oarlock.actors.shell.hosted import HostedSettings, serve
from oarlock.actors.shell.ray_parcel import unpack


class GuestActor:
    """Like `ray_actor.HostActor`, but everything that it needs comes as an argument: its host has no folder of ours."""

    def __init__(self, copy: str, factory: str, parcel: str) -> None:
        document = unpack(json.loads(parcel))
        self._settings = HostedSettings.of({**document, "metrics_ip": get_node_ip_address()})
        self._thread = threading.Thread(target=self._run, args=(copy, factory), name=copy, daemon=True)
        self._thread.start()
        ray.get_runtime_context().current_actor.occupy.remote()

    def occupy(self) -> None:
        """Never return: see `ray_actor.HostActor.occupy`."""
        self._thread.join()

    def _run(self, copy: str, factory: str) -> None:
        try:
            serve(copy, factory, self._settings)
        except BaseException:
            logging.getLogger(__name__).exception("copy ended name=%s", copy)
        finally:
            logging.shutdown()
            os._exit(1)
