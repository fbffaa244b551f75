"""What a watch tells, from where it begins, and where it ends.

Stands for: "Watchers should observe add, update, and delete watch notifications on configmaps", "... be able to start
watching from a specific resource version", "... be able to restart watching from the last resource version observed by
the previous watch", "... observe an object deletion if it stops meeting the requirements of the selector", "... receive
events on concurrent watches in same order", "CustomResourceDefinition Watch", "client-go should negotiate".
"""

from __future__ import annotations

from typing import Any

import pytest
from harness.rest import Rest

pytestmark = [pytest.mark.thorough, pytest.mark.timeout(120)]


def configmap(name: str, label: str = "A", **data: str) -> Any:
    return {"metadata": {"name": name, "labels": {"watch": label}}, "data": data}


def told(event: Any) -> tuple[str, str, Any]:
    return event["type"], event["object"]["metadata"]["name"], (event["object"].get("data") or {}).get("n")


def test_each_watch_sees_what_its_selector_selects(api: Rest, core: str) -> None:
    path = f"{core}/configmaps"
    begin = api.get(path)["metadata"]["resourceVersion"]
    selectors = {"watch=A": 1, "watch=B": 1, "watch in (A,B)": 2, "watch=C": 0}
    for label in "AB":
        api.create(path, configmap(f"is-{label.lower()}", label))
        for number in (1, 2):
            api.patch(f"{path}/is-{label.lower()}", {"data": {"n": str(number)}})
        api.delete(f"{path}/is-{label.lower()}")
    for selector, count in selectors.items():
        with api.watch(path, resourceVersion=begin, labelSelector=selector, timeoutSeconds=1) as watch:
            seen = [told(event) for event in watch.rest()]
        each = [("ADDED", None), ("MODIFIED", "1"), ("MODIFIED", "2"), ("DELETED", "2")]
        assert [(type_, n) for type_, _, n in seen] == each * count


def test_a_watch_begins_at_a_revision_and_another_goes_on_from_it(api: Rest, core: str) -> None:
    path = f"{core}/configmaps"
    api.create(path, configmap("resumed"))
    first = api.patch(f"{path}/resumed", {"data": {"n": "1"}})["metadata"]["resourceVersion"]
    second = api.patch(f"{path}/resumed", {"data": {"n": "2"}})["metadata"]["resourceVersion"]
    api.delete(f"{path}/resumed")
    with api.watch(path, resourceVersion=first, labelSelector="watch=A") as watch:
        assert told(watch.next()) == ("MODIFIED", "resumed", "2")
        last = watch.next()
    assert told(last) == ("DELETED", "resumed", "2")
    assert int(last["object"]["metadata"]["resourceVersion"]) > int(second)
    api.create(path, configmap("resumed", n="3"))
    with api.watch(path, resourceVersion=last["object"]["metadata"]["resourceVersion"], labelSelector="watch") as watch:
        assert told(watch.next()) == ("ADDED", "resumed", "3")


@pytest.mark.parametrize("by", ["labelSelector", "fieldSelector"])
def test_what_no_longer_fits_is_told_as_deleted(api: Rest, core: str, by: str) -> None:
    selector, change, back = {
        "labelSelector": (
            "watch=A",
            {"metadata": {"labels": {"watch": "B"}}},
            {"metadata": {"labels": {"watch": "A"}}},
        ),
        "fieldSelector": ("type=Opaque,metadata.name=leaving", None, None),
    }[by]
    path = f"{core}/secrets"
    api.create(path, {"metadata": {"name": "leaving", "labels": {"watch": "A"}}})
    begin = api.get(path)["metadata"]["resourceVersion"]
    with api.watch(path, resourceVersion=begin, **{by: selector}) as watch:
        if change is None:
            api.delete(f"{path}/leaving")
            api.create(path, {"metadata": {"name": "leaving"}, "type": "example.com/other"})
            api.delete(f"{path}/leaving")
            api.create(path, {"metadata": {"name": "leaving"}})
        else:
            api.patch(f"{path}/leaving", change)
            api.patch(f"{path}/leaving", {"data": {"n": "MQ=="}})
            api.patch(f"{path}/leaving", back)
        assert told(watch.next())[:2] == ("DELETED", "leaving")
        assert told(watch.next())[:2] == ("ADDED", "leaving")


def test_watches_at_the_same_time_see_one_order(api: Rest, core: str) -> None:
    path = f"{core}/configmaps"
    versions = [api.get(path)["metadata"]["resourceVersion"]]
    for number in range(12):
        versions.append(api.create(path, configmap(f"order-{number % 4}-{number}"))["metadata"]["resourceVersion"])
        api.patch(f"{path}/order-{number % 4}-{number}", {"data": {"n": "1"}})
    orders = []
    for begin in versions[:-1]:
        with api.watch(path, resourceVersion=begin, timeoutSeconds=1) as watch:
            orders.append([event["object"]["metadata"]["resourceVersion"] for event in watch.rest()])
    assert len(orders[0]) == 24
    assert all(order == orders[0][-len(order) :] for order in orders)


def test_a_watch_of_one_object_and_of_everything(api: Rest, core: str, namespace: str) -> None:
    made = api.create(f"{core}/configmaps", configmap("one"))
    api.create(f"{core}/configmaps", configmap("another"))
    begin = int(made["metadata"]["resourceVersion"]) - 1
    with api.watch(f"/api/v1/watch/namespaces/{namespace}/configmaps/one", resourceVersion=begin) as watch:
        assert told(watch.next())[1] == "one"
    with api.watch(
        "/api/v1/configmaps", resourceVersion=begin, fieldSelector=f"metadata.namespace={namespace}"
    ) as watch:
        assert {watch.next()["object"]["metadata"]["name"] for _ in range(2)} == {"one", "another"}
    with api.watch(f"{core}/configmaps", labelSelector="watch=A", timeoutSeconds=1) as watch:
        synthetic = [told(event)[:2] for event in watch.rest()]
    assert sorted(synthetic) == [("ADDED", "another"), ("ADDED", "one")], "without a revision it begins with what is"
    old_form = f"/api/v1/watch/namespaces/{namespace}/configmaps"
    with api.watch(old_form, labelSelector="watch=A", timeoutSeconds=1) as watch:
        assert len(watch.rest()) == 2


def test_the_same_in_tables_and_by_metadata(api: Rest, core: str) -> None:
    begin = api.get(f"{core}/configmaps")["metadata"]["resourceVersion"]
    for name in ("a", "b"):
        api.create(f"{core}/configmaps", configmap(name))
    with api.watch(
        f"{core}/configmaps", "application/json;as=Table;v=v1;g=meta.k8s.io", resourceVersion=begin
    ) as watch:
        first, second = watch.next()["object"], watch.next()["object"]
    assert [first["rows"][0]["cells"][0], second["rows"][0]["cells"][0]] == ["a", "b"]
    assert (bool(first["columnDefinitions"]), second["columnDefinitions"]) == (True, None)
    accept = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"
    with api.watch(f"{core}/configmaps", accept, resourceVersion=begin) as watch:
        assert watch.next()["object"]["kind"] == "PartialObjectMetadata"


def test_a_revision_that_is_forgotten_or_not_yet_is_told_as_such(api: Rest, core: str) -> None:
    with api.watch(f"{core}/configmaps", resourceVersion=999_999_999, timeoutSeconds=5) as watch:
        event = watch.next()
    assert event["type"] == "ERROR"
    assert event["object"]["reason"] == "Timeout"
    assert "Too large resource version" in event["object"]["message"]
    assert api("GET", f"{core}/configmaps", watch="1", resourceVersion="x").code == 400
