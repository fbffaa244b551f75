"""Read YAML bodies as upstream does: as JSON written otherwise, with no types beyond JSON's.

Times stay strings, keys become strings, and aliases that would blow a small body up are refused.
"""

from __future__ import annotations

from typing import Any, Final

import yaml

_NODES_MAX: Final = 1_000_000
_BOOLS: Final = {"true": True, "false": False, "yes": True, "no": False, "on": True, "off": False}
_FLOATS: Final = "tag:yaml.org,2002:float"
_INTS: Final = "tag:yaml.org,2002:int"
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class YamlError(Exception):
    """The text is no YAML that stands for JSON; the message is in upstream's form."""


def load(raw: bytes) -> tuple[Any, list[str]]:
    """Return the first document of `raw` and the paths of its duplicate keys. Raises YamlError."""
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


def _worded(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or str(error)
    return f"yaml: line {mark.line + 1}: {problem}" if mark is not None else f"yaml: {problem}"


class _Reader:
    """Turns composed nodes into JSON values, counting them so that aliases cannot multiply without bound."""

    def __init__(self, loader: Any) -> None:
        self.duplicates: list[str] = []
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
                self.duplicates.append(place)
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
