"""ConfigMaps and Secrets that a pod names, as read from the API just before they are used."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from oarlock.cluster.client import Unreachable
from oarlock.cluster.client.http import ApiClient
from oarlock.cluster.kubelet.runtime import ConfigFailure
from oarlock.cluster.objects.status import ApiError

Key = tuple[str, str]
"""("configmaps" or "secrets", name)"""
SINGULAR = {"configmaps": "configmap", "secrets": "secret"}
KINDS = {"configmaps": "ConfigMap", "secrets": "Secret"}


class References:
    """One pod's referenced objects. What was read once serves on while the API can't be reached."""

    def __init__(self, client: ApiClient, namespace: str) -> None:
        self._client = client
        self._namespace = namespace
        self._known: dict[Key, dict[str, Any] | None] = {}

    async def read(self, keys: Iterable[Key]) -> None:
        """Fetch the objects. Raises ConfigFailure when one was never read and can't be now."""
        for key in sorted(set(keys)):
            plural, name = key
            try:
                self._known[key] = await self._client.get(f"/api/v1/namespaces/{self._namespace}/{plural}/{name}")
            except ApiError as error:
                if error.code != 404:
                    raise ConfigFailure(f"failed to read {SINGULAR[plural]} {name}: {error.message}") from None
                self._known[key] = None
            except Unreachable as error:
                if key not in self._known:
                    raise ConfigFailure(f"failed to read {SINGULAR[plural]} {name}: {error}") from None

    def data(self, plural: str, name: str, *, optional: bool = False) -> dict[str, bytes]:
        """Return all keys with their values. Raises ConfigFailure if the object is missing and not optional."""
        found = self._known.get((plural, name))
        if found is None:
            if optional:
                return {}
            raise ConfigFailure(f'{SINGULAR[plural]} "{name}" not found')
        if plural == "secrets":
            return {key: _decoded(value) for key, value in (found.get("data") or {}).items()}
        text = {key: value.encode() for key, value in (found.get("data") or {}).items()}
        return text | {key: _decoded(value) for key, value in (found.get("binaryData") or {}).items()}

    def value(self, plural: str, selector: Mapping[str, Any]) -> str | None:
        """Return one key's value; None if it is missing and optional. Raises ConfigFailure."""
        optional = bool(selector.get("optional"))
        name, key = selector.get("name", ""), selector["key"]
        data = self.data(plural, name, optional=optional)
        if key in data:
            return data[key].decode(errors="surrogateescape")
        if optional:
            return None
        raise ConfigFailure(f"couldn't find key {key} in {KINDS[plural]} {self._namespace}/{name}")


def of_environment(container: Mapping[str, Any]) -> Iterator[Key]:
    """Yield what a container's environment needs."""
    for variable in container.get("env") or []:
        source = variable.get("valueFrom") or {}
        if "configMapKeyRef" in source:
            yield "configmaps", source["configMapKeyRef"].get("name", "")
        if "secretKeyRef" in source:
            yield "secrets", source["secretKeyRef"].get("name", "")
    for source in container.get("envFrom") or []:
        if "configMapRef" in source:
            yield "configmaps", source["configMapRef"].get("name", "")
        if "secretRef" in source:
            yield "secrets", source["secretRef"].get("name", "")


def of_volumes(spec: Mapping[str, Any]) -> Iterator[Key]:
    """Yield what a pod's volumes need."""
    for volume in spec.get("volumes") or []:
        for source in [volume, *(volume.get("projected") or {}).get("sources", [])]:
            if "configMap" in source:
                yield "configmaps", source["configMap"].get("name", "")
            if "secret" in source:
                yield "secrets", source["secret"].get("secretName") or source["secret"].get("name", "")


def _decoded(value: str) -> bytes:
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        return b""
