"""What holds for every kind: it is discovered, made, read, listed, watched, changed in every way, and deleted.

Stands for the specifications "should support ... API operations" and "... lifecycle" of each kind (RuntimeClass, Lease,
EndpointSlice, FlowSchema, Ingress, CSIDriver, ...), and for the suite's own form of the same, `TestResource`.
"""

from __future__ import annotations

from copy import deepcopy

import pytest
from harness.kinds import KINDS, Kind
from harness.rest import APPLY, JSON_PATCH, MERGE, STRATEGIC, Object, Rest, holds

pytestmark = [pytest.mark.thorough, pytest.mark.timeout(120)]
VERBS = {"create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"}
AS = "application/json;as={};v=v1;g=meta.k8s.io"


def merge(into: Object, change: Object) -> None:
    for key, value in change.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            merge(into[key], value)
        else:
            into[key] = deepcopy(value)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.path.removeprefix("/apis/").removeprefix("/api/"))
def test_life(api: Rest, namespace: str, kind: Kind) -> None:
    resources = {one["name"]: one for one in api.get(kind.path.rpartition("/")[0])["resources"]}
    assert set(resources[kind.plural]["verbs"]) == VERBS - ({"deletecollection"} if not kind.sweepable else set())
    labels, collection = {"test": f"{kind.plural}-{namespace}"}, kind.at(namespace)
    selected = {"labelSelector": f"test={labels['test']}"}
    begin = api.get(collection, **selected)["metadata"]["resourceVersion"]
    with api.watch(collection, resourceVersion=begin, timeoutSeconds=30, **selected) as watch:
        made = created(api, kind, collection, kind.made(1, namespace, labels))
        path = f"{collection}/{made['metadata']['name']}"
        read(api, kind, path, made, selected)
        changed(api, kind, path, made)
        if kind.status is not None:
            status_changed(api, path, kind.status)
        deleted(api, path)
        types, versions = [], []
        while not types or types[-1] != "DELETED":
            event = watch.next()
            assert event["object"]["metadata"]["uid"] == made["metadata"]["uid"]
            types.append(event["type"])
            versions.append(int(event["object"]["metadata"]["resourceVersion"]))
    assert types == ["ADDED", *["MODIFIED"] * (len(types) - 2), "DELETED"]
    assert len(types) > 5
    assert versions == sorted(set(versions))
    collection_deleted(api, kind, namespace, labels)


def created(api: Rest, kind: Kind, collection: str, body: Object) -> Object:
    unknown = api("POST", collection, {**body, "nope": 1}, fieldValidation="Strict")
    assert (unknown.code, 'strict decoding error: unknown field "nope"' in unknown.message) == (400, True), unknown
    path = f"{collection}/{body['metadata']['name']}"
    assert holds(body, api.create(collection, body, dryRun="All"))
    assert api("GET", path).code == 404, "a dry run keeps nothing"
    made: Object = api.create(collection, body, fieldValidation="Strict", fieldManager="maker")
    assert holds(body, made), made
    assert made["metadata"]["managedFields"][0]["manager"] == "maker"
    again = api("POST", collection, body)
    assert (again.code, again.reason) == (409, "AlreadyExists")
    return made


def read(api: Rest, kind: Kind, path: str, made: Object, selected: dict[str, str]) -> None:
    uid, name = made["metadata"]["uid"], made["metadata"]["name"]
    assert api.get(path)["metadata"]["uid"] == uid
    for where in {path.rpartition("/")[0], kind.path}:
        found = api.get(where, **selected)
        assert (found["kind"], found["apiVersion"]) == (f"{kind.kind}List", kind.api_version)
        assert [one["metadata"]["uid"] for one in found["items"]] == [uid]
        table = api.get(where, accept=AS.format("Table"), **selected)
        assert table["columnDefinitions"][0]["name"] in ("Name", "Last Seen"), "Events are told by their times"
        untold = kind.plural == "ipaddresses"  # upstream's printer fills in an age that has no column
        assert [len(row["cells"]) - untold for row in table["rows"]] == [len(table["columnDefinitions"])]
        assert table["rows"][0]["object"]["metadata"]["name"] == name
        partial = api.get(where, accept=AS.format("PartialObjectMetadataList"), **selected)
        assert [one["metadata"]["uid"] for one in partial["items"]] == [uid]
        assert set(partial["items"][0]) <= {"metadata", "kind", "apiVersion"}


