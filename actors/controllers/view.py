"""What a decision may read: the shared caches, the time and a source of randomness. No IO."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any

from oarlock.cluster.client.cache import Cache
from oarlock.cluster.objects import resources
from oarlock.cluster.objects.selectors import LabelSelector

Object = dict[str, Any]
Objects = list[Object]

#: The kinds that controllers read, by plural name (no two of them share one).
KINDS: Mapping[str, tuple[str, str]] = {
    "pods": ("", "v1"),
    "nodes": ("", "v1"),
    "namespaces": ("", "v1"),
    "services": ("", "v1"),
    "endpoints": ("", "v1"),
    "serviceaccounts": ("", "v1"),
    "configmaps": ("", "v1"),
    "secrets": ("", "v1"),
    "persistentvolumeclaims": ("", "v1"),
    "persistentvolumes": ("", "v1"),
    "resourcequotas": ("", "v1"),
    "limitranges": ("", "v1"),
    "replicationcontrollers": ("", "v1"),
    "podtemplates": ("", "v1"),
    "deployments": ("apps", "v1"),
    "replicasets": ("apps", "v1"),
    "statefulsets": ("apps", "v1"),
    "daemonsets": ("apps", "v1"),
    "controllerrevisions": ("apps", "v1"),
    "jobs": ("batch", "v1"),
    "cronjobs": ("batch", "v1"),
    "endpointslices": ("discovery.k8s.io", "v1"),
    "leases": ("coordination.k8s.io", "v1"),
    "poddisruptionbudgets": ("policy", "v1"),
    "horizontalpodautoscalers": ("autoscaling", "v2"),
    "ingresses": ("networking.k8s.io", "v1"),
    "networkpolicies": ("networking.k8s.io", "v1"),
    "servicecidrs": ("networking.k8s.io", "v1"),
    "ipaddresses": ("networking.k8s.io", "v1"),
    "roles": ("rbac.authorization.k8s.io", "v1"),
    "rolebindings": ("rbac.authorization.k8s.io", "v1"),
    "resourceclaims": ("resource.k8s.io", "v1"),
    "resourceclaimtemplates": ("resource.k8s.io", "v1"),
    "resourceslices": ("resource.k8s.io", "v1"),
    "csistoragecapacities": ("storage.k8s.io", "v1"),
    "volumeattributesclasses": ("storage.k8s.io", "v1"),
    "clusterroles": ("rbac.authorization.k8s.io", "v1"),
    "storageclasses": ("storage.k8s.io", "v1"),
    "certificatesigningrequests": ("certificates.k8s.io", "v1"),
    "validatingadmissionpolicies": ("admissionregistration.k8s.io", "v1"),
}

ENDED_PHASES = ("Succeeded", "Failed")
NAME_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
"""Without vowels and what looks like one, so that no word comes out. Source: apimachinery `util/rand`."""


def controller_of(obj: Mapping[str, Any]) -> Object | None:
    """Return the owner reference whose `controller` is true, or None."""
    for reference in obj["metadata"].get("ownerReferences") or ():
        if reference.get("controller"):
            found: Object = reference
            return found
    return None


def by_controller(obj: Object) -> Iterable[str]:
    """Index: the controlling owner's uid, or `orphan/NAMESPACE` when nothing controls the object."""
    owner = controller_of(obj)
    return (owner["uid"] if owner else f"orphan/{obj['metadata'].get('namespace', '')}",)


def by_owner(obj: Object) -> Iterable[str]:
    """Index: the uid of every owner."""
    return [reference["uid"] for reference in obj["metadata"].get("ownerReferences") or ()]


def by_node(obj: Object) -> Iterable[str]:
    """Index: the node that a pod is bound to, "" while it is bound to none."""
    return ((obj.get("spec") or {}).get("nodeName", ""),)


def by_end(obj: Object) -> Iterable[str]:
    """Index: the phase of a pod that has ended."""
    phase = (obj.get("status") or {}).get("phase")
    return (phase,) if phase in ENDED_PHASES else ()


def by_label(obj: Object) -> Iterable[str]:
    """Index: every label with its value, in the object's namespace."""
    metadata = obj["metadata"]
    namespace = metadata.get("namespace", "")
    return [f"{namespace}/{name}={value}" for name, value in (metadata.get("labels") or {}).items()]


def by_selector(service: Object) -> Iterable[str]:
    """Index: the first of the labels that a Service's pods have, in its namespace. Of metadata alone it is none."""
    selector = (service.get("spec") or {}).get("selector")
    if not selector:
        return ()
    name, value = min(selector.items())
    return (f"{service['metadata']['namespace']}/{name}={value}",)


def by_pool(obj: Object) -> Iterable[str]:
    """Index: the driver and the pool whose devices a slice names. Of metadata alone it is none."""
    spec = obj.get("spec")
    return (f"{spec['driver']}/{spec['pool']['name']}",) if spec else ()


