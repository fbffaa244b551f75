"""Server-side apply over HTTP, and managedFields on every write."""

from __future__ import annotations

from typing import Any

MAPS = "/api/v1/namespaces/default/configmaps"
DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
APPLY = "application/apply-patch+yaml"
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


def config(name: str, **data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def test_an_apply_creates_then_changes_then_conflicts(with_api: Any) -> None:
    async def scenario(api: Any) -> None:
        code, made = await api("PATCH", f"{MAPS}/c?fieldManager=m1", config("c", a="1", b="1"), APPLY)
        assert (code, made["data"]) == (201, {"a": "1", "b": "1"})
        code, refused = await api("PATCH", f"{MAPS}/c?fieldManager=m2", config("c", b="2"), APPLY)
        assert (code, refused["reason"]) == (409, "Conflict")
        assert refused["message"] == 'Apply failed with 1 conflict: conflict with "m1": .data.b'
        cause = {"reason": "FieldManagerConflict", "message": 'conflict with "m1"', "field": ".data.b"}
        assert refused["details"] == {"causes": [cause]}
        code, forced = await api("PATCH", f"{MAPS}/c?fieldManager=m2&force=true", config("c", b="2"), APPLY)
        assert (code, forced["data"]) == (200, {"a": "1", "b": "2"})
        nothing = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}}
        code, left = await api("PATCH", f"{MAPS}/c?fieldManager=m1", nothing, APPLY)
        assert (code, left["data"]) == (200, {"b": "2"})
        assert [entry["manager"] for entry in left["metadata"]["managedFields"]] == ["m2"]

    with_api(scenario)


def test_an_apply_that_changes_nothing_writes_nothing(with_api: Any) -> None:
    async def scenario(api: Any) -> None:
        _, made = await api("PATCH", f"{MAPS}/c?fieldManager=m1", config("c", a="1"), APPLY)
        _, again = await api("PATCH", f"{MAPS}/c?fieldManager=m1", config("c", a="1"), APPLY)
        assert again == made

    with_api(scenario)


def test_every_kind_of_write_is_tracked(with_api: Any) -> None:
    async def scenario(api: Any) -> None:
        made = await api.made(f"{MAPS}?fieldManager=creator", config("c", a="1"))
        assert [(one["manager"], one["operation"]) for one in made["metadata"]["managedFields"]] == [
            ("creator", "Update")
        ]
        changed = {**made, "data": {"a": "1", "b": "2"}}
        _, put = await api("PUT", f"{MAPS}/c", changed, User_Agent="kubectl/v1.36 (linux)")
        entries = {one["manager"]: one["fieldsV1"] for one in put["metadata"]["managedFields"]}
        assert entries["kubectl"] == {"f:data": {"f:b": {}}}
        assert entries["creator"] == {"f:data": {".": {}, "f:a": {}}}
        merge = "application/merge-patch+json"
        _, patched = await api("PATCH", f"{MAPS}/c?fieldManager=p", {"data": {"a": None}}, merge)
        entries = {one["manager"]: one["fieldsV1"] for one in patched["metadata"]["managedFields"]}
        assert entries == {"creator": {"f:data": {}}, "kubectl": {"f:data": {"f:b": {}}}}
        _, reset = await api("PATCH", f"{MAPS}/c", {"metadata": {"managedFields": [{}]}}, merge)
        assert "managedFields" not in reset["metadata"]

    with_api(scenario)


def test_status_writers_are_told_apart(with_api: Any) -> None:
    async def scenario(api: Any) -> None:
        spec = {"selector": {"matchLabels": {"a": "b"}}, "template": {"metadata": {"labels": {"a": "b"}}}}
        spec["template"]["spec"] = {"containers": [{"name": "c", "image": "i"}]}
        body = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": spec}
        await api.made(f"{DEPLOYMENTS}?fieldManager=user", body)
        applied = {"apiVersion": "apps/v1", "kind": "Deployment", "status": {"replicas": 2}}
        code, shown = await api("PATCH", f"{DEPLOYMENTS}/d/status?fieldManager=ctl", applied, APPLY)
        assert (code, shown["status"]["replicas"]) == (200, 2)
        mine = next(one for one in shown["metadata"]["managedFields"] if one["manager"] == "ctl")
        assert (mine["operation"], mine["subresource"]) == ("Apply", "status")
        assert mine["fieldsV1"] == {"f:status": {"f:replicas": {}}}
        theirs = next(one for one in shown["metadata"]["managedFields"] if one["manager"] == "user")
        assert "f:status" not in theirs["fieldsV1"]

    with_api(scenario)


