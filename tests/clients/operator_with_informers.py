"""An operator as one writes it with the official client alone: an election, informers, a queue, a reconcile loop.

`python operator_with_informers.py NAMESPACE IDENTITY` keeps a ConfigMap for every Site of the namespace while it leads.
"""

from __future__ import annotations

import os
import queue
import signal
import sys
import threading
from types import SimpleNamespace
from typing import Any

from kubernetes import client, config
from kubernetes.client.exceptions import ApiException
from kubernetes.informer import SharedInformer
from kubernetes.leaderelection import electionconfig, leaderelection
from kubernetes.leaderelection.resourcelock.leaselock import LeaseLock

SITES = {"group": "web.example.com", "version": "v1", "plural": "sites"}
FINALIZER = "web.example.com/page"
RETRY_S = 0.1


class Reconciler:
    """Brings the world to what each Site says; a failure is tried again from the newest state."""

    def __init__(self, namespace: str, identity: str) -> None:
        self.namespace, self.identity = namespace, identity
        self.core, self.custom = client.CoreV1Api(), client.CustomObjectsApi()
        self.queue: queue.Queue[str] = queue.Queue()
        self.conflicts = 0
        self.sites = SharedInformer(self.list_sites, namespace=namespace)
        self.pages = SharedInformer(self.core.list_namespaced_config_map, namespace=namespace, label_selector="site")
        for change in ("ADDED", "MODIFIED", "DELETED"):
            self.sites.add_event_handler(change, lambda site: self.queue.put(site["metadata"]["name"]))
            self.pages.add_event_handler(change, lambda page: self.queue.put(page.metadata.labels["site"]))

    def list_sites(self, **asked: Any) -> Any:
        """List or watch; the informer wants a list's items as attributes."""
        answer = self.custom.list_namespaced_custom_object(**SITES, **asked)
        if asked.get("watch"):
            return answer
        version = answer["metadata"]["resourceVersion"]
        return SimpleNamespace(items=answer["items"], metadata=SimpleNamespace(resource_version=version))

    def lead(self) -> None:
        self.sites.start()
        self.pages.start()
        while True:
            name = self.queue.get()
            try:
                self.reconcile(name)
            except ApiException as failure:
                self.conflicts += failure.status == 409
                print(f"{name}: {failure.status} {failure.reason}: again", flush=True)
                threading.Timer(RETRY_S, self.queue.put, (name,)).start()

    def reconcile(self, name: str) -> None:
        site = self.sites.cache.get_by_key(f"{self.namespace}/{name}")
        if site is None:
            return
        place = {**SITES, "namespace": self.namespace, "name": name}
        metadata = site["metadata"]
        if metadata.get("deletionTimestamp"):
            self.remove_page(name)
            kept = [one for one in metadata.get("finalizers", []) if one != FINALIZER]
            self.custom.replace_namespaced_custom_object(
                **place, body={**site, "metadata": {**metadata, "finalizers": kept}}
            )
            return
        if FINALIZER not in metadata.get("finalizers", []):
            self.custom.patch_namespaced_custom_object(**place, body={"metadata": {"finalizers": [FINALIZER]}})
        self.keep_page(name, site)
        wanted = {"observedGeneration": metadata["generation"], "by": self.identity}
        status = site.get("status") or {}
        if not wanted.items() <= status.items():
            # Of the version in the cache: where that is older than the server's, this is a conflict, tried again.
            body = {**site, "status": {**status, **wanted, "conflicts": self.conflicts}}
            self.custom.replace_namespaced_custom_object_status(**place, body=body)

    def keep_page(self, name: str, site: dict[str, Any]) -> None:
        data = {"index.html": site["spec"]["greeting"]}
        known = self.pages.cache.get_by_key(f"{self.namespace}/{name}")
        if known is None:
            owner = client.V1OwnerReference(
                api_version="web.example.com/v1", kind="Site", name=name, uid=site["metadata"]["uid"]
            )
            heading = client.V1ObjectMeta(name=name, labels={"site": name}, owner_references=[owner])
            self.core.create_namespaced_config_map(self.namespace, client.V1ConfigMap(metadata=heading, data=data))
        elif known.data != data:
            known.data = data
            self.core.replace_namespaced_config_map(name, self.namespace, known)

    def remove_page(self, name: str) -> None:
        try:
            self.core.delete_namespaced_config_map(name, self.namespace)
        except ApiException as failure:
            if failure.status != 404:
                raise


def main(namespace: str, identity: str) -> None:
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    config.load_kube_config()
    lock = LeaseLock("sites", namespace, identity)
    reconciler = Reconciler(namespace, identity)
    settings = electionconfig.Config(
        lock,
        lease_duration=6,
        renew_deadline=5,
        retry_period=1,
        onstarted_leading=reconciler.lead,
        onstopped_leading=lambda: os._exit(1),
    )
    leaderelection.LeaderElection(settings).run()


if __name__ == "__main__":
    main(*sys.argv[1:])
