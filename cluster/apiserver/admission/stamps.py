"""What the server knows better than a client: a namespace's label with its name, who makes a request, a lacking name.

Source: KEP-2161; PrepareForCreate in upstream's pkg/registry/certificates/certificates and core/limitrange.
"""

from __future__ import annotations

from uuid import uuid4

from oarlock.cluster.apiserver.admission.attributes import Attributes
from oarlock.cluster.apiserver.admission.view import View


def label_name(attributes: Attributes, _: View) -> None:
    """Label a namespace with its name."""
    metadata = attributes.obj["metadata"]
    if metadata.get("name"):
        metadata["labels"] = {**(metadata.get("labels") or {}), "kubernetes.io/metadata.name": metadata["name"]}


def name_at_random(attributes: Attributes, _: View) -> None:
    """Name a LimitRange that nobody has named."""
    metadata = attributes.obj["metadata"]
    if attributes.is_create and not metadata.get("name"):
        metadata["name"] = str(uuid4())


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
