"""The order in which admission looks at a write, and what it adds to the transaction.

As upstream: what completes objects comes before their validation, what only judges them after it, both in one order.
Source: upstream's pkg/kubeapiserver/options/plugins.go.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

from oarlock.cluster.apiserver.admission import (
    certificates,
    claim_resize,
    default_classes,
    device_admin,
    lifecycle,
    limit_ranger,
    node_taints,
    priority,
    runtime_class,
    service_account,
    stamps,
    storage_protection,
    tolerations,
    topology_labels,
)
from oarlock.cluster.apiserver.admission.attributes import CREATE, UPDATE, Attributes, shown_name
from oarlock.cluster.apiserver.admission.pod_security import plugin as pod_security
from oarlock.cluster.apiserver.admission.pod_security.plugin import PodSecurity
from oarlock.cluster.apiserver.admission.quota.ledger import Ledgers
from oarlock.cluster.apiserver.admission.view import View, resource
from oarlock.cluster.apiserver.allocation.holding import Holdings
from oarlock.cluster.apiserver.allocation.services import Given, ServiceAllocation
from oarlock.cluster.apiserver.call import Call
from oarlock.cluster.apiserver.claims import Claims
from oarlock.cluster.apiserver.storage import Storage
from oarlock.cluster.objects.resources import Resource

Obj = dict[str, Any]
Step = Callable[[Attributes, View], Awaitable[None] | None]
Kinds = tuple[tuple[str, str], ...]
_PODS: Final = ("", "pods")
_DECISIVE: Final = (
    ("", "namespaces"),
    ("", "limitranges"),
    ("", "resourcequotas"),
    ("", "serviceaccounts"),
    ("networking.k8s.io", "ingressclasses"),
    ("node.k8s.io", "runtimeclasses"),
    ("scheduling.k8s.io", "priorityclasses"),
    ("storage.k8s.io", "storageclasses"),
)
"""Kinds that plugins decide by; nodes aren't among them, since they are written all the time."""
_REQUESTS: Final = ("certificates.k8s.io", "certificatesigningrequests")


@dataclass(frozen=True, slots=True)
class Plugin:
    """One plugin under upstream's name: what it does to objects of which kinds (None: all). Steps raise ApiError.

    What has no name is no plugin upstream, but part of the kind.
    """

    name: str
    kinds: Kinds | None
    mutate: Step | None = None
    validate: Step | None = None


def plugins(security: PodSecurity) -> tuple[Plugin, ...]:
    """Return the plugins that are on by default, in upstream's order."""
    claims = ("", "persistentvolumeclaims")
    classes = ("scheduling.k8s.io", "priorityclasses")
    return (
        Plugin("", (("", "namespaces"),), stamps.label_name),
        Plugin("", (_REQUESTS,), stamps.sign),
        Plugin("NamespaceLifecycle", None, lifecycle.admit),
        Plugin("LimitRanger", (_PODS, claims), limit_ranger.give_defaults, limit_ranger.check),
        Plugin("ServiceAccount", (_PODS,), service_account.complete, service_account.check),
        Plugin("TaintNodesByCondition", (("", "nodes"),), node_taints.taint),
        Plugin("PodSecurity", pod_security.KINDS, validate=security.check),
        Plugin("Priority", (_PODS,), priority.resolve),
        Plugin("Priority", (classes,), validate=priority.check_class),
        Plugin("DefaultTolerationSeconds", (_PODS,), tolerations.tolerate),
        Plugin("DefaultStorageClass", (claims,), default_classes.default_storage_class),
        Plugin("StorageObjectInUseProtection", tuple(storage_protection.FINALIZERS), storage_protection.protect),
        Plugin("PersistentVolumeClaimResize", (claims,), validate=claim_resize.check),
        Plugin("RuntimeClass", (_PODS,), runtime_class.complete, runtime_class.check),
        Plugin("CertificateApproval", (_REQUESTS,), validate=certificates.approve),
        Plugin("CertificateSigning", (_REQUESTS,), validate=certificates.sign),
        Plugin("CertificateSubjectRestriction", (_REQUESTS,), validate=certificates.restrict),
        Plugin("DefaultIngressClass", (("networking.k8s.io", "ingresses"),), default_classes.default_ingress_class),
        Plugin("", device_admin.KINDS, validate=device_admin.check),
        Plugin("PodTopologyLabels", (_PODS,), topology_labels.copy),
    )


