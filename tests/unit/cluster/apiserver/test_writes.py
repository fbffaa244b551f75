"""create, update, patch: what is stored, what is refused and in which words."""

from __future__ import annotations

import asyncio
from typing import Any

from harness.authority import signing_request

from oarlock.cluster.apiserver import exchange

MAPS = "/api/v1/namespaces/default/configmaps"
DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
MERGE = "application/merge-patch+json"


def deployment(name: str) -> dict[str, Any]:
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "host/true"}]}}
    spec = {"selector": {"matchLabels": labels}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": spec}


def test_create_fills_metadata_and_defaults(with_api: Any) -> None:
    async def scenario(api: Any) -> None:
        made = await api.made(DEPLOYMENTS, deployment("web"))
        metadata = made["metadata"]
        assert metadata["namespace"] == "default"
        assert metadata["generation"] == 1
        assert len(metadata["uid"]) == 36
        assert metadata["creationTimestamp"].endswith("Z")
        assert int(metadata["resourceVersion"]) > 0
        assert made["spec"]["replicas"] == 1
        assert await api("GET", f"{DEPLOYMENTS}/web") == (200, made)

    with_api(scenario)


def test_second_create_is_refused(with_api: Any, objects: Any) -> None:
    async def scenario(api: Any) -> None:
        await api.made(MAPS, objects.configmap("a"))
        code, answer = await api("POST", MAPS, objects.configmap("a"))
        assert (code, answer["reason"]) == (409, "AlreadyExists")
        assert answer["message"] == 'configmaps "a" already exists'

    with_api(scenario)


def test_generated_names_differ(with_api: Any) -> None:
    async def scenario(api: Any) -> None:
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"generateName": "x-"}}
        names = {(await api.made(MAPS, body))["metadata"]["name"] for _ in range(5)}
        assert len(names) == 5
        assert all(name.startswith("x-") and len(name) == 7 for name in names)

    with_api(scenario)


def test_update_needs_the_latest_version_if_it_names_one(with_api: Any, objects: Any) -> None:
    async def scenario(api: Any) -> None:
        made = await api.made(MAPS, objects.configmap("a", k="1"))
        code, changed = await api("PUT", f"{MAPS}/a", {**made, "data": {"k": "2"}})
        assert code == 200
        assert int(changed["metadata"]["resourceVersion"]) > int(made["metadata"]["resourceVersion"])
        code, answer = await api("PUT", f"{MAPS}/a", {**made, "data": {"k": "3"}})
        assert (code, answer["reason"]) == (409, "Conflict")
        assert "please apply your changes to the latest version" in answer["message"]
        code, _ = await api("PUT", f"{MAPS}/a", objects.configmap("a", k="4"))
        assert code == 200

    with_api(scenario)


def test_leases_are_not_replaced_blindly(with_api: Any) -> None:
    leases = "/apis/coordination.k8s.io/v1/namespaces/default/leases"
    body = {"metadata": {"name": "a"}, "spec": {"holderIdentity": "x"}}

    async def scenario(api: Any) -> None:
        await api.made(leases, body)
        code, answer = await api("PUT", f"{leases}/a", body)
        why = "metadata.resourceVersion: Invalid value: 0: must be specified for an update"
        assert (code, answer["message"]) == (422, f'leases.coordination.k8s.io "a" is invalid: {why}')
        assert answer["details"]["kind"] == "leases"

    with_api(scenario)


def test_an_update_says_which_object_it_replaces(with_api: Any, objects: Any) -> None:
    async def scenario(api: Any) -> None:
        await api.made(MAPS, objects.configmap("a"))
        code, answer = await api("PUT", f"{MAPS}/a", {"data": {"k": "v"}})
        why = "the name of the object (a based on URL) was undeterminable: name must be provided"
        assert (code, answer["message"]) == (400, why)

    with_api(scenario)


def test_update_without_change_keeps_the_version(with_api: Any, objects: Any) -> None:
    async def scenario(api: Any) -> None:
        made = await api.made(MAPS, objects.configmap("a", k="1"))
        assert await api("PUT", f"{MAPS}/a", made) == (200, made)

    with_api(scenario)


