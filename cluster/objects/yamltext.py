"""Read and write YAML as upstream does: as JSON written otherwise, with no types beyond JSON's.

Times stay strings, keys become strings, and aliases that would blow a small body up are refused.
"""

from __future__ import annotations

import math
import re
from typing import Any, Final, NamedTuple

import orjson
import yaml

_NODES_MAX: Final = 1_000_000
_BOOLS: Final = {"true": True, "false": False, "yes": True, "no": False, "on": True, "off": False}
_FLOATS: Final = "tag:yaml.org,2002:float"
_INTS: Final = "tag:yaml.org,2002:int"
_PRINTABLE: Final = re.compile(rb"[\n\r\x20-\x7e]*")
_KEYS: Final = re.compile(rb'"[ \t\r\n]*:')
_JSON_DEPTH_MAX: Final = 100
_KEY_CHARS_MAX: Final = 1000
"""YAML looks no further for the end of a key than some 24 characters more."""
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


_Dumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
#: Strings that a reader would take for another type, were they written plain.
_OTHER_TYPE: Final = re.compile(
    r"""
    (?: | ~ | null | Null | NULL | << | = | [yYnN] | yes | Yes | YES | no | No | NO | on | On | ON | off | Off | OFF
      | true | True | TRUE | false | False | FALSE
      | [-+]? \.(?:inf|Inf|INF) | \.(?:nan|NaN|NAN)
      | [-+]? 0 (?: b[01_]+ | o?[0-7_]+ | x[0-9a-fA-F_]+ )
      | [-+]? (?: [0-9][0-9_]*(?:\.[0-9_]*)? | \.[0-9_]+ ) (?: [eE][-+]?[0-9]+ )?
      | [-+]? [0-9][0-9_]* (?: :[0-5]?[0-9] )+ (?: \.[0-9_]* )?
      | [0-9]{4}-[0-9]{1,2}-[0-9]{1,2} (?: (?: [Tt] | [ \t]+ ) [0-9]{1,2}:[0-9]{2}:[0-9]{2} (?: \.[0-9]* )?
        (?: [ \t]* (?: Z | [-+][0-9]{1,2} (?: :?[0-9]{2} )? ) )? )?
    )\Z""",
    re.VERBOSE | re.ASCII,
)


class _Writer(_Dumper):  # type: ignore[misc]
    """Writes a list at its key's own depth, long lines whole, and repeats what it meets twice."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002 - the base class' signature
        return True


def _represented(writer: Any, text: str) -> yaml.ScalarNode:
    style = '"' if _OTHER_TYPE.match(text) else "|" if "\n" in text else None
    node: yaml.ScalarNode = writer.represent_scalar("tag:yaml.org,2002:str", text, style=style)
    return node


_Writer.add_representer(str, _represented)


def encode(document: Any) -> bytes:
    """Return a JSON document as YAML, keys in order, strings quoted only where they must be.

    Source: sigs.k8s.io/yaml.
    """
    text: str = yaml.dump(document, Dumper=_Writer, default_flow_style=False, allow_unicode=True, width=1 << 20)
    return text.encode()


class Duplicate(NamedTuple):
    """A key that a mapping has more than once: its path, and the line of a later one."""

    path: str
    key: str
    line: int


class YamlError(Exception):
    """The text is no YAML that stands for JSON; the message is in upstream's form."""


def load(raw: bytes) -> tuple[Any, list[Duplicate]]:
    """Return the first document of `raw` and its duplicate keys. Raises YamlError."""
    document = _from_json(raw)
    if document is not None:
        return document, []
    try:
        loader = _Loader(raw)
        try:
            node = loader.get_node() if loader.check_node() else None
            reader = _Reader(loader)
            value = reader.value(node, "") if node is not None else None
        finally:
            loader.dispose()
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise YamlError(_worded(error)) from None
    return value, reader.duplicates


def _from_json(raw: bytes) -> dict[str, Any] | None:
    """Return the document of JSON text that YAML reads as the same, which takes a twentieth of the time.

    None for whatever may mean something else in YAML, or be refused there.
    """
    if not raw.startswith(b"{") or b"\\u" in raw or b"<<" in raw or not _PRINTABLE.fullmatch(raw):
        return None
    try:
        document: dict[str, Any] = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return None
    members = _plain_members(document, _JSON_DEPTH_MAX)
    # A key that is there twice is one of the document's, but two of the text's.
    return document if len(_KEYS.findall(raw)) == members else None


def _plain_members(value: Any, depth: int) -> float:
    """Return how many keys a value has in all; infinite if something in it may be another value in YAML."""
    kind = type(value)
    if kind is dict:
        if not depth or any(len(key) > _KEY_CHARS_MAX for key in value):
            return math.inf
        return len(value) + sum(_plain_members(one, depth - 1) for one in value.values())
    if kind is list:
        return sum(_plain_members(one, depth - 1) for one in value) if depth else math.inf
    return math.inf if kind is float or (kind is int and abs(value) >= 1 << 63) else 0


def _worded(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "yaml: exceeded max depth"
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or str(error)
    return f"yaml: line {mark.line + 1}: {problem}" if mark is not None else f"yaml: {problem}"


class _Reader:
    """Turns composed nodes into JSON values, counting them so that aliases cannot multiply without bound."""

    def __init__(self, loader: Any) -> None:
        self.duplicates: list[Duplicate] = []
        self._loader = loader
        self._nodes = 0

    def value(self, node: yaml.Node, path: str) -> Any:
        self._nodes += 1
        if self._nodes > _NODES_MAX:
            raise YamlError("yaml: document contains excessive aliasing")
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item, f"{path}[{index}]") for index, item in enumerate(node.value)]
        return self._scalar(node)

    def _mapping(self, node: yaml.MappingNode, path: str) -> dict[str, Any]:
        self._loader.flatten_mapping(node)
        out: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = self._key(key_node)
            place = f"{path}.{key}" if path else key
            if key in out:
                self.duplicates.append(Duplicate(place, key, key_node.start_mark.line + 1))
            out[key] = self.value(value_node, place)
        return out

    def _key(self, node: yaml.Node) -> str:
        if not isinstance(node, yaml.ScalarNode):
            raise YamlError("yaml: invalid map key")
        value = self._scalar(node)
        if isinstance(value, bool):
            return "true" if value else "false"
        return "null" if value is None else str(value)

    def _scalar(self, node: yaml.Node) -> Any:
        tag = node.tag
        if tag == "tag:yaml.org,2002:null":
            return None
        if tag == "tag:yaml.org,2002:bool":
            return _BOOLS[node.value.lower()]
        if tag in {_INTS, _FLOATS}:
            try:
                return self._loader.construct_object(node)
            except ValueError:
                return node.value
        return node.value
