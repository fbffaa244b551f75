"""The documents that tell clients what is served: legacy lists and aggregated discovery.

Source: upstream's `/api`, `/apis`, `/apis/<group>`, `/apis/<group>/<version>` and KEP-3352.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from oarlock.cluster.objects.resources import RESOURCES, Resource, Subresource

AGGREGATED: Final = "apidiscovery.k8s.io/v2"
PRIORITIES: Final[Mapping[tuple[str, str], tuple[int, int]]] = {
    ("", "v1"): (18000, 1),
    ("admissionregistration.k8s.io", "v1"): (16700, 15),
    ("apiextensions.k8s.io", "v1"): (16700, 15),
    ("apps", "v1"): (17800, 15),
    ("authentication.k8s.io", "v1"): (17700, 15),
    ("authorization.k8s.io", "v1"): (17600, 15),
    ("autoscaling", "v1"): (17500, 15),
    ("autoscaling", "v2"): (17500, 30),
    ("batch", "v1"): (17400, 15),
    ("certificates.k8s.io", "v1"): (17300, 15),
    ("coordination.k8s.io", "v1"): (16500, 15),
    ("discovery.k8s.io", "v1"): (16200, 15),
    ("events.k8s.io", "v1"): (17750, 15),
    ("flowcontrol.apiserver.k8s.io", "v1"): (16100, 21),
    ("networking.k8s.io", "v1"): (17200, 15),
    ("node.k8s.io", "v1"): (16300, 15),
    ("policy", "v1"): (17100, 15),
    ("rbac.authorization.k8s.io", "v1"): (17000, 15),
    ("resource.k8s.io", "v1"): (16200, 21),
    ("scheduling.k8s.io", "v1"): (16600, 15),
    ("storage.k8s.io", "v1"): (16800, 15),
}
"""Of each group and version, how discovery ranks the group and the version within it."""
_FIRST: Final = "apiregistration.k8s.io"
_CUSTOM_RANK: Final = 1000


@dataclass(frozen=True, slots=True)
class Extension:
    """A group that another server has: its rank among groups, its versions with the preferred one first."""

    rank: int
    versions: tuple[str, ...]


Extensions = Mapping[str, Extension]


def legacy_versions(server_address: str) -> dict[str, Any]:
    """The APIVersions document of `/api`; clients reach the server at `server_address` ("host:port")."""
    return {
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": server_address}],
    }


def legacy_groups(
    resources: Sequence[Resource] = RESOURCES, extensions: Extensions = MappingProxyType({})
) -> dict[str, Any]:
    """The APIGroupList document of `/apis`."""
    groups = [_group(name, versions) for name, versions in _ranked(resources, extensions).items() if name]
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}


def legacy_group(
    group: str, resources: Sequence[Resource] = RESOURCES, extensions: Extensions = MappingProxyType({})
) -> dict[str, Any] | None:
    """The APIGroup document of `/apis/<group>`, or None where there is no such group."""
    versions = _ranked(resources, extensions).get(group)
    if not group or versions is None:
        return None
    return {"kind": "APIGroup", "apiVersion": "v1", **_group(group, versions)}


def legacy_resources(group: str, version: str, resources: Sequence[Resource] = RESOURCES) -> dict[str, Any] | None:
    """The APIResourceList document of a group and version, or None where that is not served."""
    served = [one for one in resources if (one.group, one.version) == (group, version)]
    if not served:
        return None
    rows = [row for one in sorted(served, key=lambda one: one.plural) for row in _legacy_rows(one)]
    head: dict[str, Any] = {"kind": "APIResourceList"}
    if group:
        head["apiVersion"] = "v1"
    return {**head, "groupVersion": f"{group}/{version}" if group else version, "resources": rows}


def legacy(group: str | None = None, version: str | None = None, server_address: str = "") -> dict[str, Any] | None:
    """The legacy document of a path: `/apis` (no group), `/apis/<group>`, or a group and version ("" is core).

    The core group without a version is `/api`. None where there is nothing.
    """
    if group is None:
        return legacy_groups()
    if version is not None:
        return legacy_resources(group, version)
    return legacy_group(group) if group else legacy_versions(server_address)


def aggregated(
    *, core: bool, resources: Sequence[Resource] = RESOURCES, extensions: Extensions = MappingProxyType({})
) -> dict[str, Any]:
    """The APIGroupDiscoveryList document of `/api` (`core`) or `/apis`, in upstream's order.

    Of what others have only the name is known here, and that it may have changed.
    """
    items = []
    own: dict[tuple[str, str], list[Resource]] = {}
    for one in resources:
        own.setdefault((one.group, one.version), []).append(one)
    for group, versions in _ranked(resources, extensions).items():
        if bool(group) == core:
            continue
        metadata = {"name": group} if group else {}
        told = [
            _discovered(one, own[group, one]) if (group, one) in own else {"version": one, "freshness": "Stale"}
            for one in versions
        ]
        items.append({"metadata": metadata, "versions": told})
    return {"kind": "APIGroupDiscoveryList", "apiVersion": AGGREGATED, "metadata": {}, "items": items}


def group_versions(resources: Iterable[Resource] = RESOURCES) -> dict[str, list[str]]:
    """The versions of each group, preferred ones first, groups in upstream's order."""
    found: dict[str, list[str]] = {}
    for one in resources:
        versions = found.setdefault(one.group, [])
        if one.version not in versions:
            versions.append(one.version)
    return found


