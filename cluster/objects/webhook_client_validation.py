"""Validate where a webhook is called: a URL, or a Service with a path.

Source: apiserver `pkg/util/webhook/validation.go`; what URLs can't be read: Go's net/url.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from oarlock.cluster.objects import names
from oarlock.cluster.objects.causes import invalid, required
from oarlock.cluster.objects.gotext import quote
from oarlock.cluster.objects.status import Cause

Obj = Mapping[str, Any]

_FORM: Final = "; desired format: https://host[/path]"
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2}).{0,2}")
_BAD_HOST: Final = re.compile(r"[ \"<>\\^`{|}]")


def url(text: str, path: str) -> list[Cause]:
    """What is wrong with a webhook's URL: https, a host, and nothing behind the path."""
    why = _unreadable(text)
    if why:
        return [required(path, f"url must be a valid URL: parse {quote(text)}: {why}{_FORM}")]
    parts = urlsplit(text)
    causes: list[Cause] = []
    user, _, host = parts.netloc.rpartition("@")
    if parts.scheme != "https":
        causes.append(invalid(path, parts.scheme, f"'https' is the only allowed URL scheme{_FORM}"))
    if not host:
        causes.append(invalid(path, host, f"host must be specified{_FORM}"))
    if "@" in parts.netloc:
        causes.append(invalid(path, user, "user information is not permitted in the URL"))
    if parts.fragment:
        causes.append(invalid(path, parts.fragment, "fragments are not permitted in the URL"))
    if parts.query:
        causes.append(invalid(path, parts.query, "query parameters are not permitted in the URL"))
    return causes


def _unreadable(text: str) -> str:
    """Why Go can't read a URL; empty where it can."""
    if _CONTROL.search(text):
        return "net/url: invalid control character in URL"
    if text.startswith(":"):
        return "missing protocol scheme"
    if not _SCHEME.match(text) and ":" in text.partition("/")[0].partition("?")[0]:
        return "first path segment in URL cannot contain colon"
    escape = _ESCAPE.search(text.partition("?")[0])
    if escape:
        return f"invalid URL escape {quote(escape[0])}"
    _, slashes, rest = text.partition("//")
    host = re.split(r"[/?#]", rest)[0].rpartition("@")[2] if slashes else ""
    bad = _BAD_HOST.search(host)
    if bad:
        return f"invalid character {quote(bad[0])} in host name"
    port = host.rpartition("]")[2].partition(":")[2]
    if port and not (port.isascii() and port.isdigit()):
        return f"invalid port {quote(':' + port)} after host"
    return ""


def service(item: Obj, path: str) -> list[Cause]:
    """What is wrong with a webhook's Service: its names, port and path.

    Upstream mixes the two names up: where one is missing it tells of the other, and so do we.
    """
    swapped = (("name", "namespace"), ("namespace", "name"))
    causes = [required(f"{path}.{told}") for told, missing in swapped if not item.get(missing)]
    port = item.get("port", 0)
    wrong = names.port_number(port)
    if wrong:
        causes.append(invalid(f"{path}.port", port, f"port is not valid: {','.join(wrong)}"))
    return causes + _service_path(item.get("path", ""), f"{path}.path")


def _service_path(text: str, path: str) -> list[Cause]:
    if text in {"", "/"}:
        return []
    if text == "//":
        return [invalid(path, text, "segment[0] may not be empty")]
    causes = [] if text.startswith("/") else [invalid(path, text, "must start with a '/'")]
    for index, step in enumerate(text[1:].removesuffix("/").split("/")):
        if not step:
            causes.append(invalid(path, text, f"segment[{index}] may not be empty"))
            continue
        causes += [invalid(path, text, f"segment[{index}]: {why}") for why in names.dns_subdomain(step)]
    return causes
