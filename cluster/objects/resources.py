"""What the server serves: every built-in group, version, kind and subresource.

Source: `data/resources.json`, written from what upstream v1.36 answers to aggregated discovery. Adding a kind is
adding a row.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import orjson

if TYPE_CHECKING:
    from oarlock.cluster.objects.custom.kind import CustomKind

ALL_VERBS: Final = frozenset({"create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"})
_STATUS_VERBS: Final = frozenset({"get", "patch", "update"})

#: Resources whose objects are stored under another group or version: they are views of the same objects.
_STORED_AS: Final = {
    ("events.k8s.io", "v1", "events"): ("", "v1"),
    ("autoscaling", "v1", "horizontalpodautoscalers"): ("autoscaling", "v2"),
}


@dataclass(frozen=True, slots=True)
class Subresource:
    """A path below an object, such as `status` or `scale`; its body is of `kind` in `group`/`version`."""

    name: str
    kind: str
    group: str
    version: str
    verbs: frozenset[str]

    @property
    def api_version(self) -> str:
        """`v1` or `group/version`."""
        return f"{self.group}/{self.version}" if self.group else self.version


@dataclass(frozen=True)
class Resource:
    """One row of the API: a plural name in a group and version. `subresources` is by name.

    `custom` are the rules of one that a CustomResourceDefinition makes; two generations of it are equal, not the same.
    """

    group: str
    version: str
    kind: str
    plural: str
    singular: str
    namespaced: bool
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    verbs: frozenset[str] = ALL_VERBS
    subresources: Mapping[str, Subresource] = field(default_factory=dict, hash=False)
    custom: CustomKind | None = field(default=None, compare=False, repr=False)

    @cached_property
    def api_version(self) -> str:
        """`v1` or `group/version`, as objects carry it."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @cached_property
    def list_kind(self) -> str:
        """The kind of a list of these objects."""
        return self.kind + "List"

    @cached_property
    def qualified(self) -> str:
        """`deployments.apps`, or `pods` in the core group."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @cached_property
    def qualified_kind(self) -> str:
        """`Deployment.apps`, or `Pod` in the core group."""
        return f"{self.kind}.{self.group}" if self.group else self.kind

    @cached_property
    def stored_as(self) -> tuple[str, str]:
        """(group, version) in which the objects are stored; differs for kinds served in several forms."""
        if self.custom is not None:
            return self.group, self.custom.storage_version
        return _STORED_AS.get((self.group, self.version, self.plural), (self.group, self.version))

    @cached_property
    def head(self) -> bytes:
        """What the JSON of every object of the kind begins with."""
        return b'{"kind":"%b","apiVersion":"%b",' % (self.kind.encode(), self.api_version.encode())

    @cached_property
    def key_prefix(self) -> bytes:
        """Where the objects stand in the store: `/registry/<group or core>/<plural>/`."""
        return f"/registry/{self.stored_as[0] or 'core'}/{self.plural}/".encode()

    def key(self, namespace: str, name: str) -> bytes:
        """The store key of one object; `namespace` is ignored for cluster-scoped kinds."""
        path = f"{namespace}/{name}" if self.namespaced else name
        return self.key_prefix + path.encode()

    def path(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """The URL path of the collection, an object or a subresource."""
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        scope = f"/namespaces/{namespace}" if self.namespaced and namespace else ""
        tail = "".join(f"/{part}" for part in (name, subresource) if part)
        return f"{root}{scope}/{self.plural}{tail}"


def _load() -> Iterator[Resource]:
    document = orjson.loads((Path(__file__).parent / "data" / "resources.json").read_bytes())
    for group in document["groups"]:
        for version in group["versions"]:
            for row in version["resources"]:
                yield _resource(group["group"], version["version"], row)


def _resource(group: str, version: str, row: Mapping[str, Any]) -> Resource:
    return Resource(
        group=group,
        version=version,
        kind=row["kind"],
        plural=row["plural"],
        singular=row["singular"],
        namespaced=not row.get("cluster", False),
        short_names=tuple(row.get("short", ())),
        categories=tuple(row.get("categories", ())),
        verbs=frozenset(row["verbs"]) if "verbs" in row else ALL_VERBS,
        subresources={
            sub["name"]: Subresource(
                name=sub["name"],
                kind=sub["kind"],
                group=sub.get("group", group),
                version=sub.get("version", version),
                verbs=frozenset(sub["verbs"]) if "verbs" in sub else _STATUS_VERBS,
            )
            for sub in row.get("subresources", ())
        },
    )


#: Every built-in resource, in upstream's order of groups.
RESOURCES: Final[tuple[Resource, ...]] = tuple(_load())
_BY_PLURAL: Final = {(one.group, one.version, one.plural): one for one in RESOURCES}
_BY_KIND: Final = {(one.group, one.version, one.kind): one for one in RESOURCES}


def lookup(group: str, version: str, plural: str) -> Resource | None:
    """The resource served at that path, if any."""
    return _BY_PLURAL.get((group, version, plural))


def by_kind(group: str, version: str, kind: str) -> Resource | None:
    """The resource whose objects are of that kind, if any."""
    return _BY_KIND.get((group, version, kind))


def storage_of(resource: Resource) -> Resource:
    """The resource in whose form `resource`'s objects are stored (itself for nearly all)."""
    group, version = resource.stored_as
    return _BY_PLURAL.get((group, version, resource.plural), resource)
