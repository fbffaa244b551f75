"""What is looked up by an index is what a search through everything finds."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from oarlock.actors.controllers import backends
from oarlock.cluster.client.cache import key_of
from oarlock.cluster.objects.selectors import parse_labels

Object = dict[str, Any]
LABELS = st.dictionaries(st.sampled_from("abc"), st.sampled_from("xy"), max_size=3)
NAMESPACES = st.sampled_from(["n", "n2"])


def pod(name: int, namespace: str, labels: dict[str, str]) -> Object:
    metadata = {"name": f"p{name}", "namespace": namespace, "labels": labels}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": []}, "status": {}}


def service(name: int, namespace: str, selector: dict[str, str]) -> Object:
    metadata = {"name": f"s{name}", "namespace": namespace}
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {"selector": selector}}


def names(found: list[Object]) -> list[str]:
    return sorted(one["metadata"]["name"] for one in found)


@given(st.lists(st.tuples(st.integers(0, 5), NAMESPACES, LABELS)), NAMESPACES, LABELS)
def test_pods_by_their_labels(world_type: Any, puts: list[Any], namespace: str, wanted: dict[str, str]) -> None:
    world = world_type()
    for one in puts:  # some of them twice, with other labels
        world.put(pod(*one))
    expected = [
        one
        for one in world.view.list("pods", namespace)
        if all(one["metadata"]["labels"].get(name) == value for name, value in wanted.items())
    ]
    assert names(world.view.labelled("pods", namespace, wanted)) == names(expected)


@given(
    st.lists(st.tuples(st.integers(0, 5), NAMESPACES, LABELS)),
    NAMESPACES,
    st.sampled_from(["", "a=x", "a in (x),b=y", "a=x,!b", "a in (x,y),c!=x", "a", "a=x,a=y"]),
)
def test_pods_by_a_selector(world_type: Any, puts: list[Any], namespace: str, text: str) -> None:
    world, selector = world_type(), parse_labels(text)
    for one in puts:
        world.put(pod(*one))
    expected = [one for one in world.view.list("pods", namespace) if selector.matches(one["metadata"]["labels"])]
    assert names(world.view.chosen("pods", namespace, selector)) == names(expected)


@given(st.lists(st.tuples(st.integers(0, 5), NAMESPACES, LABELS)), NAMESPACES, LABELS, LABELS)
def test_services_by_whom_they_select(
    world_type: Any, puts: list[Any], namespace: str, before: dict[str, str], after: dict[str, str]
) -> None:
    world = world_type()
    for one in puts:
        world.put(service(*one))
    there = world.view.list("services", namespace)

    def selecting(labels: dict[str, str]) -> set[str]:
        return {
            f"{namespace}/{one['metadata']['name']}"
            for one in there
            if (selector := one["spec"]["selector"]) and selector.items() <= labels.items()
        }

    old, new = (pod(1, namespace, labels) for labels in (before, after))
    due = {one.key for one in backends.services_of(world.view, old, new)}
    assert due == (selecting(before) | selecting(after) if before != after else set())
    assert {one.key for one in backends.services_of(world.view, None, new)} == selecting(after)


def test_caches_that_hold_metadata_alone_are_indexed_too(world: Any) -> None:
    """A group without the controllers that decide on a kind keeps no more of it."""
    for api_version, kind in (("v1", "Service"), ("v1", "Pod"), ("resource.k8s.io/v1", "ResourceSlice")):
        made = world.put({"apiVersion": api_version, "kind": kind, "metadata": {"name": "one"}})
        assert world.cache(made).get(key_of(made)) == made
    assert world.view.services_for("default", {"a": "x"}) == []
