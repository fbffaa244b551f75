"""Conversion webhooks: objects in every version through every verb, and webhooks that fail or lie."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiohttp import web
from harness.authority import Authority
from harness.conversion import Webhook, converted, definition, honest, plug, response, serving, version

from oarlock.cluster.apiserver import definitions, forms, webhooks
from oarlock.consensus.model import Range

Obj = dict[str, Any]

DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
DEFINITION = f"{DEFINITIONS}/plugs.example.com"
V1 = "/apis/example.com/v1/namespaces/default/plugs"
V2 = "/apis/example.com/v2/namespaces/default/plugs"
MERGE = "application/merge-patch+json"
APPLY = "application/apply-patch+yaml"


async def established(api: Any, body: dict[str, Any]) -> None:
    """Create a definition and wait as clients do: for its condition."""
    made = await api.made(DEFINITIONS, body)
    since = made["metadata"]["resourceVersion"]
    async with api.watch(f"{DEFINITIONS}?watch=1&resourceVersion={since}") as event:
        while True:
            conditions = (await event())["object"]["status"].get("conditions") or ()
            if any(one["type"] == "Established" and one["status"] == "True" for one in conditions):
                return


def test_every_verb_in_both_versions(with_api: Any, tmp_path: Path) -> None:
    async def scenario(api: Any) -> None:
        async with serving(Authority(tmp_path)) as webhook:
            await established(api, definition(webhook.conversion()))
            made = await api.made(V2, plug("a", "v2", host="h", port=7))
            assert (made["apiVersion"], made["spec"]) == ("example.com/v2", {"host": "h", "port": 7})
            code, seen = await api("GET", f"{V1}/a")
            assert (code, seen["apiVersion"], seen["spec"]) == (200, "example.com/v1", {"address": "h:7"})
            assert seen["metadata"]["uid"] == made["metadata"]["uid"]
            await api.made(V1, plug("b", address="i:8"))
            code, listed = await api("GET", V2)
            assert [one["spec"] for one in listed["items"]] == [{"host": "h", "port": 7}, {"host": "i", "port": 8}]
            assert {one["apiVersion"] for one in listed["items"]} == {"example.com/v2"}
            code, seen = await api("PATCH", f"{V2}/b", {"spec": {"port": 9, "replicas": 1}}, MERGE)
            assert (code, seen["spec"]) == (200, {"host": "i", "port": 9, "replicas": 1})
            seen["spec"]["host"] = "j"
            code, seen = await api("PUT", f"{V2}/b", seen)
            assert (code, seen["spec"]["host"], seen["metadata"]["generation"]) == (200, "j", 3)
            code, seen = await api("PATCH", f"{V2}/b/status", {"status": {"replicas": 2}}, MERGE)
            assert (code, seen["status"]) == (200, {"replicas": 2})
            code, seen = await api("PATCH", f"{V2}/b/scale", {"spec": {"replicas": 3}}, MERGE)
            assert (code, seen["spec"], seen["status"]) == (200, {"replicas": 3}, {"replicas": 2})
            assert (await api("GET", f"{V2}/b/scale"))[1] == seen
            code, seen = await api("GET", f"{V1}/b")
            assert seen["spec"] == {"address": "j:9", "replicas": 3}
            code, seen = await api("PATCH", f"{V2}/b?dryRun=All", {"spec": {"host": "k"}}, MERGE)
            assert (code, seen["spec"]["host"]) == (200, "k")
            assert (await api("GET", f"{V1}/b"))[1]["spec"]["address"] == "j:9"
            assert (await api("DELETE", f"{V2}/a"))[0] == 200
            assert (await api("DELETE", V2))[0] == 200
            assert (await api("GET", V1))[1]["items"] == []

    with_api(scenario)


def test_a_watch_shows_its_own_version(with_api: Any, tmp_path: Path) -> None:
    async def scenario(api: Any) -> None:
        async with serving(Authority(tmp_path)) as webhook:
            await established(api, definition(webhook.conversion()))
            await api.made(V1, plug("a", address="h:1"))
            async with api.watch(f"{V2}?watch=1") as event, api.watch(f"{V2}?watch=1") as other:
                seen = await event()
                assert (seen["type"], seen["object"]["spec"]) == ("ADDED", {"host": "h", "port": 1})
                assert await other() == seen
                asked = webhook.objects
                await api("PATCH", f"{V1}/a", {"spec": {"address": "h:2"}}, MERGE)
                seen = await event()
                assert (seen["type"], seen["object"]["spec"]["port"]) == ("MODIFIED", 2)
                assert await other() == seen
                assert webhook.objects == asked + 1, "both watches are served by one conversion"
                await api("DELETE", f"{V1}/a")
                seen = await event()
                assert (seen["type"], seen["object"]["spec"]["port"]) == ("DELETED", 2)
                assert seen["object"]["apiVersion"] == "example.com/v2"
                assert int(seen["object"]["metadata"]["resourceVersion"]) > 0
                assert await other() == seen
                assert webhook.objects == asked + 1

    with_api(scenario)


def test_what_does_not_change_is_converted_once(with_api: Any, tmp_path: Path) -> None:
    async def scenario(api: Any) -> None:
        async with serving(Authority(tmp_path)) as webhook:
            await established(api, definition(webhook.conversion()))
            for number in range(7):
                await api.made(V1, plug(f"p{number}", address=f"h:{number}"))
            assert webhook.reviews == [], "what is asked for in its own version is not sent"
            _, listed = await api("GET", V2)
            assert [one["spec"]["port"] for one in listed["items"]] == list(range(7))
            (review,) = webhook.reviews
            assert review["apiVersion"] == "apiextensions.k8s.io/v1"
            assert review["request"]["desiredAPIVersion"] == "example.com/v2"
            assert [one["metadata"]["name"] for one in review["request"]["objects"]] == [f"p{n}" for n in range(7)]
            assert "resourceVersion" not in review["request"]["objects"][0]["metadata"]
            _, again = await api("GET", V2)
            assert again == listed
            await api("GET", f"{V2}/p3")
            assert len(webhook.reviews) == 1
            _, page = await api("GET", f"{V2}?limit=3")
            _, rest = await api("GET", f"{V2}?limit=5&continue={page['metadata']['continue']}")
            assert [one["spec"]["port"] for one in [*page["items"], *rest["items"]]] == list(range(7))
            assert page["metadata"]["remainingItemCount"] == 4

    with_api(scenario)


def test_selectors_are_about_what_is_shown(with_api: Any, tmp_path: Path) -> None:
    async def labelled(review: Obj) -> web.StreamResponse:
        answer = honest(review)
        for one in answer["response"]["convertedObjects"]:
            one["metadata"]["labels"] = {"seen": one["apiVersion"].rpartition("/")[2]}
            one["metadata"]["annotations"] = {"by": "webhook"}
        return web.json_response(answer)

    async def scenario(api: Any) -> None:
        async with serving(Authority(tmp_path)) as webhook:
            webhook.answering = labelled
            second = version("v2", selectableFields=[{"jsonPath": ".spec.host"}])
            await established(api, definition(webhook.conversion(), version("v1", storage=True), second))
            await api.made(V1, plug("a", address="h:1"))
            await api.made(V1, plug("b", address="i:1"))
            _, listed = await api("GET", f"{V2}?labelSelector=seen%3Dv2&fieldSelector=spec.host%3Di")
            assert [one["metadata"]["name"] for one in listed["items"]] == ["b"]
            assert listed["items"][0]["metadata"]["annotations"] == {"by": "webhook"}
            assert (await api("GET", f"{V1}?labelSelector=seen%3Dv2"))[1]["items"] == []
            _, page = await api("GET", f"{V2}?labelSelector=seen%3Dv2&limit=1")
            assert [one["metadata"]["name"] for one in page["items"]] == ["a"]
            _, rest = await api("GET", f"{V2}?labelSelector=seen%3Dv2&limit=1&continue={page['metadata']['continue']}")
            assert [one["metadata"]["name"] for one in rest["items"]] == ["b"]
            assert "continue" not in rest["metadata"]
            since = listed["metadata"]["resourceVersion"]
            async with api.watch(f"{V2}?watch=1&resourceVersion={since}&fieldSelector=spec.host%3Di") as event:
                await api("PATCH", f"{V1}/a", {"spec": {"address": "i:9"}}, MERGE)
                assert (await event())["type"] == "ADDED"
                await api("PATCH", f"{V1}/b", {"spec": {"address": "k:9"}}, MERGE)
                gone = await event()
                assert (gone["type"], gone["object"]["metadata"]["name"]) == ("DELETED", "b")

    with_api(scenario)


def _changed(change: Callable[[Obj], Any]) -> Any:
    """A webhook whose every object is changed after an honest conversion."""

    async def answering(review: Obj) -> web.StreamResponse:
        answer = copy.deepcopy(honest(review))
        for one in answer["response"]["convertedObjects"]:
            change(one)
        return web.json_response(answer)

    return answering


def _said(**changes: Any) -> Any:
    async def answering(review: Obj) -> web.StreamResponse:
        answer = honest(review)
        answer["response"] |= changes
        return web.json_response(answer)

    return answering


def _http(code: int, text: str, kind: str = "text/plain") -> Any:
    async def answering(_: Obj) -> web.StreamResponse:
        return web.Response(status=code, text=text, content_type=kind)

    return answering


async def _hangs(_: Obj) -> web.StreamResponse:
    await asyncio.Event().wait()
    raise AssertionError


async def _hangs_up(_: Obj) -> web.StreamResponse:
    raise asyncio.CancelledError


async def _too_large(review: Obj) -> web.StreamResponse:
    answer = honest(review)
    answer["response"]["convertedObjects"][0]["spec"]["note"] = "x" * 100_000_000
    return web.Response(body=orjson.dumps(answer), content_type="application/json")


async def _other_version(review: Obj) -> web.StreamResponse:
    return web.json_response({**honest(review), "apiVersion": "apiextensions.k8s.io/v1beta1"})


async def _more(review: Obj) -> web.StreamResponse:
    one = converted(review["request"]["objects"][0], review["request"]["desiredAPIVersion"])
    return web.json_response(response(review, [one, one]))


REVIEW = "apiextensions.k8s.io/{}, Kind=ConversionReview"
PREFIX = "conversion webhook for example.com/v1, Kind=Plug "
STATUS = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": "not today", "code": 500}
LIES = {
    "500": (_http(500, "boom"), 'failed: an error on the server ("boom") has prevented the request from succeeding'),
    "503": (_http(503, "boom"), "failed: the server is currently unable to handle the request"),
    "404": (_http(404, "boom"), "failed: the server could not find the requested resource"),
    "400": (_http(400, "boom"), "failed: the server rejected our request for an unknown reason"),
    "a Status": (_http(500, orjson.dumps(STATUS).decode(), "application/json"), "failed: not today"),
    "nothing": (
        _http(200, ""),
        "failed: 0-length response with status code: 200 and content type: text/plain; charset=utf-8",
    ),
    "no JSON": (
        _http(200, "oops"),
        "failed: couldn't get version/kind; json parse error: invalid character 'o' looking for beginning of value",
    ),
    "no kind": (_http(200, "{}"), "failed: Object 'Kind' is missing in '{}'"),
    "no object": (_http(200, "[]"), None),
    "another kind": (_http(200, '{"kind":"Pod","apiVersion":"v1"}'), None),
    "another review": (
        _other_version,
        f"failed: expected webhook response of {REVIEW.format('v1')}, got {REVIEW.format('v1beta1')}",
    ),
    "no response": (
        _http(200, '{"kind":"ConversionReview","apiVersion":"apiextensions.k8s.io/v1"}'),
        "failed: no response provided",
    ),
    "another uid": (_said(uid="wrong"), None),
    "failed": (
        _said(result={"status": "Failure", "message": "custom webhook conversion error"}),
        "failed: custom webhook conversion error",
    ),
    "failed without a word": (
        _said(result={"status": "Failure"}),
        "failed: response.result.status was 'Failure', not 'Success'",
    ),
    "no result": (_said(result={}), "failed: response.result.status was '', not 'Success'"),
    "fewer": (_said(convertedObjects=[]), "returned 0 objects, expected 1"),
    "more": (_more, "returned 2 objects, expected 1"),
    "null": (_said(convertedObjects=[None]), None),
    "not converted": (
        _changed(lambda one: one.update(apiVersion="example.com/v1")),
        "returned invalid object at index 0: invalid groupVersion (expected example.com/v2, received example.com/v1)",
    ),
    "object of another kind": (
        _changed(lambda one: one.update(kind="Socket")),
        "returned invalid object at index 0: invalid kind (expected Plug, received Socket)",
    ),
    "another name": (
        _changed(lambda one: one["metadata"].update(name="z")),
        "returned invalid object: must have the same name: a != z",
    ),
    "another namespace": (
        _changed(lambda one: one["metadata"].update(namespace="z")),
        "returned invalid object: must have the same namespace: default != z",
    ),
    "no uid": (_changed(lambda one: one["metadata"].pop("uid")), None),
    "no metadata": (
        _changed(lambda one: one.pop("metadata")),
        "returned invalid object: must have the same name: a != ",
    ),
    "labels that are no map": (
        _changed(lambda one: one["metadata"].update(labels=[])),
        "returned invalid metadata: invalid metadata.labels of type []interface {} in converted object",
    ),
    "a label that is no text": (
        _changed(lambda one: one["metadata"].update(labels={"a": 1})),
        "returned invalid metadata: metadata.labels[a] must be a string, but is int64 in converted object",
    ),
    "a label that isn't one": (_changed(lambda one: one["metadata"].update(labels={"a b": "c"})), None),
    "100 MB": (_too_large, "failed: the answer is larger than 16777216 bytes"),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_webhook_that_lies_is_told_of(lie: str, with_api: Any, tmp_path: Path) -> None:
    answering, message = LIES[lie]

    async def scenario(api: Any) -> None:
        async with serving(Authority(tmp_path)) as webhook:
            await established(api, definition(webhook.conversion()))
            await api.made(V1, plug("a"))
            webhook.answering = answering
            change = {"spec": {"note": "n"}}
            tries = [("GET", f"{V2}/a"), ("GET", V2), ("PATCH", f"{V2}/a", change, MERGE), ("DELETE", f"{V2}/a")]
            for asked in (*tries, ("DELETE", V2), ("PATCH", f"{V2}/a/scale", change, MERGE)):
                code, answer = await api(*asked)
                assert (code, answer["status"], answer.get("reason")) == (500, "Failure", None), asked
                if message is not None:
                    assert answer["message"] == PREFIX + message
                else:
                    assert answer["message"].startswith((PREFIX, "Object 'Kind' is missing")), answer["message"]
            assert (await api("POST", V2, plug("b", "v2")))[0] == 500
            # Nothing of this is anybody else's trouble.
            assert (await api("GET", f"{V1}/a"))[1]["spec"] == {"address": "a:1"}
            assert (await api("PATCH", f"{V1}/a", change, MERGE))[0] == 200
            webhook.answering = _changed(lambda _: None)
            assert (await api("GET", f"{V2}/a"))[1]["spec"] == {"host": "a", "port": 1, "note": "n"}
            kept = [one["metadata"]["name"] for one in (await api("GET", V1))[1]["items"]]
            # A lie that is true on the way in is only found out on the way back, when the object is there.
            assert kept == (["a", "b"] if lie == "not converted" else ["a"])

    with_api(scenario)


def test_metadata_is_the_servers(with_api: Any, tmp_path: Path) -> None:
    def meddle(one: Obj) -> None:
        one["metadata"] |= {"generation": 77, "finalizers": ["x.io/y"], "creationTimestamp": "2001-01-01T00:00:00Z"}
        one["metadata"] |= {"resourceVersion": "1", "managedFields": [], "ownerReferences": [], "labels": None}

    async def scenario(api: Any) -> None:
        async with serving(Authority(tmp_path)) as webhook:
            webhook.answering = _changed(meddle)
            await established(api, definition(webhook.conversion()))
            made = await api.made(V1, plug("a", labels={"some": "label"}))
            _, seen = await api("GET", f"{V2}/a")
            labels = made["metadata"].pop("labels")
            assert labels
            assert seen["metadata"] == made["metadata"]

    with_api(scenario)


def _unreachable(webhook: Webhook, authority: Authority, other: Authority) -> dict[str, tuple[Obj, str]]:
    port, url = webhook.port, f"https://127.0.0.1:{webhook.port}/convert"
    post = f'Post "{url}?timeout=1s": '
    tls = "tls: failed to verify certificate: x509: "
    service = {"service": {"namespace": "default", "name": "hook", "path": "/convert"}}
    asked = 'Post "https://hook.default.svc:443/convert?timeout=1s": '
    return {
        "nobody listens": (
            webhook.conversion(url="https://127.0.0.1:1/x"),
            'Post "https://127.0.0.1:1/x?timeout=1s": dial tcp 127.0.0.1:1: connect: connection refused',
        ),
        "an unknown authority": (
            webhook.conversion(ca=other.pem),
            f"{post}{tls}certificate signed by unknown authority",
        ),
        "another name": (
            webhook.conversion(url=f"https://localhost:{port}"),
            f'Post "https://localhost:{port}/?timeout=1s": {tls}certificate is valid for other names, not localhost',
        ),
        "no such host": (
            webhook.conversion(url="https://nowhere.invalid/x"),
            'Post "https://nowhere.invalid/x?timeout=1s": dial tcp: lookup nowhere.invalid: no such host',
        ),
        "no service": (webhook.conversion(**service), f'{asked}service "hook" not found'),
    }


def test_a_webhook_that_can_not_be_reached_is_told_of(
    with_api: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhooks, "TIMEOUT_S", 1.0)

    async def scenario(api: Any) -> None:
        authority, other = Authority(tmp_path), Authority(tmp_path / "other", "other")
        async with serving(authority) as webhook:
            await established(api, definition(webhook.conversion()))
            await api.made(V1, plug("a"))
            for name, (conversion, message) in _unreachable(webhook, authority, other).items():
                code, answer = await api("PATCH", DEFINITION, {"spec": {"conversion": conversion}}, MERGE)
                assert code == 200, answer
                code, answer = await api("GET", f"{V2}/a")
                assert (code, answer["message"]) == (500, f"{PREFIX}failed: {message}"), name
            await api("PATCH", DEFINITION, {"spec": {"conversion": webhook.conversion()}}, MERGE)
            assert (await api("GET", f"{V2}/a"))[0] == 200, "a configuration that is put right counts at once"
        async with serving(authority, secure=False) as webhook:
            await api("PATCH", DEFINITION, {"spec": {"conversion": webhook.conversion()}}, MERGE)
            code, answer = await api("GET", f"{V2}/a")
            assert code == 500
            assert answer["message"].endswith("http: server gave HTTP response to HTTPS client")

    with_api(scenario)


def test_a_webhook_that_hangs_hurts_nobody_else(with_api: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhooks, "TIMEOUT_S", 1.0)
    monkeypatch.setattr(webhooks, "CALLS_OF_ONE_MAX", 3)

    async def scenario(api: Any) -> None:
        async with serving(Authority(tmp_path)) as webhook:
            webhook.answering = _hangs
            await established(api, definition(webhook.conversion()))
            for name in "abcdef":
                await api.made(V1, plug(name))
            since = (await api("GET", V1))[1]["metadata"]["resourceVersion"]
            waiting = [asyncio.create_task(_get(api, f"{V2}/{name}")) for name in "aabc"]
            async with api.watch(f"{V1}?watch=1&resourceVersion={since}") as event:
                while len(webhook.reviews) < 3:
                    webhook.came.clear()
                    await webhook.came.wait()
                assert (await api("GET", f"{V2}/d"))[0] == 429, "how many wait is bounded"
                assert (await api("GET", f"{V1}/a"))[0] == 200
                assert (await api("PATCH", f"{V1}/a", {"spec": {"note": "n"}}, MERGE))[0] == 200
                assert (await event())["object"]["spec"]["note"] == "n"
            for code, answer in await asyncio.gather(*waiting):
                assert (code, answer["message"].rpartition(": ")[2]) == (500, "context deadline exceeded")
            async with api.watch(f"{V2}?watch=1&resourceVersion={since}") as event:
                told = await event()
                assert (told["type"], told["object"]["code"]) == ("ERROR", 500)
                assert await event() is None
            webhook.answering = _changed(lambda _: None)
            async with api.watch(f"{V2}?watch=1&resourceVersion={since}") as event:
                assert (await event())["object"]["spec"]["note"] == "n", "nothing is lost to who resumes"

    with_api(scenario)


async def _get(api: Any, path: str) -> tuple[int, Any]:
    async with api.session.get(api.server.url + path) as answer:
        return answer.status, await answer.json()


def _entry(obj: Obj, manager: str) -> tuple[str, Obj]:
    """The version and the fields of the spec that a manager owns; ("", {}) if none."""
    found = [one for one in obj["metadata"]["managedFields"] if one["manager"] == manager]
    assert len(found) <= 1, found
    return (found[0]["apiVersion"], found[0]["fieldsV1"].get("f:spec", {})) if found else ("", {})


def test_applies_in_both_versions_respect_each_other(with_api: Any, tmp_path: Path) -> None:
    async def scenario(api: Any) -> None:
        async def applied(number: str, who: str, force: bool = False, **spec: Any) -> tuple[int, Obj]:
            path = f"{V1 if number == 'v1' else V2}/a?fieldManager={who}{'&force=true' if force else ''}"
            answer: tuple[int, Obj] = await api("PATCH", path, plug("a", number, **spec), APPLY)
            return answer

        async with serving(Authority(tmp_path)) as webhook:
            await established(api, definition(webhook.conversion()))
            code, made = await applied("v1", "one", address="h:1", note="n")
            assert code == 201, made
            code, seen = await applied("v2", "two", host="h", port=2)
            assert (code, seen["details"]["causes"]) == (
                409,
                [{"reason": "FieldManagerConflict", "message": 'conflict with "one"', "field": ".spec.address"}],
            )
            code, seen = await applied("v2", "two", host="h", port=1)
            assert code == 200, "what is the same in both versions is shared"
            assert _entry(seen, "one") == ("example.com/v1", {"f:address": {}, "f:note": {}})
            assert _entry(seen, "two") == ("example.com/v2", {"f:host": {}, "f:port": {}})
            code, seen = await applied("v2", "two", force=True, host="h", port=2)
            assert (code, seen["spec"]) == (200, {"host": "h", "port": 2, "note": "n"})
            assert _entry(seen, "one") == ("example.com/v1", {"f:note": {}})
            # Who goes on in another version lets go of what it applied in the first.
            code, seen = await applied("v2", "one", host="h", port=2)
            assert (code, seen["spec"]) == (200, {"host": "h", "port": 2})
            assert _entry(seen, "one") == ("example.com/v2", {"f:host": {}, "f:port": {}})
            code, seen = await applied("v1", "one", address="h:2", note="m")
            assert (code, seen["spec"]) == (200, {"address": "h:2", "note": "m"})
            assert _entry(seen, "one") == ("example.com/v1", {"f:address": {}, "f:note": {}})
            # What somebody else owns in its own version stays.
            code, seen = await applied("v1", "one", note="m")
            assert (code, seen["spec"]) == (200, {"address": "h:2", "note": "m"})
            # An update takes fields from owners in the other version.
            code, seen = await api("PATCH", f"{V1}/a?fieldManager=x", {"spec": {"address": "i:2"}}, MERGE)
            assert code == 200
            assert _entry(seen, "two") == ("example.com/v2", {"f:port": {}})
            assert _entry(seen, "x") == ("example.com/v1", {"f:address": {}})
            # With no webhook to compare by, an update in the stored version is made, and nobody is forgotten.
            webhook.answering = _http(500, "down")
            code, seen = await api("PATCH", f"{V1}/a?fieldManager=x", {"spec": {"address": "j:2"}}, MERGE)
            assert (code, seen["spec"]["address"]) == (200, "j:2")
            assert _entry(seen, "two") == ("example.com/v2", {"f:port": {}})
            assert (await applied("v1", "one", note="o"))[0] == 500

    with_api(scenario)


def test_an_owner_in_a_version_that_is_gone_is_forgotten(with_api: Any, tmp_path: Path) -> None:
    async def scenario(api: Any) -> None:
        async with serving(Authority(tmp_path)) as webhook:
            await established(api, definition(webhook.conversion()))
            code, _ = await api("PATCH", f"{V2}/a?fieldManager=old", plug("a", "v2"), APPLY)
            assert code == 201
            change = {"spec": {"versions": [version("v1", storage=True)]}}
            code, answer = await api("PATCH", DEFINITION, change, MERGE)
            assert code == 200, answer
            code, seen = await api("PATCH", f"{V1}/a?fieldManager=new", plug("a", address="b:1"), APPLY)
            assert (code, seen["spec"]) == (200, {"address": "b:1"})
            assert [one["manager"] for one in seen["metadata"]["managedFields"]] == ["new"]

    with_api(scenario)


async def _stored(api: Any, name: str) -> tuple[str, Obj]:
    """The version and the spec of an object as the store has it."""
    entry = await api.store.range(Range(f"/registry/example.com/plugs/default/{name}".encode()))
    obj = orjson.loads(entry.kvs[0].value)
    return obj["apiVersion"].rpartition("/")[2], obj["spec"]


@pytest.mark.parametrize("strategy", ["None", "Webhook"])
def test_objects_move_to_another_storage_version_and_the_old_one_goes(
    strategy: str, with_api: Any, tmp_path: Path
) -> None:
    async def scenario(api: Any) -> None:
        async with serving(Authority(tmp_path)) as webhook:
            conversion = webhook.conversion() if strategy == "Webhook" else None
            await established(api, definition(conversion))
            for name in "ab":
                await api.made(V1, plug(name, note="n"))
            both = [version("v1"), version("v2", storage=True)]
            _, current = await api("PATCH", DEFINITION, {"spec": {"versions": both}}, MERGE)
            assert current["status"]["storedVersions"] == ["v1", "v2"]
            await api.made(V1, plug("c", note="n"))
            assert [(await _stored(api, name))[0] for name in "abc"] == ["v1", "v1", "v2"]
            only = {"spec": {"versions": [version("v2", storage=True)]}}
            code, answer = await api("PATCH", DEFINITION, only, MERGE)
            assert code == 422
            assert "v1 was previously a storage version, and must remain in spec.versions" in answer["message"]
            _, listed = await api("GET", V2)
            for one in listed["items"]:
                code, written = await api("PUT", f"{V2}/{one['metadata']['name']}", one)
                assert (code, written["spec"]) == (200, one["spec"])
                same = written["metadata"]["resourceVersion"] == one["metadata"]["resourceVersion"]
                assert same == (one["metadata"]["name"] == "c"), "only what is stored in another version is written"
            assert [(await _stored(api, name))[0] for name in "abc"] == ["v2", "v2", "v2"]
            code, answer = await api("PATCH", f"{DEFINITION}/status", {"status": {"storedVersions": ["v2"]}}, MERGE)
            assert (code, answer["status"]["storedVersions"]) == (200, ["v2"])
            assert (await api("PATCH", DEFINITION, only, MERGE))[0] == 200
            assert (await api("GET", V1))[0] == 404
            assert len((await api("GET", V2))[1]["items"]) == 3

    with_api(scenario)


def test_a_definition_changes_while_its_objects_are_used(with_api: Any, tmp_path: Path) -> None:
    async def scenario(api: Any) -> None:
        async with serving(Authority(tmp_path)) as webhook, serving(Authority(tmp_path / "b", "b")) as other:
            await established(api, definition(None))
            await api.made(V1, plug("a", address="h:1", note="n"))
            _, seen = await api("GET", f"{V2}/a")
            assert seen["spec"] == {"note": "n"}, "with no webhook, what the version doesn't know is not shown"
            async with api.watch(f"{V2}?watch=1") as event:
                await event()
                await api("PATCH", DEFINITION, {"spec": {"conversion": webhook.conversion()}}, MERGE)
                assert await event() is None, "a watch ends when what it shows changes"
            assert (await api("GET", f"{V2}/a"))[1]["spec"] == {"host": "h", "port": 1, "note": "n"}
            # Another address with another authority takes over at once, and is asked anew.
            other.answering = _changed(lambda one: one["spec"].update(note="other"))
            await api("PATCH", DEFINITION, {"spec": {"conversion": other.conversion()}}, MERGE)
            assert (await api("GET", f"{V2}/a"))[1]["spec"]["note"] == "other"
            unserved = [version("v1", storage=True, served=False), version("v2")]
            await api("PATCH", DEFINITION, {"spec": {"versions": unserved}}, MERGE)
            assert (await api("GET", f"{V1}/a"))[0] == 404
            assert (await api("GET", f"{V2}/a"))[1]["spec"]["note"] == "other"
            await api("PATCH", DEFINITION, {"spec": {"conversion": {"strategy": "None", "webhook": None}}}, MERGE)
            assert (await api("GET", f"{V2}/a"))[1]["spec"] == {"note": "n"}

    with_api(scenario)


def test_what_a_schema_has_lost_is_not_shown_any_more(with_api: Any) -> None:
    async def scenario(api: Any) -> None:
        await established(api, definition(None, version("v1", storage=True)))
        await api.made(V1, plug("a", address="h:1", note="n"))
        less = version("v1", storage=True)
        del less["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["note"]
        await api("PATCH", DEFINITION, {"spec": {"versions": [less]}}, MERGE)
        assert (await api("GET", f"{V1}/a"))[1]["spec"] == {"address": "h:1"}

    with_api(scenario)


def test_a_deprecated_version_warns(with_api: Any) -> None:
    async def scenario(api: Any) -> None:
        old = version("v1", storage=True, deprecated=True)
        older = version("v1beta1", deprecated=True, deprecationWarning='plugs are "old"')
        await established(api, definition(None, older, old, version("v2")))
        for path, warning in (
            (V1, '299 - "example.com/v1 Plug is deprecated; use example.com/v2 Plug"'),
            (f"{V1}/a/scale", '299 - "example.com/v1 Plug is deprecated; use example.com/v2 Plug"'),
            (V1.replace("/v1/", "/v1beta1/"), '299 - "plugs are \\"old\\""'),
            (V2, None),
        ):
            await api("GET", path)
            assert api.headers.get("Warning") == warning

    with_api(scenario)


def test_reviews_are_spoken_in_the_first_version_that_both_know(with_api: Any, tmp_path: Path) -> None:
    async def answering(review: Obj) -> web.StreamResponse:
        answer = honest(review)
        answer["response"]["uid"] = "nobody checks it in v1beta1"
        return web.json_response(answer)

    async def scenario(api: Any) -> None:
        async with serving(Authority(tmp_path)) as webhook:
            webhook.answering = answering
            await established(api, definition(webhook.conversion("v7", "v1beta1", "v1")))
            made = await api.made(V2, plug("a", "v2"))
            assert made["spec"] == {"host": "a", "port": 1}
            assert {one["apiVersion"] for one in webhook.reviews} == {"apiextensions.k8s.io/v1beta1"}
            code, answer = await api("PATCH", DEFINITION, {"spec": {"conversion": webhook.conversion("v7")}}, MERGE)
            assert (code, "must include at least one of" in answer["message"]) == (422, True)

    with_api(scenario)


def test_a_service_leads_to_its_webhook(with_api: Any, tmp_path: Path) -> None:
    async def scenario(api: Any) -> None:
        async with serving(Authority(tmp_path), "hook.default.svc") as webhook:
            service = {"namespace": "default", "name": "hook", "path": "/a/b", "port": 8443}
            await established(api, definition(webhook.conversion(service=service)))
            await api.made(V1, plug("a"))
            told = f'{PREFIX}failed: Post "https://hook.default.svc:8443/a/b?timeout=30s": '
            assert (await api("GET", f"{V2}/a"))[1]["message"] == told + 'service "hook" not found'
            ports = [{"name": "web", "port": 443, "targetPort": 1}]
            made = await api.made(
                "/api/v1/namespaces/default/services",
                {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "hook"}, "spec": {"ports": ports}},
            )
            why = 'no service port 8443 found for service "hook"'
            assert (await api("GET", f"{V2}/a"))[1]["message"] == told + why
            made["spec"]["ports"][0]["port"] = 8443
            assert (await api("PUT", "/api/v1/namespaces/default/services/hook", made))[0] == 200
            why = 'no endpoints available for service "hook"'
            assert (await api("GET", f"{V2}/a"))[1]["message"] == told + why
            await api.made(
                "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices",
                {
                    "apiVersion": "discovery.k8s.io/v1",
                    "kind": "EndpointSlice",
                    "metadata": {"name": "hook-1", "labels": {"kubernetes.io/service-name": "hook"}},
                    "addressType": "IPv4",
                    "endpoints": [{"addresses": ["127.0.0.1"], "conditions": {"ready": True}}],
                    "ports": [{"name": "web", "port": webhook.port, "protocol": "TCP"}],
                },
            )
            code, seen = await api("GET", f"{V2}/a")
            assert (code, seen["spec"]) == (200, {"host": "a", "port": 1})
            assert webhook.hosts == ["hook.default.svc:8443"]

    with_api(scenario, loopback_network=True)


def test_a_call_is_counted(with_api: Any, tmp_path: Path) -> None:
    async def scenario(api: Any) -> None:
        async with serving(Authority(tmp_path)) as webhook:
            await established(api, definition(webhook.conversion()))
            await api.made(V1, plug("a"))
            await api("GET", f"{V2}/a")
            webhook.answering = _http(500, "down")
            await api.made(V1, plug("b"))
            await api("GET", f"{V2}/b")
            _, page = await api("GET", "/metrics")
            versions = 'crd_name="plugs.example.com",from_version="v1",succeeded="{}",to_version="v2"'
            for succeeded in ("true", "false"):
                assert (
                    f"apiserver_crd_conversion_webhook_duration_seconds_count{{{versions.format(succeeded)}}}" in page
                )
            assert 'apiserver_conversion_webhook_request_total{failure_type="",result="success"}' in page
            assert 'failure_type="conversion_webhook_call_failure",result="failure"' in page

    with_api(scenario)


def test_a_definition_that_can_not_go_keeps_no_other_waiting(with_api: Any, tmp_path: Path) -> None:
    async def scenario(api: Any) -> None:
        released = asyncio.Event()

        async def waits(review: Obj) -> web.StreamResponse:
            await released.wait()
            return web.json_response(honest(review))

        async with serving(Authority(tmp_path)) as webhook:
            await established(api, definition(webhook.conversion()))
            await api.made(V1, plug("a"))
            await api("PATCH", DEFINITION, {"spec": {"versions": [version("v1"), version("v2", storage=True)]}}, MERGE)
            webhook.answering = waits
            await api("DELETE", DEFINITION)
            await webhook.came.wait()
            other = definition(None)
            other["metadata"]["name"] = "sockets.example.com"
            other["spec"]["names"] = {"plural": "sockets", "kind": "Socket"}
            await established(api, other)
            since = (await api("GET", DEFINITIONS))[1]["metadata"]["resourceVersion"]
            released.set()
            async with api.watch(f"{DEFINITIONS}?watch=1&resourceVersion={since}") as event:
                while (await event())["type"] != "DELETED":
                    pass

    with_api(scenario)


def test_why_a_definition_can_not_go_is_told(with_api: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(definitions, "FAILED_RETRY_S", 0.1)

    async def scenario(api: Any) -> None:
        async with serving(Authority(tmp_path)) as webhook:
            await established(api, definition(webhook.conversion()))
            await api.made(V1, plug("a"))
            both = [version("v1"), version("v2", storage=True)]
            _, changed = await api("PATCH", DEFINITION, {"spec": {"versions": both}}, MERGE)
            webhook.answering = _http(500, "down")
            await api("DELETE", DEFINITION)
            since = changed["metadata"]["resourceVersion"]
            async with api.watch(f"{DEFINITIONS}?watch=1&resourceVersion={since}") as event:
                reason = ""
                while reason != "InstanceDeletionFailed":
                    told = (await event())["object"]["status"]["conditions"][-1]
                    reason = told["reason"]
                assert (told["type"], told["status"]) == ("Terminating", "True")
                assert told["message"].startswith(f"could not issue all deletes: {PREFIX}failed: ")
                webhook.answering = _changed(lambda _: None)
                while (await event())["type"] != "DELETED":
                    pass

    with_api(scenario)


def test_a_bundle_that_is_none_keeps_a_kind_from_being_served(with_api: Any, tmp_path: Path) -> None:
    async def scenario(api: Any) -> None:
        async with serving(Authority(tmp_path)) as webhook:
            made = await api.made(DEFINITIONS, definition(webhook.conversion(ca=b"no certificate")))
            since = made["metadata"]["resourceVersion"]
            async with api.watch(f"{DEFINITIONS}?watch=1&resourceVersion={since}") as event:
                (_, told) = (await event())["object"]["status"]["conditions"]
                assert (told["status"], told["reason"]) == ("False", "InvalidCABundle")
                assert (await api("GET", V1))[0] == 404
                await api("PATCH", DEFINITION, {"spec": {"conversion": webhook.conversion()}}, MERGE)
                while told["status"] == "False":
                    told = (await event())["object"]["status"]["conditions"][1]
            await api.made(V2, plug("a", "v2"))

    with_api(scenario)


def test_a_long_list_goes_in_several_reviews(with_api: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forms, "REVIEW_OBJECTS_MAX", 2)
    monkeypatch.setattr(forms, "KEPT_BYTES_MAX", 1)

    async def scenario(api: Any) -> None:
        async with serving(Authority(tmp_path)) as webhook:
            await established(api, definition(webhook.conversion()))
            for number in range(11):
                await api.made(V1, plug(f"p{number:02}", address=f"h:{number}"))
            for _ in range(2):
                _, listed = await api("GET", V2)
                assert [one["spec"]["port"] for one in listed["items"]] == list(range(11))
            sizes = [len(one["request"]["objects"]) for one in webhook.reviews]
            assert sorted(sizes) == [1, 1, *[2] * 10], "what can't be remembered is asked for again"

    with_api(scenario)


def test_an_object_that_can_not_be_converted_spoils_no_other(with_api: Any, tmp_path: Path) -> None:
    async def scenario(api: Any) -> None:
        released = asyncio.Event()

        async def picky(review: Obj) -> web.StreamResponse:
            await released.wait()
            names = [one["metadata"]["name"] for one in review["request"]["objects"]]
            if "bad" in names:
                return web.json_response(response(review, [], result={"status": "Failure", "message": "it is bad"}))
            return web.json_response(honest(review))

        async with serving(Authority(tmp_path)) as webhook:
            webhook.answering = picky
            await established(api, definition(webhook.conversion()))
            for name in ("bad", "good"):
                await api.made(V1, plug(name))
            listing = asyncio.create_task(_get(api, V2))
            await webhook.came.wait()
            # Whoever joins the list's call for one of its objects does not share its fate.
            getting = [asyncio.create_task(_get(api, f"{V2}/{name}")) for name in ("good", "bad")]
            await asyncio.sleep(0)
            released.set()
            code, answer = await listing
            assert (code, answer["message"]) == (500, f"{PREFIX}failed: it is bad")
            assert [code for code, _ in await asyncio.gather(*getting)] == [200, 500]

    with_api(scenario)
