"""What the server knows better than a client: a namespace's name as a label, and who makes a signing request.

Source: KEP-2161; upstream's pkg/registry/certificates/certificates/strategy.go (PrepareForCreate).
"""

from __future__ import annotations

from oarlock.cluster.apiserver.admission.attributes import Attributes
from oarlock.cluster.apiserver.admission.view import View


def label_name(attributes: Attributes, _: View) -> None:
    """Label a namespace with its name."""
    metadata = attributes.obj["metadata"]
    if metadata.get("name"):
        metadata["labels"] = {**(metadata.get("labels") or {}), "kubernetes.io/metadata.name": metadata["name"]}


def sign(attributes: Attributes, _: View) -> None:
    """Write into a new signing request who made it, whatever its maker says of that."""
    if not attributes.is_create:
        return
    spec, user = attributes.obj.setdefault("spec", {}), attributes.user
    for name in ("username", "uid", "groups", "extra"):
        spec.pop(name, None)
    spec["username"] = user.name
    spec["groups"] = list(user.groups)
    if user.uid:
        spec["uid"] = user.uid
    if user.extra:
        spec["extra"] = {name: list(values) for name, values in user.extra}
