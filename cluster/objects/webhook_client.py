"""Where a webhook is: what a `clientConfig` says, whatever kind of object has it."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

PORT_DEFAULT: Final = 443


@dataclass(frozen=True, slots=True)
class ServiceReference:
    """A Service by name, the port of it, and the path to ask for."""

    namespace: str
    name: str
    port: int = PORT_DEFAULT
    path: str = ""

    @property
    def host(self) -> str:
        """The name that the webhook's certificate must be for."""
        return f"{self.name}.{self.namespace}.svc"


@dataclass(frozen=True, slots=True)
class ClientConfig:
    """A webhook's place: a URL or a Service. `bundle` is who signs its certificate (PEM), b"" for the host's own."""

    url: str = ""
    service: ServiceReference | None = None
    bundle: bytes = b""

    @property
    def address(self) -> str:
        """The URL that is asked for, as messages show it too."""
        if self.service is None:
            return self.url
        path = self.service.path
        return f"https://{self.service.host}:{self.service.port}{'/' if path[:1] != '/' else ''}{path}"


def read(given: Mapping[str, Any]) -> ClientConfig:
    """Read a clientConfig that validation has let in; a bundle that is no base64 counts as none that anybody signs."""
    service = given.get("service")
    try:
        bundle = base64.b64decode(given.get("caBundle") or "")
    except binascii.Error:
        bundle = b"\n"
    if service is None:
        return ClientConfig(url=given.get("url") or "", bundle=bundle)
    place = ServiceReference(
        service["namespace"], service["name"], service.get("port") or PORT_DEFAULT, service.get("path") or ""
    )
    return ClientConfig(service=place, bundle=bundle)
