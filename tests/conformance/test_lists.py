"""Lists in pages, as tables, at revisions and streamed; what can't be answered is refused as upstream refuses it.

Stands for: "Servers with support for API chunking", "Servers with support for Table transformation", "API Streaming
(aka. WatchList)", "Server request timeout", "client-go should negotiate".
"""

from __future__ import annotations

from typing import Any

import pytest
from harness.rest import Rest

pytestmark = [pytest.mark.thorough, pytest.mark.timeout(120)]
TOTAL = 40
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"
STREAMED = "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
OLD_TABLE = "application/json;as=Table;v=v1beta1;g=meta.k8s.io"


@pytest.fixture
def templates(api: Rest, core: str) -> str:
    """The path of so many pod templates."""
    spec = {"containers": [{"name": "test", "image": "host/true"}]}
    for number in range(TOTAL):
        metadata = {"name": f"template-{number:04}", "labels": {"odd": str(number % 2)}}
        api.create(f"{core}/podtemplates", {"metadata": metadata, "template": {"spec": spec}})
    return f"{core}/podtemplates"


def test_pages_are_of_one_revision_and_say_what_is_left(api: Rest, templates: str) -> None:
    for limit in (1, 7, TOTAL - 1):
        found: list[str] = []
        more, versions = {}, set()
        while True:
            page = api.get(templates, limit=limit, **more)
            found += [one["metadata"]["name"] for one in page["items"]]
            versions.add(page["metadata"]["resourceVersion"])
            left = page["metadata"].get("remainingItemCount")
            if not page["metadata"].get("continue"):
                assert left is None
                break
            assert (len(page["items"]), left) == (limit, TOTAL - len(found))
            if len(found) == limit:  # a page shows nothing that came after the first one
                api.create(templates, {"metadata": {"name": f"zz-{limit}"}, "template": page["items"][0]["template"]})
            more = {"continue": page["metadata"]["continue"]}
        assert found == [f"template-{number:04}" for number in range(TOTAL)]
        assert len(versions) == 1
        api.delete(f"{templates}/zz-{limit}")
    whole = api.get(templates, limit=TOTAL + 1)
    assert (len(whole["items"]), "continue" in whole["metadata"]) == (TOTAL, False)
    selected = api.get(templates, limit=5, labelSelector="odd=1")
    assert "remainingItemCount" not in selected["metadata"], "what a selector leaves isn't counted"
    assert selected["metadata"]["continue"]


def test_tables_come_in_pages_too(api: Rest, templates: str) -> None:
    page = api.get(templates, limit=2, accept=OLD_TABLE)
    assert page["apiVersion"] == "meta.k8s.io/v1beta1"
    assert [row["cells"][0] for row in page["rows"]] == ["template-0000", "template-0001"]
    rest = api.get(templates, accept=OLD_TABLE, **{"continue": page["metadata"]["continue"]})
    assert [row["cells"][0] for row in rest["rows"]][:1] == ["template-0002"]
    assert len(rest["rows"]) == TOTAL - 2
    assert rest["columnDefinitions"][0]["name"] == "Name"


def test_tables_carry_as_much_of_the_object_as_asked_for(api: Rest, templates: str) -> None:
    for asked, there in (("None", None), ("Object", "PodTemplate"), ("Metadata", "PartialObjectMetadata")):
        row = api.get(templates, limit=1, accept=TABLE, includeObject=asked)["rows"][0]
        assert (row.get("object") or {}).get("kind") == there
    assert api("GET", templates, accept=TABLE, includeObject="Other").code == 400


@pytest.mark.parametrize(
    ("method", "path", "accept"),
    [
        ("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", TABLE),
        ("GET", f"/api/v1/secrets?{STREAMED}", TABLE),
        ("GET", "/api/v1/secrets", "application/json;as=Table;v=v2;g=meta.k8s.io"),
        ("GET", "/api/v1/secrets", "text/html"),
    ],
)
def test_what_cannot_be_shown_so_is_not_acceptable(api: Rest, method: str, path: str, accept: str) -> None:
    attributes = {"nonResourceAttributes": {"path": "/", "verb": "get"}}
    answer = api(method, path, {"spec": attributes} if method == "POST" else None, accept=accept)
    assert (answer.code, answer.reason) == (406, "NotAcceptable")


