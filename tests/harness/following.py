"""One kind's objects as a client of the API sees them, awaited by watches and not by sleeping."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from kubernetes.client.exceptions import ApiException
from kubernetes.dynamic import DynamicClient

Object = dict[str, Any]
MERGE = "application/merge-patch+json"


class Kind:
    """Objects of a kind in one namespace (or none), as plain dictionaries, by the official dynamic client."""

    def __init__(self, client: DynamicClient, api_version: str, kind: str, namespace: str | None = None) -> None:
        self.resource = client.resources.get(api_version=api_version, kind=kind)
        self._kind, self._where = kind, {"namespace": namespace} if namespace else {}
        self._heading = {"apiVersion": api_version, "kind": kind}

    def create(self, name: str, **fields: Any) -> Object:
        metadata = {"name": name, **fields.pop("metadata", {})}
        body = {**self._heading, "metadata": metadata, **fields}
        return self.resource.create(body=body, **self._where).to_dict()

    def get(self, name: str) -> Object:
        return self.resource.get(name=name, **self._where).to_dict()

    def find(self, name: str) -> Object | None:
        """Return the object, None if there is none."""
        try:
            return self.get(name)
        except ApiException as failure:
            if failure.status == 404:
                return None
            raise

    def list(self, **selectors: str) -> list[Object]:
        return self.resource.get(**self._where, **selectors).to_dict()["items"]

    def patch(self, name: str, **fields: Any) -> Object:
        """Merge the fields into the object."""
        return self.resource.patch(name=name, body=fields, content_type=MERGE, **self._where).to_dict()

    def delete(self, name: str, **options: Any) -> None:
        self.resource.delete(name=name, body={"propagationPolicy": "Background", **options}, **self._where)

    def until(self, holds: Callable[[Sequence[Object]], object], within_s: int = 150, **selectors: str) -> list[Object]:
        """Return the selected objects once `holds(objects)` is true, told by a watch of every change on the way."""
        listed = self.resource.get(**self._where, **selectors).to_dict()
        seen = {_identity(one): one for one in listed["items"]}
        if holds(list(seen.values())):
            return list(seen.values())
        begin = listed["metadata"]["resourceVersion"]
        for event in self.resource.watch(**self._where, **selectors, resource_version=begin, timeout=within_s):
            one = event["raw_object"]
            if event["type"] == "DELETED":
                seen.pop(_identity(one), None)
            else:
                seen[_identity(one)] = one
            if holds(list(seen.values())):
                return list(seen.values())
        raise AssertionError(f"{self._kind}: not within {within_s} s; last: {list(seen.values())}")

    def until_object(self, name: str, holds: Callable[[Object], object], within_s: int = 150) -> Object:
        """Return the object once it is there and `holds(object)` is true."""
        selector = f"metadata.name={name}"
        (found,) = self.until(lambda all_: all_ and holds(all_[0]), within_s, field_selector=selector)
        return found

    def until_gone(self, name: str, within_s: int = 150) -> None:
        """Return once no object has the name."""
        self.until(lambda all_: not all_, within_s, field_selector=f"metadata.name={name}")


def install_definitions(client: DynamicClient, definitions: Sequence[Object]) -> None:
    """Create CustomResourceDefinitions and return once each is established, with no complaint in its conditions."""
    kind = Kind(client, "apiextensions.k8s.io/v1", "CustomResourceDefinition")
    for definition in definitions:
        kind.resource.create(body=definition)
    for definition in definitions:
        made = kind.until_object(definition["metadata"]["name"], lambda one: len(conditions(one)) == 2)
        assert conditions(made) == {"NamesAccepted": "True", "Established": "True"}, made["status"]


def remove_definitions(client: DynamicClient, definitions: Sequence[Object]) -> None:
    """Delete CustomResourceDefinitions and return once they are gone."""
    kind = Kind(client, "apiextensions.k8s.io/v1", "CustomResourceDefinition")
    names = [definition["metadata"]["name"] for definition in definitions]
    for name in names:
        if kind.find(name) is not None:
            kind.delete(name)
    for name in names:
        kind.until_gone(name)


def conditions(obj: Object) -> dict[str, str]:
    return {one["type"]: one["status"] for one in (obj.get("status") or {}).get("conditions") or []}


def _identity(obj: Object) -> str:
    return str(obj["metadata"]["uid"])