def _ranked(resources: Sequence[Resource], extensions: Extensions) -> dict[str, list[str]]:
    """All groups with their versions, by rank, equal ranks by the name of the preferred version and the group."""
    own = group_versions(resources)
    if not extensions:
        return own
    found = {
        group: [*own.get(group, ()), *(extensions[group].versions if group in extensions else ())]
        for group in (*own, *(one for one in extensions if one not in own))
    }
    ranks = {group: rank for (group, _), (rank, _) in PRIORITIES.items()}

    def place(group: str) -> tuple[bool, int, str]:
        rank = extensions[group].rank if group in extensions else _CUSTOM_RANK
        return group != _FIRST, -ranks.get(group, rank), f"{found[group][0]}.{group}"

    return {group: found[group] for group in sorted(found, key=place)}


def storage_version_hash(resource: Resource) -> str:
    """A short hash of the stored version, by which clients notice that it changed."""
    group, version = resource.stored_as
    digest = hashlib.sha256(f"{group}/{version}/{resource.kind}".encode()).digest()
    return base64.b64encode(digest[:8]).decode()


def _group(name: str, versions: Sequence[str]) -> dict[str, Any]:
    listed = [{"groupVersion": f"{name}/{version}", "version": version} for version in versions]
    return {"name": name, "versions": listed, "preferredVersion": listed[0]}


def _legacy_rows(resource: Resource) -> Iterable[dict[str, Any]]:
    row: dict[str, Any] = {
        "name": resource.plural,
        "singularName": resource.singular,
        "namespaced": resource.namespaced,
        "kind": resource.kind,
        "verbs": sorted(resource.verbs),
    }
    if resource.short_names:
        row["shortNames"] = list(resource.short_names)
    if resource.categories:
        row["categories"] = list(resource.categories)
    if "watch" in resource.verbs:
        row["storageVersionHash"] = storage_version_hash(resource)
    yield row
    for sub in resource.subresources.values():
        yield _legacy_subresource(resource, sub)


def _legacy_subresource(resource: Resource, sub: Subresource) -> dict[str, Any]:
    row: dict[str, Any] = {
        "name": f"{resource.plural}/{sub.name}",
        "singularName": "",
        "namespaced": resource.namespaced,
    }
    if (sub.group, sub.version) != (resource.group, resource.version):
        row["group"] = sub.group
        row["version"] = sub.version
    return {**row, "kind": sub.kind, "verbs": sorted(sub.verbs)}


def _discovered(version: str, resources: Sequence[Resource]) -> dict[str, Any]:
    served = sorted(resources, key=lambda one: one.plural)
    return {"version": version, "resources": [_aggregated_row(one) for one in served], "freshness": "Current"}


#: An empty group and version in a responseKind stand for those of the list it is in.
def _aggregated_row(resource: Resource) -> dict[str, Any]:
    row: dict[str, Any] = {
        "resource": resource.plural,
        "responseKind": {"group": "", "version": "", "kind": resource.kind},
        "scope": "Namespaced" if resource.namespaced else "Cluster",
        "singularResource": resource.singular,
        "verbs": sorted(resource.verbs),
    }
    if resource.short_names:
        row["shortNames"] = list(resource.short_names)
    if resource.categories:
        row["categories"] = list(resource.categories)
    if resource.subresources:
        row["subresources"] = [_aggregated_subresource(resource, sub) for sub in resource.subresources.values()]
    return row


def _aggregated_subresource(resource: Resource, sub: Subresource) -> dict[str, Any]:
    own = (sub.group, sub.version) == (resource.group, resource.version)
    kind = {"group": "" if own else sub.group, "version": "" if own else sub.version, "kind": sub.kind}
    return {"subresource": sub.name, "responseKind": kind, "verbs": sorted(sub.verbs)}