def test_generation_counts_spec_changes_only(with_api: Any) -> None:
    async def scenario(api: Any) -> None:
        await api.made(DEPLOYMENTS, deployment("web"))
        _, labelled = await api("PATCH", f"{DEPLOYMENTS}/web", {"metadata": {"labels": {"x": "y"}}}, MERGE)
        assert labelled["metadata"]["generation"] == 1
        _, scaled = await api("PATCH", f"{DEPLOYMENTS}/web", {"spec": {"replicas": 3}}, MERGE)
        assert scaled["metadata"]["generation"] == 2
        _, told = await api(
            "PATCH", f"{DEPLOYMENTS}/web/status", {"status": {"replicas": 3}, "spec": {"replicas": 9}}, MERGE
        )
        assert (told["metadata"]["generation"], told["spec"]["replicas"]) == (2, 3)
        assert told["status"]["replicas"] == 3

    with_api(scenario)


def test_concurrent_patches_all_take_effect(with_api: Any, objects: Any) -> None:
    async def scenario(api: Any) -> None:
        await api.made(MAPS, objects.configmap("a"))
        patches = [api("PATCH", f"{MAPS}/a", {"data": {f"k{n}": "v"}}, MERGE) for n in range(20)]
        assert {code for code, _ in await asyncio.gather(*patches)} == {200}
        _, final = await api("GET", f"{MAPS}/a")
        assert len(final["data"]) == 20

    with_api(scenario)


def test_dry_run_stores_nothing(with_api: Any, objects: Any) -> None:
    async def scenario(api: Any) -> None:
        code, shown = await api("POST", f"{MAPS}?dryRun=All", objects.configmap("a"))
        assert (code, "resourceVersion" in shown["metadata"]) == (201, False)
        assert (await api("GET", f"{MAPS}/a"))[0] == 404
        await api.made(MAPS, objects.configmap("a", k="1"))
        _, patched = await api("PATCH", f"{MAPS}/a?dryRun=All", {"data": {"k": "2"}}, MERGE)
        assert patched["data"] == {"k": "2"}
        assert (await api("GET", f"{MAPS}/a"))[1]["data"] == {"k": "1"}

    with_api(scenario)


def test_unknown_fields_are_warned_of_or_refused(with_api: Any, objects: Any) -> None:
    async def scenario(api: Any) -> None:
        body = {**objects.configmap("a"), "bogus": 1}
        assert (await api("POST", f"{MAPS}?dryRun=All", body))[0] == 201
        assert api.headers["Warning"] == '299 - "unknown field \\"bogus\\""'
        await api("POST", f"{MAPS}?dryRun=All&fieldValidation=Ignore", body)
        assert "Warning" not in api.headers
        code, answer = await api("POST", f"{MAPS}?fieldValidation=Strict", body)
        assert code == 400
        assert 'strict decoding error: unknown field "bogus"' in answer["message"]

    with_api(scenario)


def test_scale_changes_replicas(with_api: Any) -> None:
    async def scenario(api: Any) -> None:
        await api.made(DEPLOYMENTS, deployment("web"))
        _, scale = await api("GET", f"{DEPLOYMENTS}/web/scale")
        assert (scale["kind"], scale["spec"], scale["status"]["selector"]) == ("Scale", {"replicas": 1}, "app=web")
        code, scaled = await api("PATCH", f"{DEPLOYMENTS}/web/scale", {"spec": {"replicas": 4}}, MERGE)
        assert (code, scaled["spec"]) == (200, {"replicas": 4})
        scaled["spec"]["replicas"] = 2
        assert (await api("PUT", f"{DEPLOYMENTS}/web/scale", scaled))[0] == 200
        _, final = await api("GET", f"{DEPLOYMENTS}/web")
        assert (final["spec"]["replicas"], final["metadata"]["generation"]) == (2, 3)

    with_api(scenario)


def test_invalid_objects_name_every_cause(with_api: Any) -> None:
    async def scenario(api: Any) -> None:
        code, answer = await api("POST", MAPS, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {}})
        assert (code, answer["reason"]) == (422, "Invalid")
        assert answer["details"]["causes"][0]["field"] == "metadata.name"

    with_api(scenario)


def test_a_signing_request_tells_who_made_it(with_api: Any) -> None:
    async def scenario(api: Any) -> None:
        spec = {
            "request": _SIGNING_REQUEST,
            "signerName": "example.com/s",
            "usages": ["client auth"],
            "username": "eve",
        }
        body = {"apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest"}
        path = "/apis/certificates.k8s.io/v1/certificatesigningrequests"
        made = await api.made(path, {**body, "metadata": {"name": "r"}, "spec": spec})
        assert made["spec"]["username"] == "system:admin"
        assert "system:masters" in made["spec"]["groups"]

    with_api(scenario)


_SIGNING_REQUEST = signing_request()