def by_pod_cidr(obj: Object) -> Iterable[str]:
    """Index: the ranges of pod addresses that a node has."""
    return (obj.get("spec") or {}).get("podCIDRs") or ()


class View:
    """The caches by plural name. Objects read from it are shared: copy before changing."""

    def __init__(
        self,
        caches: Mapping[str, Cache],
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        randomness: random.Random | None = None,
    ) -> None:
        self.caches, self._clock, self._random = caches, clock, randomness or random.Random()
        for plural, cache in caches.items():
            cache.add_index("controller", by_controller)
            if plural == "pods":
                cache.add_index("node", by_node)
                cache.add_index("end", by_end)
            if plural in ("pods", "endpointslices"):
                cache.add_index("label", by_label)
            if plural == "services":
                cache.add_index("selector", by_selector)
            if plural == "resourceslices":
                cache.add_index("pool", by_pool)
            if plural == "nodes":
                cache.add_index("podcidr", by_pod_cidr)

    @property
    def now(self) -> datetime:
        """The present time, in UTC."""
        return self._clock()

    @property
    def stamp(self) -> str:
        """The present time as objects carry it, to the second."""
        return self.now.strftime("%Y-%m-%dT%H:%M:%SZ")

    def suffix(self, length: int = 5) -> str:
        """Return a random end for a generated name."""
        return "".join(self._random.choices(NAME_ALPHABET, k=length))

    def get(self, plural: str, key: str) -> Object | None:
        """Return the object `namespace/name` (or `name`), with `kind` and `apiVersion`, or None."""
        return self.caches[plural].get(key)

    def list(self, plural: str, namespace: str | None = None) -> list[Object]:
        """Return the objects of a kind, in one namespace or all."""
        return self.caches[plural].list(namespace)

    def controlled(self, plural: str, owner: Mapping[str, Any]) -> Iterable[Object]:
        """Return the objects whose controlling owner is `owner`."""
        return self.caches[plural].by_index("controller", owner["metadata"]["uid"])

    def orphans(self, plural: str, namespace: str) -> Iterable[Object]:
        """Return the objects of a namespace that nothing controls."""
        return self.caches[plural].by_index("controller", f"orphan/{namespace}")

    def labelled(self, plural: str, namespace: str, wanted: Mapping[str, str]) -> Objects:
        """Return the objects of a namespace that have these labels, whatever others; of a kind indexed by labels."""
        if not wanted:
            return self.list(plural, namespace)
        cache = self.caches[plural]
        keys = [f"{namespace}/{name}={value}" for name, value in wanted.items()]
        found = cache.by_index("label", min(keys, key=partial(cache.count, "label")))
        if len(wanted) == 1:
            return found
        pairs = wanted.items()
        return [one for one in found if pairs <= one["metadata"]["labels"].items()]

    def chosen(self, plural: str, namespace: str, selector: LabelSelector) -> Objects:
        """Return the objects of a namespace that a selector chooses; of a kind indexed by labels."""
        wanted = {one.key: value for one in selector.requirements if (value := one.only_value) is not None}
        found = self.labelled(plural, namespace, wanted)
        return [one for one in found if selector.matches(one["metadata"].get("labels"))]

    def services_for(self, namespace: str, labels: Mapping[str, str]) -> Objects:
        """Return the Services whose selectors mean a pod with these labels."""
        pairs, cache = labels.items(), self.caches["services"]
        found = (one for name, value in pairs for one in cache.by_index("selector", f"{namespace}/{name}={value}"))
        return [one for one in found if one["spec"]["selector"].items() <= pairs]

    def pods_on(self, node: str) -> Iterable[Object]:
        """Return the pods bound to a node."""
        return self.caches["pods"].by_index("node", node)

    def slices_of(self, driver: str, pool: str) -> Iterable[Object]:
        """Return the ResourceSlices of a driver's pool of devices."""
        return self.caches["resourceslices"].by_index("pool", f"{driver}/{pool}")

    def pod_cidrs(self) -> Iterable[str]:
        """Return every range of pod addresses that some node has."""
        return self.caches["nodes"].index_values("podcidr")

    def ended_pods(self) -> Iterable[Object]:
        """Return the pods whose containers have ended for good."""
        return [pod for phase in ENDED_PHASES for pod in self.caches["pods"].by_index("end", phase)]


def resource_of(obj: Mapping[str, Any]) -> resources.Resource:
    """Return the resource of an object by its kind; built-in kinds only, an unknown one is our own bug."""
    group, _, version = obj["apiVersion"].rpartition("/")
    found = resources.by_kind(group, version, obj["kind"])
    assert found is not None, f"no resource for {obj['apiVersion']} {obj['kind']}"
    return found


def parse_time(text: str) -> datetime:
    """Return the time that an object's timestamp names."""
    return datetime.fromisoformat(text)
