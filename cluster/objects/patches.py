"""JSON patch (RFC 6902) and JSON merge patch (RFC 7396) on decoded JSON.

Neither changes the document it is given. Refusals are ApiErrors with upstream's codes: a patch that can't be read is
400, one that can't be applied 422, one that is too long 413.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson

from oarlock.cluster.objects.json_types import json_name
from oarlock.cluster.objects.status import ApiError, bad_request, rejected

OPERATIONS_MAX = 10_000
COPIED_BYTES_MAX = 3 * 1024 * 1024
"""Upstream's bounds on what one JSON patch may ask for."""

Json = Any
Container = dict[str, Json] | list[Json]


class PatchFailed(Exception):
    """An operation that doesn't fit the document; the message is for logs, upstream keeps it from the client."""


def merge_patch(doc: Json, patch: Json) -> Json:
    """Return `doc` with the merge patch applied: objects merge, null removes, everything else replaces."""
    if not isinstance(patch, dict):
        raise bad_patch(f"json: cannot unmarshal {json_name(patch)} into Go value of type map[string]interface {{}}")
    return _merged(doc, patch)


def json_patch(doc: Json, patch: Json) -> Json:
    """Return `doc` with every operation of the JSON patch applied in order, or raise with none applied."""
    operations = _operations(patch)
    root = [orjson.loads(orjson.dumps(doc))]
    budget = _CopyBudget()
    try:
        for operation in operations:
            _apply(root, operation, budget)
    except PatchFailed as failure:
        raise rejected() from failure
    return root[0]


def bad_patch(message: str) -> ApiError:
    """The 400 for a patch that isn't what its content type says."""
    return bad_request(f"error decoding patch: {message}")


def _merged(target: Json, patch: Json) -> Json:
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = _merged(result.get(key), value)
    return result


def _operations(patch: Json) -> Sequence[Mapping[str, Json]]:
    if not isinstance(patch, list):
        raise bad_patch(f"json: cannot unmarshal {json_name(patch)} into Go value of type []handlers.jsonPatchOp")
    for operation in patch:
        if not isinstance(operation, dict):
            raise bad_patch(f"json: cannot unmarshal {json_name(operation)} into Go value of type handlers.jsonPatchOp")
        for name in ("op", "path", "from"):
            value = operation.get(name)
            if value is not None and not isinstance(value, str):
                raise bad_patch(
                    f"json: cannot unmarshal {json_name(value)} into Go struct field jsonPatchOp.{name} of type string"
                )
    if len(patch) > OPERATIONS_MAX:
        raise ApiError(
            413,
            "RequestEntityTooLarge",
            "Request entity too large: The allowed maximum operations in a JSON patch is "
            f"{OPERATIONS_MAX}, got {len(patch)}",
        )
    return patch


class _CopyBudget:
    """Counts the bytes that copy operations make, so that a short patch can't blow the document up."""

    def __init__(self) -> None:
        self._left = COPIED_BYTES_MAX

    def copy(self, value: Json) -> Json:
        raw = orjson.dumps(value)
        self._left -= len(raw)
        if self._left < 0:
            raise PatchFailed(f"copies exceed {COPIED_BYTES_MAX} bytes")
        return orjson.loads(raw)


def _apply(root: list[Json], operation: Mapping[str, Json], budget: _CopyBudget) -> None:
    """Apply one operation to the document that is `root`'s only item."""
    name = operation.get("op")
    handler = _HANDLERS.get(name) if isinstance(name, str) else None
    path = operation.get("path")
    if handler is None or path is None:
        raise PatchFailed(f"unexpected operation {name!r} at {path!r}")
    handler(root, _pointer(path), operation, budget)


def _add(root: list[Json], path: list[str], operation: Mapping[str, Json], _: _CopyBudget) -> None:
    _put(root, path, _value(operation))


def _remove(root: list[Json], path: list[str], _: Mapping[str, Json], __: _CopyBudget) -> None:
    _take(root, path)


