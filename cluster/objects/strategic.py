"""Strategic merge patch: a merge that knows from the schema which lists are merged by key.

Directives: `$patch: replace|delete`, `$retainKeys`, `$setElementOrder/<list>`, `$deleteFromPrimitiveList/<list>`. The
order of merged lists is upstream's: what the patch names comes in the patch's order, what only the object has keeps its
place relative to it. Refusals are ApiErrors; where upstream answers 500 to a malformed patch, this answers 400.
Source: Kubernetes' strategic merge patch document (sig-api-machinery) and its recorded answers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from oarlock.cluster.objects import gotext, json_types
from oarlock.cluster.objects.list_order import interleave, position
from oarlock.cluster.objects.patches import bad_patch
from oarlock.cluster.objects.schemas import Schema
from oarlock.cluster.objects.status import bad_request, rejected

Json = Any
Object = dict[str, Json]

_DIRECTIVE = "$patch"
_RETAIN_KEYS = "$retainKeys"
_ELEMENT_ORDER = "$setElementOrder"
_DELETE_FROM_LIST = "$deleteFromPrimitiveList"


def strategic_merge(doc: Object, patch: Json, schema: Schema) -> Object:
    """Return `doc` with the strategic merge patch applied; neither argument is changed."""
    if not isinstance(patch, dict):
        raise bad_patch(
            f"json: cannot unmarshal {json_types.json_name(patch)} into Go value of type {json_types.OBJECT}"
        )
    return _merge_map(doc, patch, schema)


def _merge_map(original: Object, patch: Object, schema: Schema | None) -> Object:
    directive = patch.get(_DIRECTIVE)
    if _DIRECTIVE in patch:
        return _whole_map(directive, patch)
    result = _retained(original, patch)
    left = {key: value for key, value in patch.items() if key != _RETAIN_KEYS}
    _merge_ordered_lists(result, left, schema)
    for key, value in left.items():
        if key.startswith(_DELETE_FROM_LIST):
            _delete_from_list(result, _target(key, _DELETE_FROM_LIST, "primitive list"), value)
        elif value is None:
            result.pop(key, None)
        else:
            result[key] = _merge_value(result.get(key), value, _field(schema, key))
    return result


def _whole_map(directive: Json, patch: Object) -> Object:
    if directive == "replace":
        return {key: _settled(value) for key, value in patch.items() if key != _DIRECTIVE and value is not None}
    if directive == "delete":
        return {}
    raise bad_request(f"unknown patch type: {gotext.value(directive)} in map: {gotext.value(patch)}")


def _merge_value(original: Json, patch: Json, schema: Schema | None) -> Json:
    """Merge one field; values of different shapes, and lists that aren't merged, are replaced."""
    strategies = schema.patch_strategy if schema is not None else ()
    if isinstance(original, dict) and isinstance(patch, dict):
        return _settled(patch) if "replace" in strategies else _merge_map(original, patch, schema)
    if isinstance(original, list) and isinstance(patch, list):
        return _merge_list(original, patch, schema) if schema is not None and "merge" in strategies else patch
    return _settled(patch)


def _merge_list(original: list[Json], patch: list[Json], schema: Schema) -> list[Json]:
    if not original and not patch:
        return original
    if not _of_objects(original, patch):
        merged = _unique([*original, *patch])
        return interleave(merged, patch, original, _itself)
    key = schema.patch_merge_key
    if key is None:
        raise bad_request("cannot merge lists without merge key")
    kept, additions = _special_elements(original, patch, key)
    merged = _merge_elements(kept, additions, key, schema.items)
    return interleave(merged, additions, kept, _by(key))


def _special_elements(original: list[Json], patch: list[Json], key: str) -> tuple[list[Json], list[Json]]:
    """Carry out `$patch` in list items; return (what is left of the original, the patch's plain items)."""
    plain, replaced = [], False
    for element in patch:
        directive = element.get(_DIRECTIVE)
        if _DIRECTIVE not in element:
            plain.append(element)
        elif directive == "delete":
            gone = _key_of(element, key)
            original = [item for item in original if item.get(key) != gone]
        elif directive == "replace":
            replaced = True
        elif directive == "merge":
            raise bad_request("merging lists cannot yet be specified in the patch")
        else:
            raise bad_request(f"unknown patch type: {gotext.value(directive)} in map: {gotext.value(element)}")
    return (plain, []) if replaced else (original, plain)


def _merge_elements(original: list[Json], patch: list[Json], key: str, schema: Schema | None) -> list[Json]:
    merged = list(original)
    for element in patch:
        name = _key_of(element, key)
        at = position(merged, name, lambda item: item.get(key))
        if at is None:
            merged.append(_settled(element))
        else:
            merged[at] = _merge_map(merged[at], element, schema)
    return merged


