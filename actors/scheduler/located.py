"""YAML whose every value knows its line, so that a mistake in it can be pointed at."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

import yaml

T = TypeVar("T")


class Broken(Exception):
    """A file can't be used. The message says where and why: `FILE:LINE: WHY`."""

    def __init__(self, source: str, line: int, why: str) -> None:
        super().__init__(f"{source}:{line}: {why}")
        self.source, self.line, self.why = source, line, why


class Section:
    """A mapping in a YAML document. What is never asked for is unknown: `done` complains of it."""

    def __init__(self, source: str, node: yaml.MappingNode, path: str = "") -> None:
        self.source, self.path, self.line = source, path, node.start_mark.line + 1
        self._nodes: dict[str, yaml.Node] = {}
        self._asked: set[str] = set()
        for key, value in node.value:
            name = str(key.value)
            if name in self._nodes:
                raise Broken(source, key.start_mark.line + 1, f"{self._named(name)} is there twice")
            self._nodes[name] = value

    def __contains__(self, name: str) -> bool:
        return name in self._nodes

    def get(self, name: str, kind: type[T], default: T) -> T:
        """Return a plain value, or the default if it is missing or null. Raises Broken if it is of another kind."""
        self._asked.add(name)
        node = self._nodes.get(name)
        value = None if node is None else plain(node)
        if value is None:
            return default
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise self.broken(name, f"must be {_KINDS.get(kind, kind.__name__)}, not {value!r}")
        return value

    def section(self, name: str) -> Section | None:
        """Return a mapping in this one, or None."""
        self._asked.add(name)
        node = self._nodes.get(name)
        if node is None or _is_null(node):
            return None
        return self._mapping(node, self._named(name))

    def sections(self, name: str) -> Iterator[Section]:
        """Yield the mappings of a list in this one."""
        self._asked.add(name)
        node = self._nodes.get(name)
        if node is None or _is_null(node):
            return
        if not isinstance(node, yaml.SequenceNode):
            raise self.broken(name, "must be a list")
        for place, item in enumerate(node.value):
            yield self._mapping(item, f"{self._named(name)}[{place}]")

    def seconds(self, name: str, default: float) -> float:
        """Return a time such as 500ms, 5s or 1m30s. Raises Broken."""
        text = self.get(name, str, "")
        if not text:
            return default
        parts = _DURATION.findall(text)
        if "".join(number + unit for number, unit in parts) != text:
            raise self.broken(name, "must be a time such as 500ms or 5s")
        return sum(float(number) * _SECONDS[unit] for number, unit in parts)

    def values(self) -> Mapping[str, Any]:
        """Return everything in here as plain values, all of it asked for."""
        self._asked.update(self._nodes)
        return {name: plain(node) for name, node in self._nodes.items()}

    def broken(self, name: str, why: str) -> Broken:
        """Make the error for one value, or for the section itself if `name` isn't in it."""
        node = self._nodes.get(name)
        line = self.line if node is None else node.start_mark.line + 1
        return Broken(self.source, line, f"{self._named(name)} {why}")

    def done(self) -> None:
        """Raise Broken if there is anything that nobody asked for."""
        for name in self._nodes:
            if name not in self._asked:
                raise self.broken(name, "is unknown")

    def _named(self, name: str) -> str:
        return f"{self.path}.{name}" if self.path else name

    def _mapping(self, node: yaml.Node, path: str) -> Section:
        if not isinstance(node, yaml.MappingNode):
            raise Broken(self.source, node.start_mark.line + 1, f"{path} must be a mapping")
        return Section(self.source, node, path)


_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)")
_SECONDS: Mapping[str, float] = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1, "m": 60, "h": 3600}
_KINDS: Mapping[type, str] = {int: "a whole number", str: "text", bool: "true or false", list: "a list"}


def document(source: str, text: str) -> Section:
    """Read a document that is one mapping. Raises Broken."""
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise Broken(source, mark.line + 1 if mark else 1, error.problem or str(error)) from None
    if not isinstance(node, yaml.MappingNode):
        raise Broken(source, 1, "must be a mapping")
    return Section(source, node)


def plain(node: yaml.Node) -> Any:
    """Return the value without its lines."""
    loader = yaml.SafeLoader("")
    return loader.construct_object(node, deep=True)


def _is_null(node: yaml.Node) -> bool:
    return node.tag == "tag:yaml.org,2002:null"
