"""The namespace controller's loop: every namespace that is being deleted is emptied again and again until it's gone."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from oarlock.actors.controllers.namespace import empty
from oarlock.cluster.client.cache import Cache
from oarlock.cluster.client.errors import Unreachable
from oarlock.cluster.client.http import ApiClient
from oarlock.cluster.client.workqueue import WorkQueue
from oarlock.cluster.objects.status import ApiError

Object = dict[str, Any]

_WORKERS = 4
_log = logging.getLogger(__name__)


class NamespaceLoop:
    """Follows the namespaces; see `namespace.empty` for what is done to one."""

    def __init__(self, client: ApiClient, namespaces: Cache) -> None:
        self._client, self._namespaces = client, namespaces
        self._queue = WorkQueue("namespace")
        self._acting = False

    def attach(self) -> None:
        """Follow the cache; changes count only while `run()` runs."""
        self._namespaces.add_handler(lambda _, __, new: self._changed(new))

    async def run(self) -> None:
        """Act until cancelled."""
        self._queue = WorkQueue("namespace")
        self._acting = True
        tasks = []
        try:
            for namespace in self._namespaces:
                self._changed(namespace)
            tasks = [asyncio.get_running_loop().create_task(self._work()) for _ in range(_WORKERS)]
            await asyncio.gather(*tasks)
        finally:
            self._acting = False
            self._queue.shut_down()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _changed(self, namespace: Object | None) -> None:
        if self._acting and namespace is not None and namespace["metadata"].get("deletionTimestamp"):
            self._queue.add(namespace["metadata"]["name"])

    async def _work(self) -> None:
        while True:
            key = await self._queue.get()
            try:
                namespace = self._namespaces.get(key)
                if namespace is None or not namespace["metadata"].get("deletionTimestamp"):
                    continue
                again_s = await empty(self._client, namespace)
                self._queue.forget(key)
                if again_s is not None:
                    self._queue.add_after(key, again_s)
            except (ApiError, Unreachable) as error:
                _log.debug("namespace not emptied name=%s error=%r", key, str(error))
                self._queue.add_rate_limited(key)
            except Exception:  # noqa: BLE001 - a fault in one namespace must hurt no other
                _log.exception("namespace not emptied name=%s", key)
                self._queue.add_rate_limited(key)
            finally:
                self._queue.done(key)
