"""Bodies are decoded, or refused in upstream's words."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oarlock.cluster.objects.decoding import decode, decode_kind, strict_error
from oarlock.cluster.objects.resources import Resource, lookup
from oarlock.cluster.objects.status import ApiError


def _resource(plural: str, group: str = "") -> Resource:
    found = lookup(group, "v1", plural)
    assert found is not None
    return found


def _refusal(plural: str, body: object, group: str = "") -> str:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    with pytest.raises(ApiError) as caught:
        decode(_resource(plural, group), raw)
    assert (caught.value.code, caught.value.reason) == (400, "BadRequest")
    return caught.value.message


@pytest.mark.parametrize(
    ("plural", "group", "part"),
    [
        ("jobs", "batch", {"status": {"failedIndexes": ""}}),
        (
            "resourceslices",
            "resource.k8s.io",
            {"spec": {"devices": [{"name": "", "attributes": {"a": {"string": ""}}}]}},
        ),
    ],
)
def test_empty_texts_stay_where_they_say_something(plural: str, group: str, part: dict[str, Any]) -> None:
    decoded = decode(_resource(plural, group), json.dumps(part).encode()).object
    ((field, value),) = part.items()
    assert decoded[field] | value == decoded[field]


@pytest.mark.parametrize(
    ("plural", "body", "tail"),
    [
        (
            "namespaces",
            {"metadata": "x"},
            "cannot unmarshal string into Go struct field Namespace.metadata of type v1.ObjectMeta",
        ),
        (
            "pods",
            {"metadata": {"name": 7}},
            "cannot unmarshal number into Go struct field ObjectMeta.metadata.name of type string",
        ),
        (
            "pods",
            {"metadata": {"labels": {"a": 1}}},
            "cannot unmarshal number into Go struct field ObjectMeta.metadata.labels of type string",
        ),
        (
            "pods",
            {"spec": {"containers": {}}},
            "cannot unmarshal object into Go struct field PodSpec.spec.containers of type []v1.Container",
        ),
        (
            "pods",
            {"spec": {"containers": [7]}},
            "cannot unmarshal number into Go struct field PodSpec.spec.containers of type v1.Container",
        ),
        (
            "pods",
            {"spec": {"priority": 2**31}},
            "cannot unmarshal number 2147483648 into Go struct field PodSpec.spec.priority of type int32",
        ),
        (
            "pods",
            {"spec": {"restartPolicy": True}},
            "cannot unmarshal bool into Go struct field PodSpec.spec.restartPolicy of type v1.RestartPolicy",
        ),
        (
            "pods",
            {"spec": {"volumes": [{"name": "v", "emptyDir": []}]}},
            (
                "cannot unmarshal array into Go struct field Volume.spec.volumes.VolumeSource.emptyDir of type "
                "v1.EmptyDirVolumeSource"
            ),
        ),
    ],
)
def test_type_errors(plural: str, body: dict[str, object], tail: str) -> None:
    kind = {"namespaces": "Namespace", "pods": "Pod"}[plural]
    assert _refusal(plural, body) == f'{kind} in version "v1" cannot be handled as a {kind}: json: {tail}'


def test_syntax_errors_show_the_place_and_the_text() -> None:
    start = (
        "the object provided is unrecognized (must be of type ConfigMap): couldn't get version/kind; json parse error: "
    )
    assert _refusal("configmaps", b"{") == start + "unexpected end of JSON input ({)"
    assert _refusal("configmaps", b"") == start + "unexpected end of JSON input (<empty>)"
    assert (
        _refusal("configmaps", b"{a}")
        == start + "invalid character 'a' looking for beginning of object key string ({a})"
    )
    assert "after array element" in _refusal("configmaps", b"[1 2]")
    assert "after object key:value pair" in _refusal("configmaps", b'{"a":1 2}')


def test_other_kinds_and_versions_are_refused() -> None:
    message = _refusal("configmaps", {"apiVersion": "v2", "kind": "ConfigMap"})
    assert message.endswith(
        'no kind "ConfigMap" is registered for version "v2" in scheme "pkg/api/legacyscheme/scheme.go:30"'
    )
    assert "does not match the expected API version (v1)" in _refusal(
        "configmaps", {"apiVersion": "apps/v1", "kind": "Deployment"}
    )


def test_bad_quantities_times_and_base64() -> None:
    limits = {"spec": {"containers": [{"resources": {"limits": {"cpu": "lots"}}}]}}
    assert "quantities must match the regular expression" in _refusal("pods", limits)
    assert 'cannot parse "soon" as "2006"' in _refusal("pods", {"metadata": {"creationTimestamp": "soon"}})
    assert _refusal("secrets", {"data": {"a": "!!"}}).endswith("illegal base64 data at input byte 0")


def test_unknown_and_duplicate_fields_are_listed_with_their_paths() -> None:
    raw = b'{"metadata":{"name":"x","name":"y"},"spec":{"containers":[{"name":"c","bogus":1}]},"data":{}}'
    decoded = decode(_resource("pods"), raw)
    assert decoded.unknown == ["spec.containers[0].bogus", "data"]
    assert decoded.duplicates == ["metadata.name"]
    assert decoded.object["metadata"]["name"] == "y"
    message = strict_error("Pod", "v1", decoded.complaints()).message
    assert message.endswith(
        'strict decoding error: duplicate field "metadata.name", unknown field "spec.containers[0].bogus", '
        'unknown field "data"'
    )


def test_text_that_looks_like_a_key_is_no_duplicate() -> None:
    raw = json.dumps({"metadata": {"name": "x"}, "data": {"a": '{"b": 1, "b": 2}', "c": '\\":'}}).encode()
    assert decode(_resource("configmaps"), raw).duplicates == []


def test_yaml_is_read_like_json() -> None:
    text = b"kind: ConfigMap\napiVersion: v1\nmetadata: {name: x}\ndata:\n  when: '2026-01-01'\n  a: b\n  a: c\n"
    decoded = decode(_resource("configmaps"), text, "application/yaml")
    assert decoded.object["data"] == {"when": "2026-01-01", "a": "c"}
    assert decoded.duplicates == ["data.a"]
    with pytest.raises(ApiError, match="error converting YAML to JSON: yaml: line"):
        decode(_resource("configmaps"), b"a: [\n", "application/yaml")


def test_other_formats_are_415() -> None:
    with pytest.raises(ApiError) as caught:
        decode(_resource("configmaps"), b"", "text/csv")
    assert caught.value.code == 415


def test_an_object_is_brought_into_canonical_shape() -> None:
    body = {
        "metadata": {"name": "x", "labels": {}, "annotations": None, "creationTimestamp": "2026-01-01T02:00:00+02:00"},
        "spec": {
            "hostNetwork": False,
            "nodeName": "",
            "priority": 0,
            "containers": [{"name": "c", "resources": {"limits": {"cpu": "0.5", "memory": "1024Mi"}}, "args": []}],
        },
    }
    obj = decode(_resource("pods"), json.dumps(body).encode()).object
    assert obj["metadata"] == {"name": "x", "creationTimestamp": "2026-01-01T00:00:00Z"}
    assert obj["spec"] == {
        "priority": 0,
        "containers": [{"name": "c", "resources": {"limits": {"cpu": "500m", "memory": "1Gi"}}}],
    }
    assert list(obj) == ["kind", "apiVersion", "metadata", "spec"]


def test_kinds_of_subresources() -> None:
    scale = decode_kind("autoscaling", "v1", "Scale", b'{"metadata":{"name":"x"},"spec":{"replicas":3}}')
    assert scale.object["spec"] == {"replicas": 3}


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["metadata", "spec", "name", "labels", "containers", "x"]), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(_JSON)
def test_any_json_is_decoded_or_refused(body: object) -> None:
    try:
        first = decode(_resource("pods"), json.dumps(body).encode())
    except ApiError as error:
        assert error.code == 400  # noqa: PT017 - either outcome is fine
        return
    again = decode(_resource("pods"), json.dumps(first.object).encode())
    assert again.object == first.object


@given(st.binary(max_size=40))
def test_any_bytes_are_decoded_or_refused(raw: bytes) -> None:
    for media in ("application/json", "application/yaml"):
        try:
            decode(_resource("configmaps"), raw, media)
        except ApiError as error:
            assert error.code == 400  # noqa: PT017 - either outcome is fine