def _replace(root: list[Json], path: list[str], operation: Mapping[str, Json], _: _CopyBudget) -> None:
    value = _value(operation)
    container, key = _locate(root, path)
    if isinstance(container, dict):
        if key not in container:
            raise PatchFailed(f"replace operation does not apply: missing key {key!r}")
        container[key] = value
    else:
        container[_index(key, len(container))] = value


def _move(root: list[Json], path: list[str], operation: Mapping[str, Json], _: _CopyBudget) -> None:
    source = _from(operation)
    if path[: len(source)] == source and path != source:
        raise PatchFailed("move operation into its own child")
    _put(root, path, _take(root, source))


def _copy(root: list[Json], path: list[str], operation: Mapping[str, Json], budget: _CopyBudget) -> None:
    _put(root, path, budget.copy(_get(root, _from(operation))))


def _test(root: list[Json], path: list[str], operation: Mapping[str, Json], _: _CopyBudget) -> None:
    container, key = _locate(root, path)
    present = container.get(key) if isinstance(container, dict) else container[_index(key, len(container))]
    if not _same(present, operation.get("value")):
        raise PatchFailed(f"testing value {'/'.join(path)} failed")


_Handler = Callable[[list[Json], list[str], Mapping[str, Json], _CopyBudget], None]
_HANDLERS: dict[str, _Handler] = {
    "add": _add,
    "remove": _remove,
    "replace": _replace,
    "move": _move,
    "copy": _copy,
    "test": _test,
}


def _pointer(text: str) -> list[str]:
    """The steps of a JSON pointer below `root`, whose only item is the document."""
    if not text:
        return ["0"]
    if not text.startswith("/"):
        raise PatchFailed(f"pointer {text!r} does not start with /")
    return ["0", *(step.replace("~1", "/").replace("~0", "~") for step in text[1:].split("/"))]


def _from(operation: Mapping[str, Json]) -> list[str]:
    source = operation.get("from")
    if source is None:
        raise PatchFailed("operation without from")
    return _pointer(source)


def _value(operation: Mapping[str, Json]) -> Json:
    if "value" not in operation:
        raise PatchFailed("operation without value")
    return operation["value"]


def _locate(root: list[Json], path: list[str]) -> tuple[Container, str]:
    """The container that holds the last step of `path`, and that step."""
    here: Json = root
    for step in path[:-1]:
        here = _child(here, step)
    if not isinstance(here, dict | list):
        raise PatchFailed(f"missing container for {path[-1]!r}")
    return here, path[-1]


def _child(here: Json, step: str) -> Json:
    if isinstance(here, dict) and step in here:
        return here[step]
    if isinstance(here, list):
        return here[_index(step, len(here))]
    raise PatchFailed(f"missing path step {step!r}")


def _get(root: list[Json], path: list[str]) -> Json:
    container, key = _locate(root, path)
    return _child(container, key)


def _put(root: list[Json], path: list[str], value: Json) -> None:
    container, key = _locate(root, path)
    if container is root:
        root[0] = value
    elif isinstance(container, dict):
        container[key] = value
    elif key == "-":
        container.append(value)
    else:
        container.insert(_index(key, len(container) + 1), value)


def _take(root: list[Json], path: list[str]) -> Json:
    container, key = _locate(root, path)
    if container is root:
        raise PatchFailed("the whole document can't be removed")
    if isinstance(container, dict):
        if key not in container:
            raise PatchFailed(f"missing key {key!r}")
        return container.pop(key)
    return container.pop(_index(key, len(container)))


def _index(text: str, length: int) -> int:
    """A list position; negative ones count from the end, as upstream allows."""
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit() and len(digits) < 10):
        raise PatchFailed(f"{text!r} is no index")
    index = int(text)
    if not -length <= index < length:
        raise PatchFailed(f"index {index} out of bounds")
    return index + length if index < 0 else index


def _same(one: Json, other: Json) -> bool:
    """Equality of JSON values; unlike Python's, true is not 1."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(value, other[key]) for key, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return isinstance(one, bool) == isinstance(other, bool) and one == other
