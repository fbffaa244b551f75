"""Decode request bodies, JSON or YAML, into objects of the expected kind, refusing them in upstream's words.

Source: apimachinery's serializers and `transformDecodeError`; messages are what kubectl shows.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from oarlock.cluster.objects import jsontext, retired_versions
from oarlock.cluster.objects.conforming import Conforming, Mismatch, go_json_kind
from oarlock.cluster.objects.gotext import quote
from oarlock.cluster.objects.resources import Resource
from oarlock.cluster.objects.schemas import Schema, schema_for, schema_of_kind
from oarlock.cluster.objects.status import ApiError, bad_request, unsupported_media_type

JSON: Final = "application/json"
YAML: Final = "application/yaml"
PROTOBUF: Final = "application/vnd.kubernetes.protobuf"
ACCEPTED: Final = (JSON, YAML, PROTOBUF, "application/cbor")
ACCEPTED_OF_CUSTOM: Final = (JSON, YAML, "application/cbor")
_SCHEME: Final = "pkg/api/legacyscheme/scheme.go:30"
_SCHEMES: Final = {
    "apiextensions.k8s.io": "k8s.io/apiextensions-apiserver/pkg/apiserver/apiserver.go:55",
    "apiregistration.k8s.io": "k8s.io/kube-aggregator/pkg/apiserver/scheme/scheme.go:28",
}
_KEYS: Final = re.compile(rb'"[ \t\r\n]*:')
_SUMMARY_BYTES: Final = 30


COMPLAINTS_MAX: Final = 100


class Unhandled(ApiError):
    """A 400: the document isn't one of the kind; `why` is the reason alone."""

    def __init__(self, asked_kind: str, version: str, kind: str, why: str) -> None:
        message = f"{asked_kind} in version {quote(version)} cannot be handled as a {kind}: {why}"
        super().__init__(400, "BadRequest", message)
        self.why = why


@dataclass(frozen=True, slots=True)
class Decoded:
    """An object in canonical shape, with the field paths that strict decoding complains of."""

    object: dict[str, Any]
    unknown: list[str] = field(default_factory=list)
    duplicates: list[str] = field(default_factory=list)

    def complaints(self) -> list[str]:
        """The strict decoding errors, as many as upstream's decoder keeps: duplicates, then unknown fields."""
        told = [f"duplicate field {quote(path)}" for path in self.duplicates[:COMPLAINTS_MAX]]
        return told + [f"unknown field {quote(path)}" for path in self.unknown[: COMPLAINTS_MAX - len(told)]]


def decode(resource: Resource, raw: bytes, content_type: str = JSON) -> Decoded:
    """Return the object in a request body for `resource`. Raises ApiError 400 or 415."""
    if resource.custom is not None:
        return _decode_custom(resource, raw, content_type)
    return decode_kind(resource.group, resource.version, resource.kind, raw, content_type)


def decode_kind(group: str, version: str, kind: str, raw: bytes, content_type: str = JSON) -> Decoded:
    """The same for a kind that need not be a resource: Scale, Eviction, Binding, DeleteOptions, …"""
    if _media_type(content_type) == PROTOBUF:
        document, duplicates = _parse_protobuf(group, version, kind, raw)
    else:
        document, duplicates = _parse(kind, raw, content_type)
    schema = _expect_kind(group, version, kind, document, raw)
    decoded = conform(schema, group, version, kind, document)
    if duplicates is None:
        duplicates = duplicate_keys(raw, decoded.members)
    return Decoded(decoded.object, decoded.unknown, duplicates)


@dataclass(frozen=True, slots=True)
class Conformed:
    """What `conform` made of a document; `members` is how many keys the document holds in all."""

    object: dict[str, Any]
    unknown: list[str]
    members: int


def conform(schema: Schema, group: str, version: str, kind: str, document: dict[str, Any]) -> Conformed:
    """Bring an already parsed document (a patched object, say) into canonical shape. Raises ApiError 400."""
    walk = Conforming()
    try:
        obj = walk.object(schema, document)
    except Mismatch as error:
        raise Unhandled(kind, version, kind, str(error)) from None
    rest = {key: value for key, value in obj.items() if key not in {"kind", "apiVersion", "metadata"}}
    head = {"kind": kind, "apiVersion": f"{group}/{version}" if group else version}
    if "metadata" in schema.fields:
        head["metadata"] = obj.get("metadata", {})
    return Conformed({**head, **rest}, walk.unknown, walk.members)


