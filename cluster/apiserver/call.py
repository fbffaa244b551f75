"""A resolved request for a resource: what every verb is given."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from oarlock.cluster.apiserver.authentication import User
from oarlock.cluster.apiserver.exchange import JSON, Request
from oarlock.cluster.apiserver.requests import RequestInfo
from oarlock.cluster.apiserver.storage import Fence, parse_fence
from oarlock.cluster.objects.resources import Resource


@dataclass
class Call:
    """A request, what it resolves to, and who makes it."""

    request: Request
    info: RequestInfo
    resource: Resource
    user: User

    @property
    def namespace(self) -> str:
        """The namespace of a namespaced resource, else ""."""
        return self.info.namespace if self.resource.namespaced else ""

    @cached_property
    def key(self) -> bytes:
        """The named object's store key."""
        return self.resource.key(self.namespace, self.info.name)

    @cached_property
    def fences(self) -> tuple[Fence, ...]:
        """The leases that a write depends on. Raises ApiError 400."""
        header = self.request.headers.get("Oarlock-Fence")
        return parse_fence(header) if header else ()

    @property
    def content_type(self) -> str:
        """The body's media type; JSON if the client doesn't say."""
        return self.request.headers.get("Content-Type", "") or JSON

    @property
    def accept(self) -> str:
        """The Accept header."""
        return self.request.headers.get("Accept", "")

    def warn(self, texts: list[str]) -> None:
        """Send `texts` to the client as Warning headers, each once, however often a write is tried."""
        self.request.warnings.extend(text for text in dict.fromkeys(texts) if text not in self.request.warnings)