class Admission:
    """Mutates and refuses writes. Raises ApiError, StoreError."""

    def __init__(
        self,
        storage: Storage,
        allocation: ServiceAllocation,
        holdings: Holdings,
        security: PodSecurity,
        disabled: Iterable[str] = (),
    ) -> None:
        """`disabled` are names of plugins that are left out."""
        self._plugins = tuple(one for one in plugins(security) if one.name not in frozenset(disabled))
        self._steps: dict[tuple[str, str], tuple[list[Step], list[Step]]] = {}
        self._view = View(storage)
        storage.decisive = tuple(resource(*kind).key_prefix for kind in _DECISIVE)
        self._allocation = allocation
        self.quotas = Ledgers(self._view)
        self._holdings = holdings

    def attributes(
        self, call: Call, obj: Obj, old: Obj | None, subresource: str, *, dry_run: bool, generated: bool = False
    ) -> Attributes:
        """Return what plugins are told. `generated`: the name of a new object isn't settled yet."""
        name = obj["metadata"]["generateName"] if generated else shown_name(obj)
        return Attributes(
            CREATE if old is None else UPDATE,
            call.resource,
            subresource,
            call.namespace,
            name or call.info.name,
            call.user,
            dry_run,
            call.warn,
            obj,
            old,
        )

    async def mutate(self, attributes: Attributes) -> None:
        """Complete an object before its validation, in place."""
        await self._view.storage.see_own()
        for step in self._of(attributes)[0]:
            waiting = step(attributes, self._view)
            if waiting is not None:
                await waiting

    async def validate(self, attributes: Attributes) -> None:
        """Refuse a valid object for what it means beside others."""
        for step in self._of(attributes)[1]:
            waiting = step(attributes, self._view)
            if waiting is not None:
                await waiting

    def refuse_deletion(self, resource: Resource, name: str) -> None:
        """Raise ApiError 403 for an object that every cluster needs."""
        if (resource.group, resource.plural) == ("", "namespaces"):
            lifecycle.refuse_deletion(name)
        elif (resource.group, resource.plural) == ("scheduling.k8s.io", "priorityclasses"):
            priority.refuse_deletion(name)

    def _of(self, attributes: Attributes) -> tuple[list[Step], list[Step]]:
        kind = attributes.kind
        found = self._steps.get(kind)
        if found is None:
            fitting = [one for one in self._plugins if one.kinds is None or kind in one.kinds]
            mutating = [one.mutate for one in fitting if one.mutate is not None]
            validating = [one.validate for one in fitting if one.validate is not None]
            found = self._steps[kind] = (mutating, validating)
        return found

    async def give(self, call: Call, new: Obj, old: Obj | None, part: str, *, dry_run: bool) -> Given:
        """Return the object with what the cluster allocates for it: before its validation, again when claims fail."""
        if part or not _is_service(call.resource):
            return Given(new)
        return await self._allocation.give(new, old, dry_run=dry_run)

    async def claims(self, resource: Resource, new: Obj | None, old: Obj | None) -> Claims:
        """Return what the transaction of a valid write of `new` over `old` takes and gives back.

        None stands for no object: before a creation, after a deletion.
        """
        return self._holdings.claims(new, old) if _is_service(resource) else ()

    async def remains(self, resource: Resource, obj: Obj) -> Given | None:
        """Return what takes the place of an object that is deleted, where something has to."""
        if (resource.group, resource.kind) != ("networking.k8s.io", "IPAddress"):
            return None
        return await self._holdings.renewed(obj)


def _is_service(resource: Resource) -> bool:
    return resource.group == "" and resource.kind == "Service"
