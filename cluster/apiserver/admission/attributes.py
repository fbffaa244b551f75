"""What a plugin is told of a write, and how it refuses one.

Source: apiserver pkg/admission (attributes.go, errors.go).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from oarlock.cluster.apiserver.authentication import User
from oarlock.cluster.objects import status
from oarlock.cluster.objects.resources import Resource
from oarlock.cluster.objects.status import ApiError

Obj = dict[str, Any]
CREATE, UPDATE = "CREATE", "UPDATE"


@dataclass(frozen=True, slots=True)
class Attributes:
    """One write as admission sees it. `obj` may be changed by mutating plugins only, `old` by none.

    `name` is how messages call the object: while names are still to be generated, what they will begin with.
    """

    operation: str
    resource: Resource
    subresource: str
    namespace: str
    name: str
    user: User
    dry_run: bool
    warn: Callable[[list[str]], None]
    obj: Obj
    old: Obj | None = None

    @property
    def kind(self) -> tuple[str, str]:
        """The group and the plural name of what is written."""
        return self.resource.group, self.resource.plural

    @property
    def is_create(self) -> bool:
        """Whether a new object is written, not a subresource of one that there is."""
        return self.operation == CREATE and not self.subresource

    @property
    def is_update(self) -> bool:
        """Whether a whole object is replaced, not a subresource."""
        return self.operation == UPDATE and not self.subresource

    def forbidden(self, why: str) -> ApiError:
        """Return the refusal that a plugin raises."""
        return status.forbidden(self.resource.qualified, self.name or "Unknown", why)


def shown_name(obj: Obj) -> str:
    """Return how messages call an object whose name may still have to be generated."""
    metadata = obj["metadata"]
    return metadata.get("name") or metadata.get("generateName") or ""
