"""Objects as stored bytes: canonical JSON whose revision is spliced in when it is read.

The stored form starts with `{"kind":…,"apiVersion":…,"metadata":{`, has its other keys sorted at every level and
carries no resourceVersion, so equal objects are equal bytes and a revision costs one copy, not a parse.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import orjson

_METADATA: Final = b'"metadata":{'
_LEADING: Final = frozenset({"kind", "apiVersion", "metadata"})


def encode(obj: Mapping[str, Any]) -> bytes:
    """Return the canonical bytes of `obj`, without its resourceVersion; `obj` is left alone."""
    metadata = {key: value for key, value in obj["metadata"].items() if key != "resourceVersion"}
    rest = {key: value for key, value in obj.items() if key not in _LEADING}
    head = b'{"kind":%b,"apiVersion":%b,"metadata":%b' % (
        orjson.dumps(obj["kind"]),
        orjson.dumps(obj["apiVersion"]),
        orjson.dumps(metadata, option=orjson.OPT_SORT_KEYS),
    )
    if not rest:
        return head + b"}"
    return head + b"," + orjson.dumps(rest, option=orjson.OPT_SORT_KEYS)[1:]


def with_revision(value: bytes, revision: int) -> bytes:
    """Return `value` with `"resourceVersion":"<revision>"` as the first member of its metadata."""
    at = value.index(_METADATA) + len(_METADATA)
    separator = b"" if value[at : at + 1] == b"}" else b","
    return b'%b"resourceVersion":"%d"%b%b' % (value[:at], revision, separator, value[at:])


def decode(value: bytes, revision: int) -> dict[str, Any]:
    """Return the object in `value` with its resourceVersion set."""
    obj: dict[str, Any] = orjson.loads(value)
    obj["metadata"]["resourceVersion"] = str(revision)
    return obj
