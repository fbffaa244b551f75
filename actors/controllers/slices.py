"""EndpointSlices as every controller that makes some writes them: their names, owners, labels, and whose they are.

Source: kubernetes.io "EndpointSlices"; upstream's k8s.io/endpointslice utils.go and endpointslicemirroring utils.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from oarlock.actors.controllers.actions import Action, Create, Update
from oarlock.actors.controllers.backends import MANAGED_BY, SERVICE_NAME, Ports
from oarlock.actors.controllers.loop import Due
from oarlock.actors.controllers.ownership import controller_reference
from oarlock.actors.controllers.triggers import annotated
from oarlock.actors.controllers.view import View

Object = dict[str, Any]

_PREFIX_MAX = 63 - 5 - 1


@dataclass(frozen=True)
class Said:
    """What a slice is to say."""

    labels: dict[str, str]
    annotations: dict[str, str]
    ports: Ports
    endpoints: list[Object]


@dataclass(frozen=True)
class Slices:
    """The slices of one manager, as the label names it."""

    manager: str

    def of(self, view: View, key: str) -> list[Object]:
        """Return the manager's slices of the Service `namespace/name`."""
        namespace, _, name = key.partition("/")
        return view.labelled("endpointslices", namespace, self.labels(name, {}))

    def due(self, piece: Mapping[str, Any]) -> Iterable[Due]:
        """Return the key of the Service that a slice of this manager is of."""
        name = self._service_of(piece)
        return [Due(f"{piece['metadata']['namespace']}/{name}")] if name else []

    def labels(self, service: str, more: Mapping[str, str]) -> dict[str, str]:
        """Return the labels of a slice of a Service: `more`, and the two by which it is found."""
        return {**more, SERVICE_NAME: service, MANAGED_BY: self.manager}

    def _service_of(self, piece: Mapping[str, Any]) -> str | None:
        labels = piece["metadata"].get("labels") or {}
        return labels.get(SERVICE_NAME) if labels.get(MANAGED_BY) == self.manager else None


def created(view: View, owner: Object, family: str, said: Said) -> Create:
    """Return the creation of a slice, under a name that begins as its owner's."""
    name = owner["metadata"]["name"]
    metadata: Object = {
        "name": f"{name[:_PREFIX_MAX]}-{view.suffix()}",
        "generateName": f"{name}-",
        "namespace": owner["metadata"]["namespace"],
        "labels": said.labels,
        "annotations": said.annotations,
        "ownerReferences": [controller_reference(owner)],
    }
    kind = {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": family}
    return Create({**kind, "metadata": metadata, "endpoints": said.endpoints or None, "ports": said.ports or None})


def updated(held: Object, said: Said) -> list[Action]:
    """Return what makes a slice say this; the time of a change alone is no reason to write."""
    metadata = held["metadata"]
    was = (metadata.get("labels") or {}, annotated(metadata.get("annotations"), None))
    same = was == (said.labels, annotated(said.annotations, None))
    if same and (held.get("endpoints") or []) == said.endpoints and (held.get("ports") or []) == said.ports:
        return []
    metadata = {**metadata, "labels": said.labels, "annotations": said.annotations}
    return [Update({**held, "metadata": metadata, "endpoints": said.endpoints or None, "ports": said.ports or None})]
