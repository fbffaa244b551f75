"""Compile `data/protobuf-fields.json`: `python -m oarlock.cluster.objects.compile_protobuf PATH_TO_A_GO_BINARY`.

Programs built with Kubernetes' Go libraries (kubectl, say) carry the descriptors of all API messages, gzipped. Taken
from them are the numbers, names and types of fields, for the kinds that we serve and whatever they hold. The JSON
schemas tell the rest: how a field is spelled in JSON, and which messages are structs embedded in Go, whose fields
stand in their holder.

The table: `kinds` maps `group/version/kind` to a message; `messages` maps a message to its fields by number, each
[JSON name, type]. The name "" marks an embedded struct. A type is a scalar's word, a word of `protobuf_values.READERS`
or `#message`; `[]` before it makes it a list, `{}` a map with string keys.
"""

from __future__ import annotations

import re
import sys
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import orjson
from google.protobuf import descriptor_pb2  # type: ignore[import-untyped]
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from oarlock.cluster.objects.compile import DATA, RELEASE, definitions
from oarlock.cluster.objects.resources import RESOURCES

TARGET: Final = DATA / "protobuf-fields.json"
_GZIP: Final = re.compile(rb"\x1f\x8b\x08")
_FILE_BYTES_MAX: Final = 2_000_000
_META: Final = "k8s.io.apimachinery.pkg.apis.meta.v1."
DELETE_OPTIONS: Final = _META + "DeleteOptions"
_SCALARS: Final = {3: "int64", 5: "int32", 8: "bool", 9: "string", 12: "bytes"}
_MESSAGE: Final = 11
_REPEATED: Final = 3
_VALUES: Final[Mapping[str, str]] = {
    _META + "Time": "time",
    _META + "MicroTime": "micro-time",
    _META + "FieldsV1": "json",
    "k8s.io.apimachinery.pkg.runtime.RawExtension": "json",
    "k8s.io.apimachinery.pkg.api.resource.Quantity": "quantity",
    "k8s.io.apimachinery.pkg.util.intstr.IntOrString": "int-or-string",
}

Row = tuple[str, str]


class IncompleteError(Exception):
    """The program or the schemas lack something the table needs, or hold something it has no word for."""


def descriptors(program: bytes) -> Iterator[Any]:
    """Yield the FileDescriptorProtos of Kubernetes' packages that a program carries."""
    for match in _GZIP.finditer(program):
        inflate = zlib.decompressobj(31)
        try:
            plain = inflate.decompress(program[match.start() : match.start() + _FILE_BYTES_MAX], _FILE_BYTES_MAX)
            found = descriptor_pb2.FileDescriptorProto.FromString(plain) if inflate.eof else None
        except (zlib.error, DecodeError):
            continue
        if found is not None and found.name.startswith("k8s.io/"):
            yield found


class Compiler:
    """Collects the messages that the served kinds reach; `missing` lists kinds that the program knows nothing of."""

    def __init__(self, program: bytes) -> None:
        self._messages: dict[str, Any] = {}
        for file in descriptors(program):
            self._messages.update({f"{file.package}.{message.name}": message for message in file.message_type})
        self._definitions = definitions()
        self._table: dict[str, dict[str, Row]] = {}
        self.missing: list[str] = []

    def table(self) -> dict[str, Any]:
        """The whole document, as the module's docstring describes it. Raises IncompleteError."""
        kinds = {}
        for kind, full in served_kinds().items():
            if full in self._messages:
                kinds[kind] = self._reach(full)
            else:
                self.missing.append(kind)
        if not kinds:
            raise IncompleteError("no descriptors of Kubernetes' messages in this program")
        self._reach(DELETE_OPTIONS)
        return {"kinds": kinds, "messages": dict(sorted(self._table.items()))}

    def _reach(self, full: str) -> str:
        """Compile a message and all it holds, once; return its name in the table."""
        name = short(full)
        if name not in self._table:
            rows: dict[str, Row] = {}
            self._table[name] = rows
            message = self._messages[full]
            maps = {f".{full}.{nested.name}": nested for nested in message.nested_type}
            for field in message.field:
                rows[str(field.number)] = self._row(full, field, maps)
        return name

    def _row(self, full: str, field: Any, maps: Mapping[str, Any]) -> Row:
        entry = maps.get(field.type_name)
        if entry is not None:
            kind = "{}" + self._type(entry.field[1])
        else:
            kind = ("[]" if field.label == _REPEATED else "") + self._type(field)
        known = self._definitions.get(_definition(full), {}).get("properties")
        if known is None:  # an embedded struct has no schema of its own
            return field.name, kind
        spelled = next((name for name in known if name.lower() == field.name.lower()), None)
        if spelled is None and not kind.startswith("#"):
            raise IncompleteError(f"{full}.{field.name} is in no schema")
        return spelled or "", kind

    def _type(self, field: Any) -> str:
        if field.type != _MESSAGE:
            return _SCALARS[field.type]
        full = field.type_name.removeprefix(".")
        if full.endswith(".ExtraValue"):
            return "texts"
        return _VALUES.get(full) or "#" + self._reach(full)


def served_kinds() -> dict[str, str]:
    """The full message names of all kinds that come in bodies, by `group/version/kind`."""
    schemas = orjson.loads((DATA / f"schemas-{RELEASE}.json").read_bytes())["kinds"]
    kinds = [(one.group, one.version, one.kind) for one in RESOURCES]
    kinds += [(sub.group, sub.version, sub.kind) for one in RESOURCES for sub in one.subresources.values()]
    names = sorted({"/".join(kind) for kind in kinds})
    return {name: _message(schemas[name]) for name in names if name in schemas}


def _message(definition: str) -> str:
    return re.sub(r"^io\.k8s\.", "k8s.io.", definition)


def _definition(full: str) -> str:
    return re.sub(r"^k8s\.io\.", "io.k8s.", full)


def short(full: str) -> str:
    """`k8s.io.api.core.v1.Pod` → `core.v1.Pod`."""
    return re.sub(r"^k8s\.io\.(api|apimachinery\.pkg(\.apis)?)\.", "", full)


def main(arguments: list[str]) -> int:
    """Write the table beside the other data; say what it lacks."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m oarlock.cluster.objects.compile_protobuf PATH_TO_A_KUBERNETES_GO_BINARY\n")
        return 2
    try:
        compiler = Compiler(Path(arguments[0]).read_bytes())
        TARGET.write_bytes(orjson.dumps(compiler.table()) + b"\n")
    except (OSError, IncompleteError) as error:
        sys.stderr.write(f"compile_protobuf: {error}\n")
        return 1
    sys.stdout.write(f"{TARGET.name}: {TARGET.stat().st_size} bytes; not in this program: {compiler.missing}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
