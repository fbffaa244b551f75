"""Every operation of the OpenAPI documents, called by schemathesis with arguments that fit and that don't."""

from __future__ import annotations

from typing import Any

import hypothesis
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis import Case, GenerationMode

from oarlock.cluster.objects import resources

pytestmark = [pytest.mark.thorough, pytest.mark.timeout(300)]

GROUPS = sorted({f"apis/{one.api_version}" if one.group else f"api/{one.version}" for one in resources.RESOURCES})
EXAMPLES = 8
_WITH_BODIES = frozenset({"post", "put", "patch", "delete"})


def called(target: Any, session: requests.Session, operation: Any, mode: GenerationMode) -> int:
    """Call an operation with generated arguments and check each answer; return how many calls were made."""
    calls = 0

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @hypothesis.given(case=operation.as_strategy(generation_mode=mode))
    def run(case: Case) -> None:
        nonlocal calls
        # A watch would last as long as its client likes.
        case.query = {**(case.query or {}), "timeoutSeconds": "1"} if "watch" in (case.query or {}) else case.query
        answer = case.call(base_url=target.url, session=session, timeout=20)
        target.check(answer.status_code, answer.headers.get("Content-Type", [""])[0], answer.content)
        calls += 1

    run()
    return calls


@pytest.mark.parametrize("group", GROUPS)
def test_no_operation_fails(target: Any, group: str) -> None:
    with requests.Session() as session:
        session.trust_env = False
        listed = session.get(f"{target.url}/openapi/v3", timeout=20).json()["paths"]
        document = session.get(target.url + listed[group]["serverRelativeURL"], timeout=20).json()
        operations = [found.ok() for found in schemathesis.openapi.from_dict(document).get_all_operations()]
        assert operations
        for operation in operations:
            assert called(target, session, operation, GenerationMode.POSITIVE), operation.label
            # Bodies that don't fit take minutes to generate from schemas this large; test_requests.py breaks those.
            if operation.method not in _WITH_BODIES:
                called(target, session, operation, GenerationMode.NEGATIVE)
