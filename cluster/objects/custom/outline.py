"""A definition without its schemas: what serving a kind, its names and discovery ask of it.

Schemas make up nearly all of a definition; they are passed over here, and read where an object of the kind is.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import UNSET, Raw, Struct

_JSON = msgspec.json


class _Version(Struct, rename="camel"):
    name: Any = UNSET
    served: Any = UNSET
    storage: Any = UNSET
    deprecated: Any = UNSET
    deprecation_warning: Any = UNSET
    subresources: Any = UNSET
    additional_printer_columns: Any = UNSET
    selectable_fields: Any = UNSET


class _Spec(Struct, rename="camel"):
    group: Any = UNSET
    names: Any = UNSET
    scope: Any = UNSET
    conversion: Any = UNSET
    preserve_unknown_fields: Any = UNSET
    versions: list[_Version] = []


class _Outline(Struct, rename="camel"):
    metadata: Any = UNSET
    spec: _Spec = msgspec.field(default_factory=_Spec)
    status: Any = UNSET


class _Whole(Struct):
    spec: Raw = Raw()


_OUTLINE = _JSON.Decoder(_Outline)
_WHOLE = _JSON.Decoder(_Whole)


def outline(wire: bytes) -> dict[str, Any]:
    """A definition as it is stored, its versions without their schemas. Raises msgspec.DecodeError."""
    found: dict[str, Any] = msgspec.to_builtins(_OUTLINE.decode(wire))
    return found


def spec_bytes(wire: bytes) -> bytes:
    """The bytes of a stored definition's spec, which are the same where nothing has changed."""
    return bytes(_WHOLE.decode(wire).spec)