def test_an_event_is_shown_in_both_its_groups(with_api: Any) -> None:
    async def scenario(api: Any) -> None:
        regarding = {"kind": "Pod", "name": "p", "namespace": "default"}
        body = {"apiVersion": "v1", "kind": "Event", "metadata": {"name": "e"}, "involvedObject": regarding}
        made = await api.made("/api/v1/namespaces/default/events", {**body, "reason": "R", "type": "Normal"})
        assert made["eventTime"] is None
        assert (made["reportingComponent"], made["reportingInstance"]) == ("", "")
        _, newer = await api("GET", "/apis/events.k8s.io/v1/namespaces/default/events/e")
        assert newer["regarding"] == regarding
        assert newer["deprecatedFirstTimestamp"] is None
        assert "reportingController" not in newer

    with_api(scenario)


def test_a_binding_puts_the_pod_it_names_on_a_node(with_api: Any, objects: Any) -> None:
    async def scenario(api: Any) -> None:
        await api.made("/api/v1/namespaces/default/pods", objects.pod("p"))
        bindings = "/api/v1/namespaces/default/bindings"
        body = {"apiVersion": "v1", "kind": "Binding", "target": {"kind": "Node", "name": "n"}}
        code, answer = await api("POST", bindings, {**body, "metadata": {"name": "nobody"}})
        assert (code, answer["details"]["kind"]) == (404, "pods")
        done = await api.made(bindings, {**body, "metadata": {"name": "p"}})
        assert done["status"] == "Success"
        _, pod = await api("GET", "/api/v1/namespaces/default/pods/p")
        assert pod["spec"]["nodeName"] == "n"
        code, answer = await api("POST", bindings, {**body, "metadata": {"name": "p"}})
        assert (code, answer["reason"]) == (409, "Conflict")

    with_api(scenario)


def test_duplicate_fields_of_a_patch_are_told_or_refused(with_api: Any, objects: Any) -> None:
    async def scenario(api: Any) -> None:
        maps = "/api/v1/namespaces/default/configmaps"
        await api.made(maps, objects.configmap("c"))
        patch, kind = b'{"data":{"k":"1","k":"2"}}', "application/merge-patch+json"
        code, answer = await api("PATCH", f"{maps}/c?fieldValidation=Strict", patch, kind)
        assert code == 422
        assert 'strict decoding error: duplicate field "data.k"' in answer["message"]
        code, answer = await api("PATCH", f"{maps}/c", patch, kind)
        assert (code, answer["data"]) == (200, {"k": "2"})
        assert 'duplicate field \\"data.k\\"' in api.headers["Warning"]

    with_api(scenario)


def test_warnings_are_bounded(with_api: Any, objects: Any) -> None:
    async def scenario(api: Any) -> None:
        body = {**objects.configmap("c"), **{f"unknown{number}": 1 for number in range(500)}}
        await api.made("/api/v1/namespaces/default/configmaps", body)
        warned = api.headers.getall("Warning")
        assert warned[0] == '299 - "unknown field \\"unknown0\\""'
        assert len(warned) == 100

    with_api(scenario)


def test_a_warning_that_is_no_header_is_left_out() -> None:
    assert exchange.warning_headers(["one", "two\r\nX: y", "three\x85", 'a "b"', "one"]) == [
        '299 - "one"',
        '299 - "a \\"b\\""',
    ]


def test_deep_yaml_is_refused_in_our_words(with_api: Any) -> None:
    async def scenario(api: Any) -> None:
        maps = "/api/v1/namespaces/default/configmaps"
        code, answer = await api("POST", maps, b"a: " + b"[" * 20_000 + b"]" * 20_000, "application/yaml")
        assert code == 400
        assert "yaml: exceeded max depth" in answer["message"]

    with_api(scenario)


def test_what_is_accepted_may_be_warned_of(with_api: Any) -> None:
    async def scenario(api: Any) -> None:
        services = "/api/v1/namespaces/default/services"
        spec = {"ports": [{"port": 80}], "trafficDistribution": "PreferClose"}
        service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": spec}
        told = '299 - "spec.trafficDistribution: \\"PreferClose\\" is deprecated; use \\"PreferSameZone\\""'
        await api.made(services, service)
        assert api.headers.getall("Warning") == [told]
        await api("PATCH", f"{services}/s", {"metadata": {"labels": {"a": "b"}}}, "application/merge-patch+json")
        assert api.headers.getall("Warning") == [told]
        await api("PUT", f"{services}/s", {**service, "spec": {**spec, "type": "Wrong"}})
        assert "Warning" not in api.headers
        await api("GET", "/api/v1/namespaces/default/endpoints")
        assert "discovery.k8s.io/v1 EndpointSlice" in api.headers["Warning"]

    with_api(scenario)
