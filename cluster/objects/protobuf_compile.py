"""Compile the table of protobuf field numbers: `python -m oarlock.cluster.objects.protobuf_compile KUBECTL`.

A kubectl binary carries the descriptors of every API message, gzipped. Taken from them: numbers, names and types of
fields, nothing else. Which fields are embedded structs is told by the JSON schemas, which do not know such a field.
"""

from __future__ import annotations

import re
import sys
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import orjson

from oarlock.cluster.objects.compile import DATA, definitions
from oarlock.cluster.objects.protobuf import Value, fields

_GZIP: Final = re.compile(rb"\x1f\x8b\x08\x00\x00\x00\x00\x00")
_API: Final = re.compile(r"\.?(?:k8s\.io|io\.k8s)\.(?:api|apimachinery\.pkg(?:\.apis|\.api|\.util)?)\.(.+)")
_TYPES: Final = {1: "double", 2: "double", 3: "int", 5: "int", 8: "bool", 9: "string", 12: "bytes"}
_MESSAGE: Final = 11
_REPEATED: Final = 3
_VERSIONS: Final = re.compile(r"\.v\d+\.")
_ROOTS: Final = ("meta.", "resource.Quantity", "intstr.", "runtime.")


def descriptors(binary: bytes) -> Iterator[bytes]:
    """Yield the file descriptors embedded in a program, as serialized FileDescriptorProto."""
    for match in _GZIP.finditer(binary):
        try:
            plain = zlib.decompressobj(31).decompress(binary[match.start() : match.start() + 1_000_000])
        except zlib.error:
            continue
        if b"k8s.io/" in plain[:64] and b"generated.proto" in plain[:128]:
            yield plain


def compile_table(binary: bytes) -> dict[str, dict[str, tuple[str, str]]]:
    """Return, by message, the fields by number: (JSON name, type)."""
    schemas = {_short(name): one for name, one in definitions().items()}
    table: dict[str, dict[str, tuple[str, str]]] = {}
    for plain in descriptors(binary):
        parts = list(fields(plain))
        package = next(_string(value) for number, value in parts if number == 2)
        for number, value in parts:
            if number == 4:
                name, message = _message(package, _raw(value), schemas)
                if name.startswith(_ROOTS) or _VERSIONS.search(name):
                    table[name] = message
    return dict(sorted(table.items()))


def _message(package: str, data: bytes, schemas: Mapping[str, Any]) -> tuple[str, dict[str, tuple[str, str]]]:
    parts = list(fields(data))
    name = _short(f"{package}.{next(_string(value) for number, value in parts if number == 1)}")
    maps = dict(_map_entry(_raw(value)) for number, value in parts if number == 3)
    known = (schemas.get(name) or {}).get("properties")
    found = {}
    for number, value in parts:
        if number == 2:
            position, json_name, kind = _field(_raw(value), maps)
            embedded = known is not None and json_name not in known and kind[0] not in "[{" and "." in kind
            found[str(position)] = ("" if embedded else json_name, kind)
    return name, found


def _map_entry(data: bytes) -> tuple[str, str]:
    parts = list(fields(data))
    name = next(_string(value) for number, value in parts if number == 1)
    kinds = [_field(_raw(value), {}) for number, value in parts if number == 2]
    return name, next(kind for position, _, kind in kinds if position == 2)


def _field(data: bytes, maps: Mapping[str, str]) -> tuple[int, str, str]:
    parts = dict(fields(data))
    kind = _TYPES.get(_number(parts[5]), "")
    if _number(parts[5]) == _MESSAGE:
        full = _string(parts[6])
        entry = maps.get(full.rpartition(".")[2]) if full.endswith("Entry") else None
        if entry is not None:
            return _number(parts[3]), _string(parts[1]), "{}" + entry
        kind = _short(full)
    prefix = "[]" if _number(parts.get(4, 0)) == _REPEATED else ""
    return _number(parts[3]), _string(parts[1]), prefix + kind


def _short(full: str) -> str:
    match = _API.fullmatch(full)
    return match.group(1) if match else full.lstrip(".")


def _string(value: Value) -> str:
    return _raw(value).decode()


def _raw(value: Value) -> bytes:
    assert isinstance(value, bytes)
    return value


def _number(value: Value) -> int:
    assert isinstance(value, int)
    return value


def main() -> int:
    """Write the table beside the other data."""
    table = compile_table(Path(sys.argv[1]).read_bytes())
    (DATA / "protobuf.json").write_bytes(orjson.dumps(table, option=orjson.OPT_SORT_KEYS) + b"\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