def changed(api: Rest, kind: Kind, path: str, made: Object) -> None:
    updated = api.changed(path, lambda found: merge(found, kind.change))
    assert holds(kind.change, updated), updated
    assert int(updated["metadata"]["resourceVersion"]) > int(made["metadata"]["resourceVersion"])
    stale = api("PUT", path, {**made, "metadata": {**made["metadata"], "labels": {"stale": "yes"}}})
    assert (stale.code, stale.reason) == (409, "Conflict")
    heading = {"apiVersion": kind.api_version, "kind": kind.kind}
    named = {"name": made["metadata"]["name"], "uid": made["metadata"]["uid"]}
    for content_type, by in ((STRATEGIC, "strategic"), (MERGE, "merge"), (APPLY, "apply")):
        body = {**heading, "metadata": {**named, "annotations": {by: "yes"}}}
        options = {"fieldManager": by, "force": "true"} if content_type == APPLY else {}
        assert holds(body, api.patch(path, body, content_type, fieldValidation="Strict", **options))
    operation = {"op": "add", "path": "/metadata/annotations/json", "value": "yes"}
    patched = api.patch(path, [operation], JSON_PATCH)
    assert (
        dict.fromkeys(("strategic", "merge", "apply", "json"), "yes").items()
        <= patched["metadata"]["annotations"].items()
    )
    assert holds(kind.change, patched), patched


def status_changed(api: Rest, path: str, status: Object) -> None:
    assert api.get(f"{path}/status")["metadata"]["name"] == path.rpartition("/")[2]
    told = {"status": status}
    assert holds(told, api.changed(path, lambda found: merge(found, told), "/status"))
    patched = api.patch(f"{path}/status", told, fieldManager="teller")
    assert holds(told, patched)
    found = api.get(path)
    applied = api.apply(
        f"{path}/status",
        {"apiVersion": found["apiVersion"], "kind": found["kind"], **told},
        "applier",
        force="true",
    )
    owners = {(entry["manager"], entry.get("subresource")) for entry in applied["metadata"]["managedFields"]}
    assert ("applier", "status") in owners
    untouched = api.patch(path, {"status": None, "metadata": {"labels": {"past": "status"}}})
    assert untouched["metadata"]["labels"]["past"] == "status"
    assert untouched.get("status"), "the status is changed by its own path only"


def deleted(api: Rest, path: str) -> None:
    other = api("DELETE", path, {"kind": "DeleteOptions", "apiVersion": "v1", "preconditions": {"uid": "other"}})
    assert (other.code, other.reason) == (409, "Conflict")
    api.delete(path, dryRun="All")
    assert api("GET", path).code == 200
    api.delete(path)
    api.until_gone(path)
    assert api("GET", path).code == 404
    assert api("DELETE", path).reason == "NotFound"


def collection_deleted(api: Rest, kind: Kind, namespace: str, labels: Object) -> None:
    collection = kind.at(namespace)
    bodies = [kind.made(number, namespace, {**labels, "number": str(number)}) for number in (1, 2, 3)]
    paths = [f"{collection}/{api.create(collection, body)['metadata']['name']}" for body in bodies]
    selector = f"test={labels['test']},number!=3"
    answer = api("DELETE", collection, labelSelector=selector)
    assert answer.code == (200 if kind.sweepable else 405)
    for path in paths if not kind.sweepable else paths[2:]:
        assert api("GET", path).code == 200
        api.delete(path)
    for path in paths:
        api.until_gone(path)