def conform_to(resource: Resource, document: dict[str, Any]) -> Conformed:
    """Bring an already parsed document of a resource's kind into canonical shape. Raises ApiError 400."""
    if resource.custom is None:
        schema = schema_for(resource)
        return conform(schema, resource.group, resource.version, resource.kind, document)
    from oarlock.cluster.objects.custom import decoding

    try:
        obj, unknown, members = decoding.conformed(resource.custom, document)
    except Mismatch as error:
        raise Unhandled(resource.kind, resource.version, resource.kind, str(error)) from None
    head = {"kind": resource.kind, "apiVersion": resource.api_version}
    rest = {key: value for key, value in obj.items() if key not in {"kind", "apiVersion", "metadata"}}
    given = {key: obj[key] for key in ("kind", "apiVersion") if obj.get(key)}
    return Conformed({**head, **given, "metadata": obj["metadata"], **rest}, unknown, members)


def parts_of(resource: Resource, obj: dict[str, Any]) -> dict[str, bytes]:
    """Return a stored object's canonical parts as JSON, by which `conform_changed` knows them again.

    None of an object that isn't shown as it is stored, or whose form its definition may have changed since.
    """
    if resource.custom is not None or (resource.group, resource.version) != resource.stored_as:
        return {}
    return {key: orjson.dumps(value) for key, value in obj.items() if key != "metadata" and type(value) in (dict, list)}


def conform_changed(resource: Resource, document: dict[str, Any], stored: Mapping[str, bytes]) -> Conformed:
    """Do as `conform_to` does, but take those of its parts as they are that are the `stored` object's: most are."""
    if not stored:
        return conform_to(resource, document)
    kept = {key: value for key, value in document.items() if key in stored and _is_json(value, stored[key])}
    found = conform_to(resource, {key: value for key, value in document.items() if key not in kept})
    made = {**found.object, **kept}
    # In the order that the whole document would have given: an object that hasn't changed must look the same.
    head = [key for key in ("kind", "apiVersion", "metadata") if key in made]
    order = dict.fromkeys([*head, *(key for key in document if key in made), *made])
    return Conformed({key: made[key] for key in order}, found.unknown, found.members)


def _is_json(value: Any, text: bytes) -> bool:
    try:
        return orjson.dumps(value) == text
    except orjson.JSONEncodeError:  # a number or a depth that nothing stored has
        return False


def _decode_custom(resource: Resource, raw: bytes, content_type: str) -> Decoded:
    if _media_type(content_type) == PROTOBUF:
        raise unsupported_media_type(ACCEPTED_OF_CUSTOM)
    document, duplicates = _parse(resource.kind, raw, content_type)
    if not isinstance(document, dict):
        raise _unrecognized(resource.kind, f"json: cannot unmarshal {go_json_kind(document)} into an object", raw)
    for name in ("apiVersion", "kind"):
        if document.get(name) is not None and not isinstance(document[name], str):
            raise _unrecognized(resource.kind, f"json: cannot unmarshal {name} into a string", raw)
    asked = document.get("apiVersion") or resource.api_version
    if asked != resource.api_version:
        raise bad_request(
            f"the API version in the data ({asked}) does not match the expected API version ({resource.api_version})"
        )
    found = conform_to(resource, document)
    if duplicates is None:
        duplicates = duplicate_keys(raw, found.members)
    return Decoded(found.object, found.unknown, duplicates)


def strict_error(kind: str, version: str, complaints: list[str]) -> ApiError:
    """The 400 for fieldValidation=Strict."""
    return Unhandled(kind, version, kind, strict_text(complaints))


def strict_text(complaints: list[str]) -> str:
    """What strict decoding says of its complaints."""
    return "strict decoding error: " + ", ".join(complaints)


def _parse(kind: str, raw: bytes, content_type: str) -> tuple[Any, list[str] | None]:
    """The parsed body, and its duplicate keys where the parser finds them on the way."""
    media = _media_type(content_type)
    if media in {"", JSON}:
        try:
            return orjson.loads(raw), None
        except ValueError:
            raise _unrecognized(
                kind, f"couldn't get version/kind; json parse error: {jsontext.error(raw)}", raw
            ) from None
    if media in {YAML, "text/yaml"}:
        from oarlock.cluster.objects import yamltext

        try:
            document, duplicates = yamltext.load(raw)
            return document, [one.path for one in duplicates]
        except yamltext.YamlError as error:
            raise _unrecognized(kind, f"error converting YAML to JSON: {error}", raw) from None
    raise unsupported_media_type(ACCEPTED)


