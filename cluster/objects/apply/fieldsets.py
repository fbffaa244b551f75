"""Sets of paths into an object, in the form in which managedFields keep them (`FieldsV1`): a trie of path elements.

An element is `f:NAME` (a field or a map's key), `k:{…}` (a list's item by its keys) or `v:…` (a set's item by its
value). A node `{}` is a member; one with a child "." is a member that has members below it. Functions that change a
trie do so in place.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import orjson

from oarlock.cluster.objects.gotext import quote

Trie = dict[str, Any]
Path = tuple[str, ...]
SELF = "."


def insert(trie: Trie, path: Path) -> None:
    """Make `path` a member."""
    step, rest = path[0], path[1:]
    child = trie.get(step)
    if child is None:
        trie[step] = _line(rest)
    elif not rest:
        if child:
            child[SELF] = {}
    else:
        if not child:
            child[SELF] = {}  # a member so far by having nothing below it
        insert(child, rest)


def graft(trie: Trie, place: Path, inside: Trie) -> None:
    """Make `place` and everything in the set `inside` below it members."""
    insert(trie, place)
    node = trie
    for step in place:
        node = node[step]
    if not node:
        node.update(inside)
    else:
        for path in members(inside):
            insert(node, path)


def _line(path: Path) -> Trie:
    node: Trie = {}
    for step in reversed(path):
        node = {step: node}
    return node


def discard(trie: Trie, path: Path) -> bool:
    """Make `path` no member; nodes that are left with nothing go too. Returns whether it was one."""
    if not path:
        return False
    step, rest = path[0], path[1:]
    child = trie.get(step)
    if child is None:
        return False
    if rest:
        member = not child or SELF in child
        if not discard(child, rest):
            return False
        _settle(trie, step, member=member)
        return True
    if child and SELF not in child:
        return False
    child.pop(SELF, None)
    if not child:
        del trie[step]
    return True


def _settle(trie: Trie, step: str, *, member: bool) -> None:
    """Write a node from which something was taken in its shortest form."""
    child = trie[step]
    if not child and not member:
        del trie[step]
    elif len(child) == 1 and SELF in child:
        del child[SELF]


def contains(trie: Trie, path: Path) -> bool:
    """Whether `path` is a member."""
    node: Trie | None = trie
    for step in path:
        node = node.get(step) if node is not None else None
        if node is None:
            return False
    return not node or SELF in node


def copy(trie: Trie) -> Trie:
    """Return a trie of its own."""
    return {step: copy(child) for step, child in trie.items()}


def members(trie: Trie) -> set[Path]:
    """Return the members as paths."""
    return set(_walk(trie, ()))


def _walk(trie: Trie, path: Path) -> Iterator[Path]:
    for step, child in trie.items():
        if step == SELF:
            continue
        below = (*path, step)
        if not child or SELF in child:
            yield below
        yield from _walk(child, below)


def of(paths: Iterable[Path]) -> Trie:
    """Return the trie whose members are `paths`, in a stable order."""
    trie: Trie = {}
    for path in sorted(paths):
        insert(trie, path)
    return trie


def is_well_formed(trie: object) -> bool:
    """Whether a client's `fieldsV1` can be understood."""
    if not isinstance(trie, dict):
        return False
    return all(
        (step == SELF and child == {}) or (step[:2] in _KINDS and _is_element(step) and is_well_formed(child))
        for step, child in trie.items()
    )


_KINDS = ("f:", "k:", "v:", "i:")


def _is_element(step: str) -> bool:
    if step.startswith("f:"):
        return True
    try:
        value = orjson.loads(step[2:])
    except orjson.JSONDecodeError:
        return False
    return isinstance(value, dict) if step.startswith("k:") else True


def key_element(keys: Mapping[str, Any]) -> str:
    """Return the element of a list's item that has these keys."""
    return "k:" + orjson.dumps(keys, option=orjson.OPT_SORT_KEYS).decode()


def value_element(value: Any) -> str:
    """Return the element of a set's item."""
    return "v:" + orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()


def text(path: Path) -> str:
    """Return a path as upstream prints it, such as `.spec.containers[name="c"].image`."""
    return "".join(map(_printed, path))


def _printed(step: str) -> str:
    kind, rest = step[:2], step[2:]
    if kind == "f:":
        return "." + rest
    if kind == "i:":
        return f"[{rest}]"
    value = orjson.loads(rest)
    if kind == "v:":
        return f"[={_shown(value)}]"
    return "[" + ",".join(f"{name}={_shown(one)}" for name, one in sorted(value.items())) + "]"


def _shown(value: Any) -> str:
    return quote(value) if isinstance(value, str) else orjson.dumps(value).decode()
