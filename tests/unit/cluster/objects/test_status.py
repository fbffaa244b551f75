"""Status objects read as upstream's do."""

from __future__ import annotations

import pytest

from oarlock.cluster.objects import status
from oarlock.cluster.objects.status import ApiError, Cause


@pytest.mark.parametrize(
    ("error", "code", "reason", "message"),
    [
        (status.not_found("deployments.apps", "web"), 404, "NotFound", 'deployments.apps "web" not found'),
        (status.already_exists("pods", "a"), 409, "AlreadyExists", 'pods "a" already exists'),
        (
            status.conflict("configmaps", "c"),
            409,
            "Conflict",
            f'Operation cannot be fulfilled on configmaps "c": {status.MODIFIED}',
        ),
        (status.forbidden("pods", "", "no"), 403, "Forbidden", "pods is forbidden: no"),
        (status.forbidden("", "", "no"), 403, "Forbidden", "forbidden: no"),
        (status.too_large(3145728), 413, "RequestEntityTooLarge", "Request entity is too large: limit is 3145728"),
        (status.internal("boom"), 500, "InternalError", "Internal error occurred: boom"),
        (status.timeout("slow", 1), 504, "Timeout", "Timeout: slow"),
    ],
)
def test_wording(error: ApiError, code: int, reason: str, message: str) -> None:
    assert (error.code, error.reason, error.message) == (code, reason, message)


def test_details_name_group_and_kind() -> None:
    body = status.not_found("deployments.apps", "web").status()
    assert body["details"] == {"name": "web", "group": "apps", "kind": "deployments"}
    assert (body["kind"], body["status"], body["code"]) == ("Status", "Failure", 404)


def test_one_cause_stands_alone_and_several_in_brackets() -> None:
    first, second = (
        Cause("FieldValueRequired", "Required value", "a"),
        Cause("FieldValueInvalid", "Invalid value: 1", "b"),
    )
    assert status.invalid("Pod", "", "p", [first]).message == 'Pod "p" is invalid: a: Required value'
    both = status.invalid("Job", "batch", "j", [first, second])
    assert both.message == 'Job.batch "j" is invalid: [a: Required value, b: Invalid value: 1]'
    assert [cause["field"] for cause in both.status()["details"]["causes"]] == ["a", "b"]


def test_equal_causes_are_said_once_and_listed_twice() -> None:
    cause = Cause("FieldValueForbidden", "Forbidden: no", "x")
    error = status.invalid("Pod", "", "p", [cause, cause])
    assert error.message == 'Pod "p" is invalid: x: Forbidden: no'
    assert len(error.status()["details"]["causes"]) == 2


def test_retry_after_is_a_header_and_a_detail() -> None:
    error = status.too_many_requests("later", 3)
    assert error.headers == {"Retry-After": "3"}
    assert error.status()["details"]["retryAfterSeconds"] == 3


def test_apply_conflicts_name_the_managers() -> None:
    one = status.apply_conflict([('"m1"', ".data.b")])
    assert one.message == 'Apply failed with 1 conflict: conflict with "m1": .data.b'
    two = status.apply_conflict([('"m1"', ".data.a"), ('"m1"', ".data.b")])
    assert two.message == 'Apply failed with 2 conflicts: conflicts with "m1":\n- .data.a\n- .data.b'


def test_an_error_survives_the_wire() -> None:
    error = status.conflict("pods", "p")
    again = ApiError.from_status(error.status())
    assert again.status() == error.status()