def _retained(original: Object, patch: Object) -> Object:
    """A copy of `original` without what `$retainKeys`, if the patch has it, doesn't name."""
    if _RETAIN_KEYS not in patch:
        return dict(original)
    keys = patch[_RETAIN_KEYS]
    if not isinstance(keys, list):
        raise bad_request("invalid patch format of retainKeys")
    for name, value in patch.items():
        if value is None or name == _RETAIN_KEYS or name.startswith((_DELETE_FROM_LIST, _ELEMENT_ORDER)):
            continue
        if name not in keys:
            raise rejected()
    return {name: value for name, value in original.items() if name in keys}


def _merge_ordered_lists(result: Object, patch: Object, schema: Schema | None) -> None:
    """Merge the lists that the patch gives an order for, taking them out of `patch`."""
    for directive in [name for name in patch if name.startswith(_ELEMENT_ORDER)]:
        order = patch.pop(directive)
        name = _target(directive, _ELEMENT_ORDER, "setElementOrder list")
        if not isinstance(order, list):
            raise bad_request("invalid patch format of setElementOrder list")
        changes = patch.pop(name, None)
        original = result.get(name)
        if changes is None and original is None:
            continue
        result[name] = _ordered_list(original, changes, order, _field(schema, name))


def _ordered_list(original: Json, changes: Json, order: list[Json], schema: Schema | None) -> list[Json]:
    present, patch = _list(original), _list(changes)
    key = schema.patch_merge_key if schema is not None else None
    identity = _by(key) if key else _itself
    _check_order(patch, order, identity)
    if original is None:
        merged = [_settled(item) for item in patch if not _is_delete(item)]
    elif changes is None:
        merged = present
    else:
        merged = _merge_value(present, patch, schema)
    return interleave(merged, order, present, identity)


def _check_order(patch: list[Json], order: list[Json], identity: Callable[[Json], Json]) -> None:
    """Refuse a list whose items aren't a subsequence of the order that comes with it."""
    wanted = iter(order)
    for item in patch:
        if _is_delete(item):
            continue
        if not any(identity(item) == identity(candidate) for candidate in wanted):
            raise bad_request(
                f"The order in patch list:\n{gotext.value(patch)}\n doesn't match {_ELEMENT_ORDER} list:\n"
                f"{gotext.value(order)}\n"
            )


def _delete_from_list(result: Object, name: str, gone: Json) -> None:
    if name in result:
        result[name] = [item for item in _list(result[name]) if item not in _list(gone)]


def _target(key: str, directive: str, described: str) -> str:
    """The field that a `directive/field` key is about."""
    prefix, slash, name = key.partition("/")
    if prefix != directive or not slash or not name:
        raise bad_request(f"invalid patch format of {described}")
    return name


def _field(schema: Schema | None, name: str) -> Schema | None:
    return schema.field(name) if schema is not None else None


def _of_objects(*lists: Iterable[Json]) -> bool:
    """Whether the items are objects (or else scalars); mixtures and lists of lists are refused."""
    kinds = {json_types.go_type(item) for items in lists for item in items}
    if json_types.LIST in kinds:
        raise rejected()
    if len(kinds) > 1:
        raise bad_request(f"list element types are not identical: {' '.join(sorted(kinds))}")
    return kinds == {json_types.OBJECT}


def _settled(value: Json) -> Json:
    """A value taken over from a patch as it is: without its nulls and directives."""
    if isinstance(value, list):
        return [_settled(item) for item in value if not _is_directive(item)]
    if not isinstance(value, Mapping):
        return value
    if value.get(_DIRECTIVE) == "delete":
        return {}
    return {name: _settled(inner) for name, inner in value.items() if inner is not None and not name.startswith("$")}


def _is_directive(item: Json) -> bool:
    return isinstance(item, Mapping) and (_is_delete(item) or (_DIRECTIVE in item and len(item) == 1))


def _is_delete(item: Json) -> bool:
    return isinstance(item, Mapping) and item.get(_DIRECTIVE) == "delete"


def _list(value: Json) -> list[Json]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise bad_request(f"expected a []interface {{}}, but received a {json_types.go_type(value)}")
    return value


def _key_of(element: Object, key: str) -> Json:
    if key not in element:
        raise bad_request(f"map: {gotext.value(element)} does not contain declared merge key: {key}")
    return element[key]


def _by(key: str) -> Callable[[Json], Json]:
    return lambda item: _key_of(item, key) if isinstance(item, dict) else item


def _itself(item: Json) -> Json:
    return item


def _unique(items: Iterable[Json]) -> list[Json]:
    seen: list[Json] = []
    for item in items:
        if item not in seen:
            seen.append(item)
    return seen
