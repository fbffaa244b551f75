"""The documents that tell clients what is served: legacy lists and aggregated discovery.

Source: upstream's `/api`, `/apis`, `/apis/<group>`, `/apis/<group>/<version>` and KEP-3352.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Sequence
from typing import Any, Final

from oarlock.cluster.objects.resources import RESOURCES, Resource, Subresource

AGGREGATED: Final = "apidiscovery.k8s.io/v2"


def legacy_versions(server_address: str) -> dict[str, Any]:
    """The APIVersions document of `/api`; clients reach the server at `server_address` ("host:port")."""
    return {
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": server_address}],
    }


def legacy_groups(resources: Sequence[Resource] = RESOURCES) -> dict[str, Any]:
    """The APIGroupList document of `/apis`."""
    groups = [_group(name, versions) for name, versions in group_versions(resources).items() if name]
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}


def legacy_group(group: str, resources: Sequence[Resource] = RESOURCES) -> dict[str, Any] | None:
    """The APIGroup document of `/apis/<group>`, or None where there is no such group."""
    versions = group_versions(resources).get(group)
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


def aggregated(*, core: bool, resources: Sequence[Resource] = RESOURCES) -> dict[str, Any]:
    """The APIGroupDiscoveryList document of `/api` (`core`) or `/apis`, in upstream's order."""
    items = []
    for group, versions in group_versions(resources).items():
        if bool(group) == core:
            continue
        metadata = {"name": group} if group else {}
        items.append({"metadata": metadata, "versions": [_discovered(group, one, resources) for one in versions]})
    return {"kind": "APIGroupDiscoveryList", "apiVersion": AGGREGATED, "metadata": {}, "items": items}


def group_versions(resources: Iterable[Resource] = RESOURCES) -> dict[str, list[str]]:
    """The versions of each group, preferred ones first, groups in upstream's order."""
    found: dict[str, list[str]] = {}
    for one in resources:
        versions = found.setdefault(one.group, [])
        if one.version not in versions:
            versions.append(one.version)
    return found


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


def _discovered(group: str, version: str, resources: Sequence[Resource]) -> dict[str, Any]:
    served = sorted(
        (one for one in resources if (one.group, one.version) == (group, version)), key=lambda one: one.plural
    )
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