def streamed(api: Rest, path: str, accept: str = "application/json", **more: Any) -> tuple[list[Any], Any]:
    """The events of a streamed list, and the bookmark that ends it."""
    options = {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan", "allowWatchBookmarks": "true"}
    events = []
    with api.watch(path, accept, **options, **more) as watch:
        while True:
            event = watch.next()
            if event["type"] == "BOOKMARK":
                return events, event["object"]
            events.append(event)


def test_a_list_is_streamed(api: Rest, core: str) -> None:
    for number in range(5):
        metadata = {"name": f"secret-{number}", "labels": {"watchlist": "true"}}
        api.create(f"{core}/secrets", {"metadata": metadata, "stringData": {"a": "b"}})
    listed = api.get(f"{core}/secrets", labelSelector="watchlist=true")
    for accept in ("application/json", f"{TABLE},application/json"):
        events, bookmark = streamed(api, f"{core}/secrets", accept, labelSelector="watchlist=true")
        assert [event["object"]["metadata"] for event in events] == [one["metadata"] for one in listed["items"]]
        assert {event["type"] for event in events} == {"ADDED"}
        assert bookmark["kind"] == "Secret"
        assert bookmark["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
        assert int(bookmark["metadata"]["resourceVersion"]) >= int(listed["metadata"]["resourceVersion"])


@pytest.mark.parametrize(
    ("parameters", "code", "said"),
    [
        ({"sendInitialEvents": "true"}, 422, "sendInitialEvents is forbidden for list"),
        ({"watch": "1", "sendInitialEvents": "true"}, 422, "sendInitialEvents requires setting resourceVersionMatch"),
        (
            {"resourceVersionMatch": "Exact"},
            422,
            "resourceVersionMatch is forbidden unless resourceVersion is provided",
        ),
        ({"resourceVersion": "0", "resourceVersionMatch": "Exact"}, 422, 'forbidden for resourceVersion "0"'),
        ({"resourceVersion": "x"}, 400, 'parsing "x": invalid syntax'),
        ({"continue": "x"}, 400, "continue key is not valid"),
        ({"resourceVersion": "999999999"}, 504, "Too large resource version"),
        ({"labelSelector": "a=="}, 200, ""),
        ({"labelSelector": "a=b=c"}, 400, "found '=', expected: ',' or 'end of string'"),
        ({"fieldSelector": "data.a=b"}, 400, '"data.a" is not a known field selector'),
        ({"limit": "x"}, 400, "strconv.ParseInt"),
    ],
    ids=str,
)
def test_parameters_that_make_no_sense(api: Rest, core: str, parameters: Any, code: int, said: str) -> None:
    answer = api("GET", f"{core}/configmaps", **parameters)
    assert answer.code == code, answer
    if code != 200:
        assert said in answer.message


@pytest.mark.parametrize(("timeout", "code"), [("invalid", 400), ("3m", 200), ("0s", 200), ("10s", 200)])
def test_a_request_may_say_how_long_it_waits(api: Rest, timeout: str, code: int) -> None:
    answer = api("GET", "/version", timeout=timeout)
    assert answer.code == code
    if code == 400:
        assert "invalid timeout specified in the request URL" in str(answer.body)


def test_revisions_of_the_past_and_at_least(api: Rest, core: str) -> None:
    first = api.create(f"{core}/configmaps", {"metadata": {"name": "first"}})["metadata"]["resourceVersion"]
    api.create(f"{core}/configmaps", {"metadata": {"name": "second"}})

    def names(**parameters: Any) -> set[str]:
        items = api.get(f"{core}/configmaps", **parameters)["items"]
        return {one["metadata"]["name"] for one in items} & {"first", "second"}

    assert names(resourceVersion=first, resourceVersionMatch="Exact") == {"first"}
    assert names(resourceVersion=first, limit=500) == {"first"}, "with a limit, a revision is meant exactly"
    assert names(resourceVersion=first, resourceVersionMatch="NotOlderThan") == {"first", "second"}
    assert names(resourceVersion="0") == names() == {"first", "second"}
    expired = api("GET", f"{core}/configmaps", resourceVersion="1", resourceVersionMatch="Exact")
    assert expired.code in (200, 410), "whether the first revision is still known depends on how old the cluster is"