def test_what_no_apply_can_be_is_refused(with_api: Any) -> None:
    async def scenario(api: Any) -> None:
        url = f"{MAPS}/c"
        code, answer = await api("PATCH", url, config("c"), APPLY)
        assert (code, answer["details"]["causes"][0]["field"]) == (422, "fieldManager")
        code, answer = await api("PATCH", f"{url}?force=true", {}, "application/merge-patch+json")
        assert (code, answer["details"]["causes"][0]["reason"]) == (422, "FieldValueForbidden")
        for body, words in (
            (b"a: [", "error decoding YAML"),
            (b"[]", "error decoding YAML"),
            ({"apiVersion": "v1", "metadata": {"name": "c"}}, "invalid object type: /v1, Kind="),
            ({**config("c"), "metadata": {"name": "c", "managedFields": [{}]}}, "metadata.managedFields must be nil"),
            (config("other"), "does not match the name on the URL"),
        ):
            code, answer = await api("PATCH", f"{url}?fieldManager=m", body, APPLY)
            assert code == 400, answer
            assert words in answer["message"]
        code, answer = await api("PATCH", f"{url}?fieldManager=m", {**config("c"), "nope": 1}, APPLY)
        assert answer["message"] == (
            "failed to create typed patch object (/c; /v1, Kind=ConfigMap): .nope: field not declared in schema"
        )
        assert (await api("GET", url))[0] == 404

    with_api(scenario)


def test_a_dry_run_applies_nothing(with_api: Any) -> None:
    async def scenario(api: Any) -> None:
        code, shown = await api("PATCH", f"{MAPS}/c?fieldManager=m&dryRun=All", config("c", a="1"), APPLY)
        assert (code, shown["data"]) == (201, {"a": "1"})
        assert (await api("GET", f"{MAPS}/c"))[0] == 404

    with_api(scenario)


def test_a_uid_of_nobody_is_a_conflict(with_api: Any) -> None:
    async def scenario(api: Any) -> None:
        body = config("c")
        body["metadata"]["uid"] = "gone"
        code, answer = await api("PATCH", f"{MAPS}/c?fieldManager=m", body, APPLY)
        assert (code, answer["reason"]) == (409, "Conflict")
        assert "uid mismatch" in answer["message"]

    with_api(scenario)


def test_kubectl_takes_over_what_it_applied_from_its_own_side(with_api: Any) -> None:
    async def scenario(api: Any) -> None:
        told = '{"apiVersion":"v1","data":{"a":"1","b":"1"},"kind":"ConfigMap","metadata":{"name":"c"}}'
        body = config("c", a="1", b="1")
        body["metadata"]["annotations"] = {LAST_APPLIED: told}
        made = await api.made(f"{MAPS}?fieldManager=kubectl-client-side-apply", body)
        code, taken = await api("PATCH", f"{MAPS}/c?fieldManager=kubectl", config("c", a="2"), APPLY)
        assert (code, taken["data"]) == (200, {"a": "2", "b": "1"})
        assert '"a":"2"' in taken["metadata"]["annotations"][LAST_APPLIED]
        changed = {**made, "data": {"a": "2", "b": "9"}}
        del changed["metadata"]["resourceVersion"], changed["metadata"]["managedFields"]
        await api("PUT", f"{MAPS}/c?fieldManager=somebody", changed)
        code, refused = await api("PATCH", f"{MAPS}/c?fieldManager=kubectl", config("c", a="2", b="3"), APPLY)
        assert code == 409
        assert [one["field"] for one in refused["details"]["causes"]] == [".data.b"]
        code, _ = await api("PATCH", f"{MAPS}/c?fieldManager=other", config("c", a="3"), APPLY)
        assert code == 409

    with_api(scenario)
