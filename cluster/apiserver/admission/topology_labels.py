"""PodTopologyLabels: a pod that is put on a node carries the node's zone and region.

Source: upstream's plugin/pkg/admission/podtopologylabels, KEP-4742.
"""

from __future__ import annotations

from typing import Any

from oarlock.cluster.apiserver.admission.attributes import Attributes
from oarlock.cluster.apiserver.admission.view import View

Obj = dict[str, Any]
_COPIED = ("topology.kubernetes.io/zone", "topology.kubernetes.io/region")


def copy(attributes: Attributes, view: View) -> None:
    """Copy the labels to a pod that is created on a node or bound to one; a node that isn't known has none."""
    node_name = attributes.obj.get("spec", {}).get("nodeName")
    if not node_name or not (attributes.is_create or attributes.subresource == "binding"):
        return
    node = view.get("", "nodes", node_name)
    labels = (node or {"metadata": {}})["metadata"].get("labels") or {}
    found = {name: labels[name] for name in _COPIED if name in labels}
    if found:
        metadata = attributes.obj["metadata"]
        metadata["labels"] = {**(metadata.get("labels") or {}), **found}