def _media_type(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


def _parse_protobuf(group: str, version: str, kind: str, raw: bytes) -> tuple[dict[str, Any], list[str] | None]:
    """The document in a protobuf body; the format knows no duplicate keys."""
    from oarlock.cluster.objects import protobuf, protobuf_wire

    try:
        return protobuf.decode(raw, f"{group}/{version}" if group else version, kind), []
    except (protobuf.MessageError, protobuf.UnknownKindError) as error:
        given = error.envelope
        _check_version(group, version, kind, {"apiVersion": given.api_version, "kind": given.kind})
        raise Unhandled(given.kind, given.api_version.rpartition("/")[2], kind, str(error)) from None
    except protobuf_wire.ProtobufError as error:
        raise _unrecognized(kind, str(error), raw) from None


def _expect_kind(group: str, version: str, kind: str, document: Any, raw: bytes) -> Schema:
    """Check `kind` and `apiVersion` of the body, where it has them, and return the schema."""
    if not isinstance(document, dict):
        target = (
            'struct { APIVersion string "json:\\"apiVersion,omitempty\\""; Kind string "json:\\"kind,omitempty\\"" }'
        )
        raise _unreadable_kind(kind, f"{go_json_kind(document)} into Go value of type {target}", raw)
    for name in ("apiVersion", "kind"):
        value = document.get(name)
        if value is not None and not isinstance(value, str):
            raise _unreadable_kind(kind, f"{go_json_kind(value)} into Go struct field .{name} of type string", raw)
    schema = schema_of_kind(group, version, kind)
    assert schema is not None, f"no schema of {group}/{version} {kind}"
    _check_version(group, version, kind, document)
    return schema


def _check_version(group: str, version: str, kind: str, document: dict[str, Any]) -> None:
    expected = f"{group}/{version}" if group else version
    asked_kind = document.get("kind") or kind
    asked = document.get("apiVersion") or expected
    if (asked_kind, asked) == (kind, expected):
        return
    if asked.count("/") > 1:
        raise _unhandled_text(kind, f"couldn't get version/kind; unexpected GroupVersion string: {asked}")
    _check_registered(group, kind, asked, asked_kind)
    if kind == asked_kind == "DeleteOptions":
        return  # registered in every group's version
    if asked != expected:
        raise bad_request(f"the API version in the data ({asked}) does not match the expected API version ({expected})")
    raise _unconvertible(group, kind, asked, asked_kind)


def check_patched(group: str, version: str, kind: str, document: dict[str, Any]) -> None:
    """Refuse a patched object that has become another kind, or one of no known version. Raises Unhandled."""
    asked_kind = document.get("kind") or kind
    asked = document.get("apiVersion") or (f"{group}/{version}" if group else version)
    if not isinstance(asked, str) or not isinstance(asked_kind, str):
        return  # `conform` says so in the words for any field
    if not retired_versions.is_known(asked, asked_kind):
        _check_registered(group, kind, asked, asked_kind)
    if asked_kind != kind:
        raise _unconvertible(group, kind, asked, asked_kind)


def _check_registered(group: str, kind: str, asked: str, asked_kind: str) -> None:
    asked_group, _, asked_version = asked.rpartition("/")
    if schema_of_kind(asked_group, asked_version, asked_kind) is None:
        scheme = quote(_SCHEMES.get(group, _SCHEME))
        why = f"no kind {quote(asked_kind)} is registered for version {quote(asked)} in scheme {scheme}"
        raise Unhandled(asked_kind, asked_version, kind, why)


def _unconvertible(group: str, kind: str, asked: str, asked_kind: str) -> Unhandled:
    asked_group, _, asked_version = asked.rpartition("/")
    names = [
        f"({_go_package(asked_group)}.{asked_kind})".replace("core.", f"{asked_version}."),
        f"({_go_package(group)}.{kind})",
    ]
    why = f"converting {names[0]} to {names[1]}: unknown conversion"
    return Unhandled(asked_kind, asked_version, kind, why)


def _go_package(group: str) -> str:
    return group.partition(".")[0] or "core"


def _unreadable_kind(kind: str, what: str, raw: bytes) -> ApiError:
    return _unrecognized(kind, f"couldn't get version/kind; json parse error: json: cannot unmarshal {what}", raw)


def _unrecognized(kind: str, why: str, raw: bytes) -> ApiError:
    return _unhandled_text(kind, f"{why} ({_summary(raw)})")


def _unhandled_text(kind: str, why: str) -> ApiError:
    return bad_request(f"the object provided is unrecognized (must be of type {kind}): {why}")


def _summary(raw: bytes) -> str:
    """The first bytes of a body, as upstream shows them: text as it is, anything else in hexadecimal."""
    if not raw:
        return "<empty>"
    head = raw[:_SUMMARY_BYTES]
    more = " ..." if len(raw) > _SUMMARY_BYTES else ""
    if any(byte < 0x20 and byte not in b"\t\r\n" for byte in head):
        return head.hex() + more
    return head.decode(errors="replace") + more


def duplicate_keys(raw: bytes, members: int) -> list[str]:
    """The paths of keys that JSON text has twice; looked for only where it has more keys than the parsed `members`.

    A string that contains `":` makes the count too high, never too low: then the slow search finds nothing.
    """
    if len(_KEYS.findall(raw)) == members:
        return []
    return jsontext.duplicates(raw)
