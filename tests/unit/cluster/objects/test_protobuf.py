"""Bodies in protobuf: what kubectl sends is read exactly, and whatever else comes is refused in Kubernetes' words."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oarlock.cluster.objects import decoding, protobuf, resources
from oarlock.cluster.objects.status import ApiError

Part = bytes | str | int | list["Part"] | dict[int, "Part"]


def varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def field(number: int, value: Part) -> bytes:
    """One field: numbers as varints, texts and bytes as they are, mappings as messages, lists repeated."""
    if isinstance(value, list):
        return b"".join(field(number, one) for one in value)
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    payload = message(value) if isinstance(value, dict) else value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def message(parts: dict[int, Part]) -> bytes:
    return b"".join(field(number, value) for number, value in parts.items())


def body(api_version: str, kind: str, parts: dict[int, Part] | bytes) -> bytes:
    raw = parts if isinstance(parts, bytes) else message(parts)
    return b"k8s\0" + message({1: {1: api_version, 2: kind}, 2: raw, 3: "", 4: ""})


def decode(group: str, version: str, kind: str, raw: bytes) -> dict[str, Any]:
    found = decoding.decode_kind(group, version, kind, raw, decoding.PROTOBUF)
    assert not found.complaints()
    return found.object


def refused(raw: bytes, kind: str = "Deployment", group: str = "apps") -> str:
    with pytest.raises(ApiError) as caught:
        decoding.decode_kind(group, "v1", kind, raw, decoding.PROTOBUF)
    assert (caught.value.code, caught.value.reason) == (400, "BadRequest")
    return caught.value.message


CONTAINER: dict[int, Part] = {
    1: "web",
    2: "host/web",
    6: [{1: "http", 2: 0, 3: 8080, 4: "TCP", 5: ""}],
    7: [{1: "A", 2: "", 3: {3: {1: {1: "settings"}, 2: "key", 3: 0}}}],
    8: {1: [{1: "cpu", 2: {1: "0.5"}}], 2: [{1: "memory", 2: {1: "1Gi"}}]},
    10: {1: {2: {1: "/ready", 2: {1: 1, 2: 0, 3: "http"}, 3: "", 4: ""}}, 2: 3},
}
DEPLOYMENT: dict[int, Part] = {
    1: {1: "web", 2: "", 3: "default", 7: 0, 8: {}, 11: [{1: "app", 2: "web"}]},
    2: {
        1: 0,
        2: {1: [{1: "app", 2: "web"}]},
        3: {
            1: {1: "", 8: {1: 1_700_000_000, 2: 5}},
            2: {1: [{1: "data", 2: {19: {1: {1: "settings"}, 3: 0o644}}}], 2: [CONTAINER], 3: "", 6: {}},
        },
        4: {1: "RollingUpdate", 2: {1: {1: 0, 2: 1, 3: ""}, 2: {1: 1, 2: 0, 3: "25%"}}},
        5: 0,
    },
    3: {1: 0, 2: 0},
}


def test_deployment() -> None:
    found = decode("apps", "v1", "Deployment", body("apps/v1", "Deployment", DEPLOYMENT))
    assert found["metadata"] == {"name": "web", "namespace": "default", "labels": {"app": "web"}}
    spec = found["spec"]
    assert spec["replicas"] == 0, "a pointer's zero is kept"
    assert "minReadySeconds" not in spec, "a plain zero is not"
    assert spec["strategy"]["rollingUpdate"] == {"maxUnavailable": 1, "maxSurge": "25%"}
    template = spec["template"]
    assert template["metadata"]["creationTimestamp"] == "2023-11-14T22:13:20Z"
    assert template["spec"]["volumes"] == [{"name": "data", "configMap": {"name": "settings", "defaultMode": 420}}]
    (container,) = template["spec"]["containers"]
    assert container["env"] == [
        {"name": "A", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "key", "optional": False}}}
    ]
    assert container["resources"] == {"limits": {"cpu": "500m"}, "requests": {"memory": "1Gi"}}
    assert container["livenessProbe"]["httpGet"] == {"path": "/ready", "port": "http"}


def test_secret_bytes() -> None:
    blob = bytes(range(256))
    raw = body("v1", "Secret", {1: {1: "s"}, 2: [{1: "blob", 2: blob}, {1: "empty"}], 3: "Opaque"})
    assert decode("", "v1", "Secret", raw)["data"] == {"blob": base64.b64encode(blob).decode(), "empty": ""}


def test_job_and_namespace() -> None:
    job = body("batch/v1", "Job", {1: {1: "j"}, 2: {1: 1, 2: 2, 3: -5, 6: {2: {2: [{1: "c"}], 3: "Never"}}}})
    spec = decode("batch", "v1", "Job", job)["spec"]
    assert (spec["parallelism"], spec["completions"], spec["activeDeadlineSeconds"]) == (1, 2, -5)
    found = decode("", "v1", "Namespace", body("v1", "Namespace", {1: {1: "n"}, 2: {}, 3: {1: ""}}))
    assert found == {"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": "n"}, "spec": {}, "status": {}}


@pytest.mark.parametrize("api_version", ["v1", "apps/v1", "meta.k8s.io/v1"])
def test_delete_options_come_under_any_version(api_version: str) -> None:
    raw = body(api_version, "DeleteOptions", {1: 0, 2: {1: "uid"}, 4: "Foreground", 5: ["All"]})
    found = decode("", "v1", "DeleteOptions", raw)
    assert found["gracePeriodSeconds"] == 0
    assert found["preconditions"] == {"uid": "uid"}
    assert (found["propagationPolicy"], found["dryRun"]) == ("Foreground", ["All"])


def test_micro_time_token_and_webhooks() -> None:
    lease = body("coordination.k8s.io/v1", "Lease", {1: {1: "l"}, 2: {1: "me", 3: {1: 0, 2: 1_999}}})
    assert decode("coordination.k8s.io", "v1", "Lease", lease)["spec"]["acquireTime"] == "1970-01-01T00:00:00.000001Z"
    review: dict[int, Part] = {1: {}, 2: {3: "bob", 5: [{1: "scopes", 2: {1: ["a", "b"]}}]}}
    raw = body("authorization.k8s.io/v1", "SubjectAccessReview", review)
    assert decode("authorization.k8s.io", "v1", "SubjectAccessReview", raw)["spec"]["extra"] == {"scopes": ["a", "b"]}
    hooks: dict[int, Part] = {
        1: {1: "w"},
        2: [{1: "hook", 3: [{1: ["CREATE"], 2: {1: ["apps"], 2: ["v1"], 3: ["*"]}}]}],
    }
    raw = body("admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration", hooks)
    (hook,) = decode("admissionregistration.k8s.io", "v1", "ValidatingWebhookConfiguration", raw)["webhooks"]
    expected = {"operations": ["CREATE"], "apiGroups": ["apps"], "apiVersions": ["v1"], "resources": ["*"]}
    assert hook["rules"] == [expected], "the embedded rule stands in its holder"


def test_packed_numbers_read_like_single_ones() -> None:
    packed: dict[int, Part] = {1: {}, 2: {14: {4: b"\x01\x80\x08"}}}
    single: dict[int, Part] = {1: {}, 2: {14: {4: [1, 1024]}}}
    documents = [decode("", "v1", "Pod", body("v1", "Pod", parts)) for parts in (packed, single)]
    assert documents[0] == documents[1]
    assert documents[0]["spec"]["securityContext"] == {"supplementalGroups": [1, 1024]}


def test_envelope_without_kind_is_the_expected_one() -> None:
    raw = b"k8s\0" + message({2: {1: {1: "c"}, 2: [{1: "a", 2: "b"}]}})
    assert decode("", "v1", "ConfigMap", raw)["data"] == {"a": "b"}


def test_unknown_fields_are_passed_over_only_when_they_say_nothing() -> None:
    assert decode("", "v1", "ConfigMap", body("v1", "ConfigMap", {1: {1: "c"}, 99: "", 98: 0}))
    for value in ("x", 1):
        told = refused(body("v1", "ConfigMap", {1: {1: "c"}, 99: value}), "ConfigMap", "")
        assert told == (
            'ConfigMap in version "v1" cannot be handled as a ConfigMap: unknown field 99 in message core.v1.ConfigMap'
        )


@pytest.mark.parametrize(
    ("parts", "told"),
    [
        ({2: {1: "3"}}, "proto: wrong wireType = 2 for field Replicas"),
        ({1: 1}, "proto: wrong wireType = 0 for field Metadata"),
        ({1: {1: b"\xff"}}, "proto: string field contains invalid UTF-8"),
        (b"\x12\x7f", "unexpected EOF"),
        (b"\x0a" + b"\xff" * 11, "proto: integer overflow"),
        (b"\x0f", "proto: illegal wireType 7"),
        (b"\x0c", "proto: apps.v1.Deployment: wiretype end group for non-group"),
        (b"\x02\x00", "proto: apps.v1.Deployment: illegal tag 0 (wire type 2)"),
        ({1: {8: {1: 1 << 62}}}, "Time.MarshalJSON: year outside of range [0,9999]"),
    ],
)
def test_malformed_messages(parts: dict[int, Part] | bytes, told: str) -> None:
    expected = f'Deployment in version "v1" cannot be handled as a Deployment: {told}'
    assert refused(body("apps/v1", "Deployment", parts)) == expected


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        (b"", "empty data (<empty>)"),
        (b"k8s\0", "empty body (6b387300)"),
        (b"{}", "provided data does not appear to be a protobuf message, expected prefix [107 56 115 0] ({})"),
        (b"k8s\0\x0a\x09", "unexpected EOF (6b3873000a09)"),
        (b"k8s\0\x1a\x01z", "unsupported content encoding 'z' (6b3873001a017a)"),
    ],
)
def test_malformed_envelopes(raw: bytes, told: str) -> None:
    assert refused(raw) == f"the object provided is unrecognized (must be of type Deployment): {told}"


def test_wrong_kinds() -> None:
    assert 'no kind "Nonsense" is registered for version "v1"' in refused(body("v1", "Nonsense", {}))
    other = refused(body("apps/v1", "ReplicaSet", DEPLOYMENT))
    why = "converting (apps.ReplicaSet) to (apps.Deployment): unknown conversion"
    assert other == f'ReplicaSet in version "v1" cannot be handled as a Deployment: {why}'
    formless = refused(body("apiregistration.k8s.io/v1", "APIService", {}), "APIService", "apiregistration.k8s.io")
    assert formless.endswith("cannot be handled as a APIService: no protobuf form of this kind is known")
    assert "does not match the expected API version (apps/v1)" in refused(body("v1", "Pod", {}), "Deployment")


def test_depth_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    table = {"kinds": {"/v1/Pod": "a"}, "messages": {"a": {"1": ["next", "#a"]}}}
    monkeypatch.setattr(protobuf, "_table", lambda: table)
    protobuf._fields.cache_clear()
    nested = b""
    for _ in range(protobuf.DEPTH_MAX + 1):
        nested = field(1, nested)
    with pytest.raises(protobuf.MessageError, match="exceeded max depth of 64"):
        protobuf.decode(body("v1", "Pod", nested))
    protobuf.decode(body("v1", "Pod", nested[3:]))
    protobuf._fields.cache_clear()


def test_the_table_knows_every_field_in_a_schema() -> None:
    """Every name that the table gives a field of a served kind is one that conforming knows."""
    for resource in resources.RESOURCES:
        name = protobuf.message_of(resource.api_version, resource.kind)
        if name is None:
            continue
        schema = decoding.schema_of_kind(resource.group, resource.version, resource.kind)
        assert schema is not None
        assert {one.name for one in protobuf._fields(name).values()} <= set(schema.fields)


def only_refuses(raw: bytes) -> None:
    """Reads the body or refuses it with 400; anything else fails the test."""
    code, kind = 200, "Deployment"
    try:
        kind = decoding.decode_kind("apps", "v1", "Deployment", raw, decoding.PROTOBUF).object["kind"]
    except ApiError as error:
        code = error.code
    assert (code, kind) in {(200, "Deployment"), (400, "Deployment")}


VALID = body("apps/v1", "Deployment", DEPLOYMENT)


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(raw: bytes) -> None:
    only_refuses(raw)
    only_refuses(b"k8s\0" + raw)
    only_refuses(body("apps/v1", "Deployment", raw))


@given(st.lists(st.tuples(st.integers(0, len(VALID) - 1), st.integers(0, 255)), min_size=1, max_size=4))
def test_a_damaged_body_is_read_or_refused(changes: list[tuple[int, int]]) -> None:
    raw = bytearray(VALID)
    for at, byte in changes:
        raw[at] = byte
    only_refuses(bytes(raw))


@given(st.integers(0, len(VALID) - 1))
def test_a_truncated_body_is_read_or_refused(size: int) -> None:
    only_refuses(VALID[:size])
