"""CustomResourceDefinitions over HTTP: served at once by every server, used like any kind, and gone without a trace."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import aiohttp

from oarlock.cluster.apiserver.server import ApiServer
from oarlock.cluster.apiserver.settings import ApiServerSettings

DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
WIDGETS = "/apis/example.com/v1/namespaces/default/widgets"
MERGE = "application/merge-patch+json"
APPLY = "application/apply-patch+yaml"


def version(name: str = "v1", *, storage: bool = True, **properties: Any) -> dict[str, Any]:
    spec: dict[str, Any] = {
        "type": "object",
        "properties": {
            "size": {"type": "integer", "default": 1},
            "color": {"type": "string"},
            "ports": {
                "type": "array",
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["name"],
                "items": {
                    "type": "object",
                    "required": ["name"],
                    "properties": {"name": {"type": "string"}, "port": {"type": "integer"}},
                },
            },
            **properties,
        },
    }
    status = {"type": "object", "properties": {"size": {"type": "integer"}, "selector": {"type": "string"}}}
    return {
        "name": name,
        "served": True,
        "storage": storage,
        "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec, "status": status}}},
        "subresources": {
            "status": {},
            "scale": {
                "specReplicasPath": ".spec.size",
                "statusReplicasPath": ".status.size",
                "labelSelectorPath": ".status.selector",
            },
        },
        "selectableFields": [{"jsonPath": ".spec.color"}],
        "additionalPrinterColumns": [{"name": "Size", "type": "integer", "jsonPath": ".spec.size"}],
    }


def definition(*versions: dict[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.com"},
        "spec": {
            "group": "example.com",
            "scope": "Namespaced",
            "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "shortNames": ["wd"]},
            "versions": list(versions) or [version()],
        },
    }


def widget(name: str, api_version: str = "example.com/v1", **spec: Any) -> dict[str, Any]:
    return {"apiVersion": api_version, "kind": "Widget", "metadata": {"name": name}, "spec": spec}


def holds(obj: dict[str, Any], kind: str) -> bool:
    conditions = obj.get("status", {}).get("conditions") or ()
    return any(one["type"] == kind and one["status"] == "True" for one in conditions)


async def established(api: Any, body: dict[str, Any]) -> None:
    """Create a definition and wait as clients do: for its condition."""
    name = body["metadata"]["name"]
    made = await api.made(DEFINITIONS, body)
    since = made["metadata"]["resourceVersion"]
    async with api.watch(
        f"{DEFINITIONS}?watch=1&resourceVersion={since}&fieldSelector=metadata.name%3D{name}"
    ) as event:
        while not holds((await event())["object"], "Established"):
            pass


async def gone(api: Any, path: str, since: str) -> None:
    async with api.watch(f"{path}?watch=1&resourceVersion={since}") as event:
        while (await event())["type"] != "DELETED":
            pass


def test_objects_live_like_any_others(with_api: Any) -> None:
    async def scenario(api: Any) -> None:
        await established(api, definition())
        made = await api.made(WIDGETS, widget("a", color="red", unknown=1))
        assert made["spec"] == {"size": 1, "color": "red"}
        assert api.headers.getall("Warning") == ['299 - "unknown field \\"spec.unknown\\""']
        assert made["metadata"]["generation"] == 1
        assert await api("GET", f"{WIDGETS}/a") == (200, made)
        code, listed = await api("GET", "/apis/example.com/v1/widgets")
        assert (code, listed["kind"], listed["apiVersion"]) == (200, "WidgetList", "example.com/v1")
        assert listed["items"] == [made]
        code, changed = await api("PATCH", f"{WIDGETS}/a", {"spec": {"size": 4}}, MERGE)
        assert (code, changed["metadata"]["generation"]) == (200, 2)
        code, answer = await api("PATCH", f"{WIDGETS}/a", {}, "application/strategic-merge-patch+json")
        assert (code, answer["reason"]) == (415, "UnsupportedMediaType")
        code, answer = await api("PUT", f"{WIDGETS}/a", changed | {"spec": {"size": "x"}})
        assert (code, answer["details"]["causes"][0]["field"]) == (422, "spec.size")
        code, answer = await api("POST", f"{WIDGETS}?fieldValidation=Strict", widget("b", nope=1))
        assert code == 400
        assert 'unknown field "spec.nope"' in answer["message"]
        assert (await api("DELETE", f"{WIDGETS}/a"))[0] == 200
        assert (await api("GET", f"{WIDGETS}/a"))[0] == 404

    with_api(scenario)


def test_status_scale_selectors_tables_and_watches(with_api: Any) -> None:
    async def scenario(api: Any) -> None:
        await established(api, definition())
        made = await api.made(WIDGETS, widget("a", color="red"))
        await api.made(WIDGETS, widget("b", color="blue"))
        since = made["metadata"]["resourceVersion"]
        async with api.watch(f"{WIDGETS}?watch=1&resourceVersion={since}&fieldSelector=spec.color%3Dred") as event:
            await api(
                "PATCH", f"{WIDGETS}/a/status", {"status": {"size": 3, "selector": "x=y"}, "spec": {"size": 9}}, MERGE
            )
            seen = await event()
            assert (seen["type"], seen["object"]["spec"]["size"], seen["object"]["status"]["size"]) == (
                "MODIFIED",
                1,
                3,
            )
            await api("DELETE", f"{WIDGETS}/a")
            assert (await event())["type"] == "DELETED"
        code, found = await api("GET", f"{WIDGETS}?fieldSelector=spec.color%3Dblue")
        assert (code, [one["metadata"]["name"] for one in found["items"]]) == (200, ["b"])
        assert (await api("GET", f"{WIDGETS}?fieldSelector=spec.size%3D1"))[0] == 400
        code, scale = await api("GET", f"{WIDGETS}/b/scale")
        assert (code, scale["kind"], scale["spec"]) == (200, "Scale", {"replicas": 1})
        code, scale = await api("PATCH", f"{WIDGETS}/b/scale", {"spec": {"replicas": 6}}, MERGE)
        assert (code, scale["spec"]) == (200, {"replicas": 6})
        accept = "application/json;as=Table;v=v1;g=meta.k8s.io"
        _, table = await api("GET", WIDGETS, Accept=accept)
        assert [column["name"] for column in table["columnDefinitions"]] == ["Name", "Size"]
        assert [row["cells"] for row in table["rows"]] == [["b", 6]]

    with_api(scenario)


def test_rules_judge_objects_and_are_judged_themselves(with_api: Any) -> None:
    async def scenario(api: Any) -> None:
        body = definition()
        spec = body["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
        spec["x-kubernetes-validations"] = [{"rule": "self.nobody("}]
        code, answer = await api("POST", DEFINITIONS, body)
        (cause,) = answer["details"]["causes"]
        assert (code, cause["reason"]) == (422, "FieldValueInvalid")
        assert "compilation failed" in cause["message"]
        assert cause["field"].endswith("x-kubernetes-validations[0].rule")
        spec["x-kubernetes-validations"] = [
            {"rule": "self.size <= 5", "messageExpression": "'size %d'.format([self.size])", "fieldPath": ".size"},
            {"rule": "self.size >= oldSelf.size", "message": "size may not shrink"},
        ]
        await established(api, body)
        code, answer = await api("POST", WIDGETS, widget("a", size=6))
        assert (code, answer["details"]["causes"]) == (
            422,
            [{"reason": "FieldValueInvalid", "message": 'Invalid value: "object": size 6', "field": "spec.size"}],
        )
        await api.made(WIDGETS, widget("a", size=4))
        code, answer = await api("PATCH", f"{WIDGETS}/a", {"spec": {"size": 3}}, MERGE)
        assert (code, answer["details"]["causes"][0]["message"]) == (
            422,
            'Invalid value: "object": size may not shrink',
        )
        code, answer = await api("POST", WIDGETS, widget("b", size="x"))
        assert [cause["field"] for cause in answer["details"]["causes"]] == ["spec.size", "<nil>"]

    with_api(scenario)


def test_applies_merge_lists_by_their_keys(with_api: Any) -> None:
    async def scenario(api: Any) -> None:
        await established(api, definition())
        mine = widget("a", ports=[{"name": "x", "port": 1}])
        code, made = await api("PATCH", f"{WIDGETS}/a?fieldManager=one", mine, APPLY)
        assert code == 201, made
        theirs = widget("a", ports=[{"name": "y", "port": 2}])
        code, made = await api("PATCH", f"{WIDGETS}/a?fieldManager=two", theirs, APPLY)
        assert (code, made["spec"]["ports"]) == (200, [{"name": "x", "port": 1}, {"name": "y", "port": 2}])
        theirs["spec"]["ports"] = [{"name": "x", "port": 3}]
        code, answer = await api("PATCH", f"{WIDGETS}/a?fieldManager=two", theirs, APPLY)
        assert (code, answer["details"]["causes"][0]["field"]) == (409, '.spec.ports[name="x"].port')
        theirs["spec"]["nope"] = 1
        code, answer = await api("PATCH", f"{WIDGETS}/a?fieldManager=two", theirs, APPLY)
        assert code == 500
        assert "field not declared in schema" in answer["message"]

    with_api(scenario)


def test_documents_tell_of_them(with_api: Any) -> None:
    async def scenario(api: Any) -> None:
        _, before = await api("GET", "/openapi/v3")
        await established(api, definition())
        _, groups = await api("GET", "/apis")
        assert "example.com" in [group["name"] for group in groups["groups"]]
        _, rows = await api("GET", "/apis/example.com/v1")
        assert [row["name"] for row in rows["resources"]] == ["widgets", "widgets/status", "widgets/scale"]
        assert rows["resources"][0]["shortNames"] == ["wd"]
        accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
        _, aggregated = await api("GET", "/apis", Accept=accept)
        assert aggregated["items"][-1]["metadata"]["name"] == "example.com"
        _, index = await api("GET", "/openapi/v3")
        assert set(index["paths"]) - set(before["paths"]) == {"apis/example.com/v1"}
        _, document = await api("GET", "/openapi/v3/apis/example.com/v1")
        schema = document["components"]["schemas"]["com.example.v1.Widget"]
        assert schema["properties"]["spec"]["properties"]["size"] == {"type": "integer", "default": 1}
        assert "/apis/example.com/v1/namespaces/{namespace}/widgets/{name}/scale" in document["paths"]
        _, document = await api("GET", "/openapi/v2")
        assert "com.example.v1.Widget" in document["definitions"]

    with_api(scenario)


def test_two_versions_show_the_same_objects(with_api: Any) -> None:
    async def scenario(api: Any) -> None:
        second = version("v2", storage=False, extra={"type": "string", "default": "e"})
        del second["selectableFields"]
        await established(api, definition(version("v1"), second))
        made = await api.made(WIDGETS, widget("a", color="red"))
        newer = WIDGETS.replace("/v1/", "/v2/")
        code, seen = await api("GET", f"{newer}/a")
        assert (code, seen["apiVersion"]) == (200, "example.com/v2")
        assert seen["metadata"]["uid"] == made["metadata"]["uid"]
        # What is read has the defaults of the version that it is stored in, and no others.
        assert seen["spec"] == {"size": 1, "color": "red"}
        since = made["metadata"]["resourceVersion"]
        async with api.watch(f"{newer}?watch=1&resourceVersion={since}") as event:
            await api("PATCH", f"{WIDGETS}/a", {"spec": {"size": 2}}, MERGE)
            assert (await event())["object"]["apiVersion"] == "example.com/v2"
        written = await api.made(newer, widget("b", "example.com/v2"))
        assert written["apiVersion"] == "example.com/v2"
        assert (await api("GET", f"{WIDGETS}/b"))[1]["apiVersion"] == "example.com/v1"
        _, listed = await api("GET", newer)
        assert {one["apiVersion"] for one in listed["items"]} == {"example.com/v2"}

    with_api(scenario)


def test_objects_written_before_a_default_have_it_when_read(with_api: Any) -> None:
    async def scenario(api: Any) -> None:
        await established(api, definition())
        await api.made(WIDGETS, widget("a"))
        _, current = await api("GET", f"{DEFINITIONS}/widgets.example.com")
        current["spec"]["versions"] = [version(shape={"type": "string", "default": "round"})]
        code, answer = await api("PUT", f"{DEFINITIONS}/widgets.example.com", current)
        assert code == 200, answer
        code, seen = await api("GET", f"{WIDGETS}/a")
        assert (code, seen["spec"]) == (200, {"size": 1, "shape": "round"})

    with_api(scenario)


def test_a_watch_ends_when_its_definition_changes(with_api: Any) -> None:
    async def scenario(api: Any) -> None:
        await established(api, definition())
        async with api.watch(f"{WIDGETS}?watch=1") as event:
            change = {"spec": {"versions": [version(more={"type": "string"})]}}
            code, answer = await api("PATCH", f"{DEFINITIONS}/widgets.example.com", change, MERGE)
            assert code == 200, answer
            assert await event() is None

    with_api(scenario)


def test_deletion_takes_the_objects_along_and_waits_for_their_finalizers(with_api: Any) -> None:
    async def scenario(api: Any) -> None:
        await established(api, definition())
        await api.made(WIDGETS, widget("plain"))
        held = widget("held")
        held["metadata"]["finalizers"] = ["example.com/wait"]
        made = await api.made(WIDGETS, held)
        since = made["metadata"]["resourceVersion"]
        async with api.watch(f"{WIDGETS}?watch=1&resourceVersion={since}") as event:
            code, answer = await api("DELETE", f"{DEFINITIONS}/widgets.example.com")
            assert (code, answer["kind"]) == (200, "CustomResourceDefinition")
            seen = {(one["type"], one["object"]["metadata"]["name"]) for one in (await event(), await event())}
        assert seen == {("DELETED", "plain"), ("MODIFIED", "held")}
        code, answer = await api("POST", WIDGETS, widget("late"))
        assert code == 405
        assert "terminating" in answer["message"]
        _, waiting = await api("GET", f"{DEFINITIONS}/widgets.example.com")
        assert holds(waiting, "Terminating")
        released = {"metadata": {"finalizers": None}}
        assert (await api("PATCH", f"{WIDGETS}/held", released, MERGE))[0] == 200
        await gone(api, DEFINITIONS, waiting["metadata"]["resourceVersion"])
        assert (await api("GET", WIDGETS))[0] == 404
        assert "example.com" not in [group["name"] for group in (await api("GET", "/apis"))[1]["groups"]]
        await established(api, definition())
        assert (await api("GET", WIDGETS))[1]["items"] == []

    with_api(scenario)


def test_a_name_in_use_is_told_and_freed(with_api: Any) -> None:
    async def scenario(api: Any) -> None:
        await established(api, definition())
        second = definition()
        second["metadata"]["name"] = "gadgets.example.com"
        second["spec"]["names"] = {"plural": "gadgets", "singular": "gadget", "kind": "Gadget", "shortNames": ["wd"]}
        made = await api.made(DEFINITIONS, second)
        since = made["metadata"]["resourceVersion"]
        path = f"{DEFINITIONS}?watch=1&resourceVersion={since}&fieldSelector=metadata.name%3Dgadgets.example.com"
        async with api.watch(path) as event:
            seen = (await event())["object"]
            (refused,) = [one for one in seen["status"]["conditions"] if one["type"] == "NamesAccepted"]
            assert (refused["status"], refused["reason"]) == ("False", "ShortNamesConflict")
            assert (await api("GET", "/apis/example.com/v1/gadgets"))[0] == 404
            await api("DELETE", f"{DEFINITIONS}/widgets.example.com")
            while not holds((await event())["object"], "Established"):
                pass
        assert (await api("GET", "/apis/example.com/v1/gadgets"))[0] == 200

    with_api(scenario)


def test_every_server_serves_what_one_was_told(with_api: Any) -> None:
    async def scenario(api: Any) -> None:
        other = ApiServer(ApiServerSettings("other", service_cidr="10.0.0.0/24", shutdown_grace_s=0.5), api.store)
        await other.start()
        try:
            for _ in range(5):
                await established(api, definition())
                async with aiohttp.ClientSession() as session:
                    async with session.post(other.url + WIDGETS, json=widget("a")) as answer:
                        assert answer.status == 201, await answer.text()
                    async with session.delete(f"{other.url}{DEFINITIONS}/widgets.example.com") as answer:
                        deleted = await answer.json()
                await gone(api, DEFINITIONS, deleted["metadata"]["resourceVersion"])
                assert (await api("GET", WIDGETS))[0] == 404
        finally:
            await other.stop()

    with_api(scenario)


def test_many_definitions_are_served_side_by_side(with_api: Any) -> None:
    async def scenario(api: Any) -> None:
        async def one(number: int) -> None:
            body = definition()
            body["spec"]["group"] = f"g{number}.example.com"
            body["metadata"]["name"] = f"widgets.g{number}.example.com"
            await established(api, body)
            path = WIDGETS.replace("example.com", f"g{number}.example.com")
            await api.made(path, widget("a", f"g{number}.example.com/v1"))

        await asyncio.gather(*(one(number) for number in range(20)))
        _, groups = await api("GET", "/apis")
        assert sum(group["name"].endswith(".example.com") for group in groups["groups"]) == 20

    with_api(scenario)


def test_a_schema_that_is_nested_too_deeply_is_refused_with_words(with_api: Any) -> None:
    deep = '{"type":"object","properties":{"a":' * 400 + '{"type":"string"}' + "}}" * 400

    async def scenario(api: Any) -> None:
        body = json.dumps(definition(version(here={}))).replace('"here": {}', f'"here": {deep}').encode()
        code, answer = await api("POST", DEFINITIONS, body)
        assert (code, answer["reason"]) == (400, "BadRequest")
        assert "nested too deeply" in answer["message"]

    with_api(scenario)


def test_documents_of_one_group_stay_while_another_changes(with_api: Any) -> None:
    async def scenario(api: Any) -> None:
        await established(api, definition())
        _, index = await api("GET", "/openapi/v3")
        url = index["paths"]["apis/example.com/v1"]["serverRelativeURL"]
        code, document = await api("GET", url)
        assert (code, "com.example.v1.Widget" in document["components"]["schemas"]) == (200, True)
        etag = api.headers["ETag"]
        other = definition()
        other["metadata"]["name"] = "widgets.example.org"
        other["spec"]["group"] = "example.org"
        await established(api, other)
        _, index = await api("GET", "/openapi/v3")
        assert index["paths"]["apis/example.com/v1"]["serverRelativeURL"] == url
        assert await api("GET", url, If_None_Match=etag) == (304, "")
        code, document = await api("GET", index["paths"]["apis/example.org/v1"]["serverRelativeURL"])
        assert (code, "org.example.v1.Widget" in document["components"]["schemas"]) == (200, True)
        _, swagger = await api("GET", "/openapi/v2", Accept="application/json")
        assert {"com.example.v1.Widget", "org.example.v1.Widget"} <= swagger["definitions"].keys()
        _, groups = await api("GET", "/apis")
        assert {"example.com", "example.org"} <= {one["name"] for one in groups["groups"]}

    with_api(scenario)
