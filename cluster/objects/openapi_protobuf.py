"""Encode an OpenAPI v2 document in gnostic's protobuf form, which kubectl asks for.

Source: gnostic-models' `openapiv2/OpenAPIv2.proto`; the numbers below are its field numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import orjson

Node = Mapping[str, Any]
Named = tuple[str, Node]


def encode(info: Mapping[str, str], paths: Iterable[Named], definitions: Iterable[Named]) -> bytes:
    """A swagger document as bytes of the message `openapi.v2.Document`; paths and definitions are taken one by one."""
    head = _text(1, info["title"]) + _text(2, info["version"])
    paths_ = b"".join(_message(2, _named(path, _path_item(item))) for path, item in paths)
    return b"".join((_text(1, "2.0"), _message(2, head), _message(8, paths_), _message(9, _named_schemas(definitions))))


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _message(field: int, body: bytes) -> bytes:
    """A length-delimited field: a message, a string or bytes."""
    return _varint(field << 3 | 2) + _varint(len(body)) + body


def _text(field: int, text: str) -> bytes:
    return _message(field, text.encode()) if text else b""


def _texts(field: int, texts: Iterable[str]) -> bytes:
    return b"".join(_message(field, text.encode()) for text in texts)


def _flag(field: int, value: Any) -> bytes:
    return _varint(field << 3) + b"\x01" if value else b""


def _named(name: str, body: bytes) -> bytes:
    return _text(1, name) + _message(2, body)


def _any(value: Any) -> bytes:
    """A value of any type, as YAML text (JSON is YAML)."""
    return _message(2, orjson.dumps(value) + b"\n")


def _extensions(field: int, node: Node) -> bytes:
    return b"".join(_message(field, _named(key, _any(value))) for key, value in node.items() if key.startswith("x-"))


def _named_schemas(schemas: Iterable[Named]) -> bytes:
    return b"".join(_message(1, _named(name, _schema(schema))) for name, schema in schemas)


def _schema(node: Node) -> bytes:
    parts = [
        _text(1, node.get("$ref", "")),
        _text(2, node.get("format", "")),
        _text(4, node.get("description", "")),
        _message(5, _any(node["default"])) if "default" in node else b"",
        _texts(19, node.get("required", ())),
    ]
    if isinstance(node.get("additionalProperties"), Mapping):
        parts.append(_message(21, _message(1, _schema(node["additionalProperties"]))))
    if "type" in node:
        parts.append(_message(22, _text(1, node["type"])))
    if "items" in node:
        parts.append(_message(23, _message(1, _schema(node["items"]))))
    if "properties" in node:
        parts.append(_message(25, _named_schemas(node["properties"].items())))
    parts.append(_extensions(31, node))
    return b"".join(parts)


_METHODS: Final[Mapping[str, int]] = {"get": 2, "put": 3, "post": 4, "delete": 5, "patch": 8}


def _path_item(item: Node) -> bytes:
    operations = b"".join(
        _message(field, _operation(item[method])) for method, field in _METHODS.items() if method in item
    )
    return operations + _parameters(9, item.get("parameters", ()))


def _operation(node: Node) -> bytes:
    responses = b"".join(_message(1, _named(code, _response(body))) for code, body in node["responses"].items())
    return b"".join(
        (
            _texts(1, node["tags"]),
            _text(3, node["description"]),
            _text(5, node["operationId"]),
            _texts(6, node["produces"]),
            _texts(7, node["consumes"]),
            _parameters(8, node["parameters"]),
            _message(9, responses),
            _texts(10, node["schemes"]),
            _extensions(13, node),
        )
    )


def _response(node: Node) -> bytes:
    body = _text(1, node["description"])
    if "schema" in node:
        body += _message(2, _message(1, _schema(node["schema"])))
    return _message(1, body)


def _parameters(field: int, nodes: Iterable[Node]) -> bytes:
    return b"".join(_message(field, _message(1, _PLACES[node["in"]](node))) for node in nodes)


def _body_parameter(node: Node) -> bytes:
    body = _text(2, node["name"]) + _text(3, node["in"]) + _flag(4, node.get("required"))
    return _message(1, body + _message(5, _schema(node["schema"])))


def _query_parameter(node: Node) -> bytes:
    return _message(2, _message(3, _plain(node) + _text(6, node["type"])))


def _path_parameter(node: Node) -> bytes:
    return _message(2, _message(4, _plain(node) + _text(5, node["type"])))


def _plain(node: Node) -> bytes:
    head = _flag(1, node.get("required")) + _text(2, node["in"])
    return head + _text(3, node["description"]) + _text(4, node["name"])


_PLACES: Final[Mapping[str, Callable[[Node], bytes]]] = {
    "body": _body_parameter,
    "query": _query_parameter,
    "path": _path_parameter,
}
