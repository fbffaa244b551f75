"""Questions of who may do what that can't be answered, and why."""

from __future__ import annotations

from typing import Any

import pytest
from harness.judging import Told, told

from oarlock.cluster.objects import review_validation

Obj = dict[str, Any]
ATTRIBUTES: Obj = {"namespace": "n", "verb": "get", "resource": "pods"}
EITHER = "exactly one of nonResourceAttributes or resourceAttributes must be specified"
SELECTOR = "spec.resourceAttributes.labelSelector"


@pytest.mark.parametrize(
    ("kind", "spec", "expected"),
    [
        ("SubjectAccessReview", {"resourceAttributes": ATTRIBUTES, "user": "u"}, []),
        ("SelfSubjectAccessReview", {"nonResourceAttributes": {"path": "/", "verb": "get"}}, []),
        ("LocalSubjectAccessReview", {"resourceAttributes": ATTRIBUTES, "groups": ["g"]}, []),
        (
            "SubjectAccessReview",
            {},
            [
                ("spec.resourceAttributes", f"Invalid value: null: {EITHER}"),
                ("spec.user", 'Invalid value: "": at least one of user or group must be specified'),
            ],
        ),
        (
            "SelfSubjectAccessReview",
            {"resourceAttributes": ATTRIBUTES, "nonResourceAttributes": {"path": "/"}},
            [
                (
                    "spec.nonResourceAttributes",
                    'Invalid value: {"Path":"/","Verb":""}: cannot be specified in combination with resourceAttributes',
                )
            ],
        ),
        (
            "LocalSubjectAccessReview",
            {"resourceAttributes": {**ATTRIBUTES, "namespace": "m"}, "user": "u"},
            [("spec.resourceAttributes.namespace", 'Invalid value: "m": must match metadata.namespace')],
        ),
        (
            "LocalSubjectAccessReview",
            {"nonResourceAttributes": {"path": "/"}, "user": "u"},
            [
                (
                    "spec.nonResourceAttributes",
                    'Invalid value: {"Path":"/","Verb":""}: disallowed on this kind of request',
                )
            ],
        ),
        (
            "SelfSubjectAccessReview",
            {"resourceAttributes": {**ATTRIBUTES, "labelSelector": {}}},
            [
                (
                    f"{SELECTOR}.requirements",
                    f"Required value: when {SELECTOR} is specified, requirements or rawSelector is required",
                )
            ],
        ),
        (
            "SelfSubjectAccessReview",
            {"resourceAttributes": {**ATTRIBUTES, "fieldSelector": {"requirements": [{"operator": "In"}]}}},
            [
                ("spec.resourceAttributes.fieldSelector.requirements[0].key", "Required value: must be specified"),
                (
                    "spec.resourceAttributes.fieldSelector.requirements[0].values",
                    "Required value: must be specified when `operator` is 'In' or 'NotIn'",
                ),
            ],
        ),
    ],
)
def test_specs(kind: str, spec: Obj, expected: Told) -> None:
    metadata = {"namespace": "n"} if kind.startswith("Local") else {}
    assert told(review_validation.RULES[kind]({"metadata": metadata, "spec": spec})) == expected


def test_a_question_has_no_name() -> None:
    review = {"metadata": {"name": "x"}, "spec": {"resourceAttributes": ATTRIBUTES, "user": "u"}}
    for kind, said in (("SubjectAccessReview", "must be empty"), ("LocalSubjectAccessReview", "must be empty except")):
        [cause, *_] = review_validation.RULES[kind](review)
        assert cause.field == "metadata"
        assert said in cause.message
