"""Field sets keep exactly the paths that are put in, in the form that managedFields use."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from oarlock.cluster.objects.apply import fieldsets

_STEPS = st.sampled_from(["f:a", "f:b", 'k:{"name":"x"}', 'v:"s"'])
_PATHS = st.lists(_STEPS, min_size=1, max_size=4).map(tuple)
_SETS = st.sets(_PATHS, max_size=12)


@given(_SETS)
def test_a_set_gives_back_its_paths(paths: set[fieldsets.Path]) -> None:
    trie = fieldsets.of(paths)
    assert fieldsets.members(trie) == paths
    assert fieldsets.is_well_formed(trie)


@given(_SETS, _SETS)
def test_taking_paths_out_leaves_the_difference(paths: set[fieldsets.Path], gone: set[fieldsets.Path]) -> None:
    trie = fieldsets.of(paths)
    taken = {path for path in gone if fieldsets.discard(trie, path)}
    assert taken == paths & gone
    assert fieldsets.members(trie) == paths - gone
    assert trie == fieldsets.of(paths - gone)


@given(_SETS, _PATHS)
def test_membership(paths: set[fieldsets.Path], path: fieldsets.Path) -> None:
    assert fieldsets.contains(fieldsets.of(paths), path) == (path in paths)


@given(_SETS, _PATHS)
def test_order_of_insertion_does_not_matter(paths: set[fieldsets.Path], last: fieldsets.Path) -> None:
    trie = fieldsets.of(paths)
    fieldsets.insert(trie, last)
    assert trie == fieldsets.of(paths | {last})


@given(_SETS, _PATHS, _SETS)
def test_grafting_puts_in_a_place_and_what_is_below(
    paths: set[fieldsets.Path], place: fieldsets.Path, inside: set[fieldsets.Path]
) -> None:
    trie = fieldsets.of(paths)
    below = fieldsets.of(inside)
    fieldsets.graft(trie, place, {fieldsets.SELF: {}, **below} if below else below)
    assert trie == fieldsets.of(paths | {place} | {place + path for path in inside})


def test_the_form_is_upstreams() -> None:
    paths = {("f:data",), ("f:data", "f:a"), ("f:spec", "f:replicas")}
    assert fieldsets.of(paths) == {"f:data": {".": {}, "f:a": {}}, "f:spec": {"f:replicas": {}}}


def test_paths_are_printed_as_upstream_prints_them() -> None:
    keys = fieldsets.key_element({"protocol": "TCP", "containerPort": 80})
    assert fieldsets.text(("f:spec", "f:ports", keys)) == '.spec.ports[containerPort=80,protocol="TCP"]'
    assert fieldsets.text(("f:finalizers", fieldsets.value_element("x"))) == '.finalizers[="x"]'


def test_what_is_no_field_set_is_told() -> None:
    assert not fieldsets.is_well_formed({"x": {}})
    assert not fieldsets.is_well_formed({"k:[1]": {}})
    assert not fieldsets.is_well_formed({"f:a": 1})
    assert not fieldsets.is_well_formed([])
