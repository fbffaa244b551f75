"""Webhook configurations that are refused, and in which words."""

from __future__ import annotations

from typing import Any

import pytest
from harness.judging import Told, changed, created, updated

from oarlock.cluster.objects import webhook_client_validation

Obj = dict[str, Any]
VALIDATING = "admissionregistration.k8s.io/v1/validatingwebhookconfigurations"
MUTATING = "admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"
HOOK: Obj = {
    "name": "a.example.com",
    "clientConfig": {"service": {"name": "s", "namespace": "n", "path": "/a/b"}},
    "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods/*", "pods"]}],
    "sideEffects": "None",
    "admissionReviewVersions": ["v1"],
    "matchConditions": [{"name": "m", "expression": "true"}],
}
GOOD: Obj = {"webhooks": [HOOK]}
RULE = "webhooks[0].rules[0]"
FORM = "; desired format: https://host[/path]"
SUBDOMAIN = "a lowercase RFC 1123 subdomain must consist of"


def test_what_is_right_may_be_made_and_written_again() -> None:
    for path in (VALIDATING, MUTATING):
        assert created(path, GOOD) == []
        assert updated(path, GOOD, GOOD) == []
    url = changed(GOOD, "webhooks/0/clientConfig", {"url": "https://example.com:8443/a"})
    assert created(VALIDATING, url) == []


@pytest.mark.parametrize(
    ("place", "value", "expected"),
    [
        (
            "webhooks/0",
            {},
            [
                ("webhooks[0].name", "Required value"),
                ("webhooks[0].sideEffects", "Required value: must specify one of None, NoneOnDryRun"),
                ("webhooks[0].clientConfig", "Required value: exactly one of url or service is required"),
                ("webhooks[0].admissionReviewVersions", "Required value: must specify one of v1, v1beta1"),
            ],
        ),
        (
            "webhooks/0/name",
            "a.b",
            [
                (
                    "webhooks[0].name",
                    'Invalid value: "a.b": should be a domain with at least three segments separated by dots',
                )
            ],
        ),
        (
            "webhooks/0/rules/0",
            {},
            [
                (f"{RULE}.operations", "Required value"),
                (f"{RULE}.apiGroups", "Required value"),
                (f"{RULE}.apiVersions", "Required value"),
                (f"{RULE}.resources", "Required value"),
            ],
        ),
        (
            "webhooks/0/rules/0/operations",
            ["*", "X"],
            [
                (
                    f"{RULE}.operations",
                    'Invalid value: ["*","X"]: if \'*\' is present, must not specify other operations',
                ),
                (
                    f"{RULE}.operations[1]",
                    'Unsupported value: "X": supported values: "*", "CONNECT", "CREATE", "DELETE", "UPDATE"',
                ),
            ],
        ),
        (
            "webhooks/0/rules/0/resources",
            ["pods/*", "pods/status", "*", "x", ""],
            [
                (
                    f"{RULE}.resources[1]",
                    "Invalid value: \"pods/status\": if 'pods/*' is present, must not specify pods/status",
                ),
                (f"{RULE}.resources[4]", "Required value"),
                (
                    f"{RULE}.resources",
                    (
                        'Invalid value: ["pods/*","pods/status","*","x",""]: '
                        "if '*' is present, must not specify other resources without subresources"
                    ),
                ),
            ],
        ),
        (
            "webhooks/0/rules/0/scope",
            "X",
            [(f"{RULE}.scope", 'Unsupported value: "X": supported values: "*", "Cluster", "Namespaced"')],
        ),
        (
            "webhooks/0/failurePolicy",
            "",
            [("webhooks[0].failurePolicy", 'Unsupported value: "": supported values: "Fail", "Ignore"')],
        ),
        (
            "webhooks/0/matchPolicy",
            "X",
            [("webhooks[0].matchPolicy", 'Unsupported value: "X": supported values: "Equivalent", "Exact"')],
        ),
        (
            "webhooks/0/sideEffects",
            "Some",
            [("webhooks[0].sideEffects", 'Unsupported value: "Some": supported values: "None", "NoneOnDryRun"')],
        ),
        (
            "webhooks/0/timeoutSeconds",
            31,
            [("webhooks[0].timeoutSeconds", "Invalid value: 31: the timeout value must be between 1 and 30 seconds")],
        ),
        (
            "webhooks/0/reinvocationPolicy",
            "X",
            [("webhooks[0].reinvocationPolicy", 'Unsupported value: "X": supported values: "IfNeeded", "Never"')],
        ),
        (
            "webhooks/0/clientConfig/service/name",
            "",
            [("webhooks[0].clientConfig.service.namespace", "Required value")],
        ),
        (
            "webhooks/0/admissionReviewVersions",
            ["v2", "v2"],
            [
                ("webhooks[0].admissionReviewVersions[1]", 'Invalid value: "v2": duplicate version'),
                (
                    "webhooks[0].admissionReviewVersions",
                    'Invalid value: ["v2","v2"]: must include at least one of v1, v1beta1',
                ),
            ],
        ),
        (
            "webhooks/0/matchConditions",
            [{"name": "m", "expression": " "}, {"name": "m", "expression": "true"}],
            [
                ("webhooks[0].matchConditions[0].expression", "Required value"),
                ("webhooks[0].matchConditions[1].name", 'Duplicate value: "m"'),
            ],
        ),
        ("webhooks", [HOOK, HOOK], [("webhooks[1].name", 'Duplicate value: "a.example.com"')]),
    ],
)
def test_what_is_refused(place: str, value: Any, expected: Told) -> None:
    assert created(MUTATING, changed(GOOD, place, value)) == expected


def test_what_was_odd_may_stay_odd() -> None:
    odd = {"webhooks": [{**HOOK, "sideEffects": "Some", "admissionReviewVersions": ["v2"]}] * 2}
    assert updated(VALIDATING, odd, odd) == []
    assert len(updated(VALIDATING, GOOD, odd)) == 5


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("https://example.com/a", []),
        ("https://[::1]:443", []),
        ("http://example.com", [f"Invalid value: \"http\": 'https' is the only allowed URL scheme{FORM}"]),
        ("https:///a", [f'Invalid value: "": host must be specified{FORM}']),
        ("https://u:p@example.com", ['Invalid value: "u:p": user information is not permitted in the URL']),
        ("https://example.com#f", ['Invalid value: "f": fragments are not permitted in the URL']),
        ("https://example.com?q=1", ['Invalid value: "q=1": query parameters are not permitted in the URL']),
        (
            "https://example.com:x",
            [
                (
                    'Required value: url must be a valid URL: parse "https://example.com:x": '
                    f'invalid port ":x" after host{FORM}'
                )
            ],
        ),
        (":x", [f'Required value: url must be a valid URL: parse ":x": missing protocol scheme{FORM}']),
    ],
)
def test_urls(url: str, said: list[str]) -> None:
    assert [cause.message for cause in webhook_client_validation.url(url, "url")] == said


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("", []),
        ("/", []),
        ("/a/b/", []),
        ("//", ["segment[0] may not be empty"]),
        ("a", ["must start with a '/'", "segment[0] may not be empty"]),
        ("/a//b", ["segment[1] may not be empty"]),
        ("/a/B", [f"segment[1]: {SUBDOMAIN}"]),
    ],
)
def test_paths_of_services(path: str, said: list[str]) -> None:
    causes = webhook_client_validation.service({"name": "s", "namespace": "n", "port": 443, "path": path}, "service")
    assert len(causes) == len(said)
    for cause, part in zip(causes, said, strict=True):
        assert cause.message.startswith(f'Invalid value: "{path}": {part}')
