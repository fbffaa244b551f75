"""API failures as Kubernetes' Status objects, worded as upstream words them.

Source: apimachinery `api/errors` and `util/validation/field`; the answers are the contract clients match on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from oarlock.cluster.objects.gotext import quote


@dataclass(frozen=True, slots=True)
class Cause:
    """One reason why an object was refused: `reason` as upstream names it (FieldValueRequired, …), at path `field`."""

    reason: str
    message: str
    field: str

    def as_dict(self) -> dict[str, str]:
        """The cause as it stands in `details.causes`; empty parts are left out."""
        parts = {"reason": self.reason, "message": self.message, "field": self.field}
        return {key: value for key, value in parts.items() if value}


class ApiError(Exception):
    """A request was refused; carries everything of the Status object that answers it."""

    def __init__(
        self,
        code: int,
        reason: str,
        message: str,
        details: dict[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.details = details
        self.headers: Mapping[str, str] = headers or {}
        self.metadata: Mapping[str, str] = metadata or {}

    def status(self) -> dict[str, Any]:
        """The Status object, in upstream's field order; `reason` and `details` only where upstream has them."""
        body: dict[str, Any] = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": dict(self.metadata),
            "status": "Failure",
            "message": self.message,
        }
        if self.reason:
            body["reason"] = self.reason
        if self.details is not None:
            body["details"] = self.details
        body["code"] = self.code
        return body

    @classmethod
    def from_status(cls, body: Mapping[str, Any]) -> ApiError:
        """The error that a Status answer describes (the client's direction)."""
        return cls(
            int(body.get("code") or 500),
            str(body.get("reason") or ""),
            str(body.get("message") or ""),
            body.get("details"),
        )


def split_qualified(qualified: str) -> tuple[str, str]:
    """`deployments.apps` → (`deployments`, `apps`); core resources have no group."""
    name, _, group = qualified.partition(".")
    return name, group


def details_of(name: str, group: str, kind: str, **more: object) -> dict[str, Any]:
    """Status details in upstream's order, without empty members."""
    parts: dict[str, Any] = {"name": name, "group": group, "kind": kind, **more}
    return {key: value for key, value in parts.items() if value}


def not_found(resource: str, name: str) -> ApiError:
    """404 for the object `name` of a qualified resource such as `deployments.apps`."""
    plural, group = split_qualified(resource)
    return ApiError(404, "NotFound", f"{resource} {quote(name)} not found", details_of(name, group, plural))


def path_not_found() -> ApiError:
    """404 for a path that no resource serves."""
    return ApiError(404, "NotFound", "the server could not find the requested resource", {})


def already_exists(resource: str, name: str) -> ApiError:
    """409 for a create of a name that is taken."""
    plural, group = split_qualified(resource)
    return ApiError(409, "AlreadyExists", f"{resource} {quote(name)} already exists", details_of(name, group, plural))


MODIFIED = "the object has been modified; please apply your changes to the latest version and try again"


def conflict(resource: str, name: str, why: str = MODIFIED) -> ApiError:
    """409 for a write whose precondition (by default: the resource version) does not hold."""
    plural, group = split_qualified(resource)
    message = f"Operation cannot be fulfilled on {resource} {quote(name)}: {why}"
    return ApiError(409, "Conflict", message, details_of(name, group, plural))


def apply_conflict(conflicts: Sequence[tuple[str, str]]) -> ApiError:
    """409 for a server-side apply; `conflicts` are (manager description, field path) pairs."""
    causes = [Cause("FieldManagerConflict", f"conflict with {manager}", path) for manager, path in conflicts]
    noun = "conflict" if len(causes) == 1 else "conflicts"
    listed = "; ".join(f"{cause.message}: {cause.field}" for cause in causes)
    if len(causes) > 1:
        listed = "conflicts " + _grouped(conflicts)
    message = f"Apply failed with {len(causes)} {noun}: {listed}"
    return ApiError(409, "Conflict", message, {"causes": [cause.as_dict() for cause in causes]})


def _grouped(conflicts: Sequence[tuple[str, str]]) -> str:
    by_manager: dict[str, list[str]] = {}
    for manager, path in conflicts:
        by_manager.setdefault(manager, []).append(path)
    blocks = [f"with {manager}:\n" + "\n".join(f"- {path}" for path in paths) for manager, paths in by_manager.items()]
    return "\nconflicts ".join(blocks)


def bad_request(message: str) -> ApiError:
    """400 with the parser's or the checker's words."""
    return ApiError(400, "BadRequest", message)


def invalid(kind: str, group: str, name: str, causes: Iterable[Cause]) -> ApiError:
    """422 that lists every cause; equal messages are said once, as upstream's aggregate does."""
    listed = list(causes)
    lines = list(dict.fromkeys(f"{cause.field}: {cause.message}" for cause in listed))
    text = lines[0] if len(lines) == 1 else "[" + ", ".join(lines) + "]"
    qualified = f"{kind}.{group}" if group else kind
    details = details_of(name, group, kind, causes=[cause.as_dict() for cause in listed])
    return ApiError(422, "Invalid", f"{qualified} {quote(name)} is invalid: {text}", details)


def rejected() -> ApiError:
    """422 for a JSON patch that does not fit the object."""
    return ApiError(422, "Invalid", "the server rejected our request due to an error in our request", {})


def forbidden(resource: str, name: str, why: str) -> ApiError:
    """403; `resource` may be empty for paths that are no resources, `name` for lists and creates."""
    plural, group = split_qualified(resource)
    if not resource:
        message = f"forbidden: {why}"
    elif not name:
        message = f"{resource} is forbidden: {why}"
    else:
        message = f"{resource} {quote(name)} is forbidden: {why}"
    return ApiError(403, "Forbidden", message, details_of(name, group, plural))


def unauthorized(message: str = "Unauthorized") -> ApiError:
    """401: no or unusable credentials."""
    return ApiError(401, "Unauthorized", message)


def method_not_allowed() -> ApiError:
    """405 for a verb that the resource does not have."""
    return ApiError(405, "MethodNotAllowed", "the server does not allow this method on the requested resource", {})


def unsupported_media_type(accepted: Sequence[str]) -> ApiError:
    """415 for a body (or patch) in a format that is not among `accepted`."""
    message = f"the body of the request was in an unknown format - accepted media types include: {', '.join(accepted)}"
    return ApiError(415, "UnsupportedMediaType", message)


def not_acceptable(accepted: Sequence[str]) -> ApiError:
    """406 for an Accept header that none of `accepted` meets."""
    message = f"only the following media types are accepted: {', '.join(accepted)}"
    return ApiError(406, "NotAcceptable", message)


def no_representation(available: Sequence[str]) -> ApiError:
    """406 before routing: none of the `available` representations is asked for."""
    message = f"406: Not Acceptable\n\nAvailable representations: {', '.join(available)}"
    return ApiError(406, "NotAcceptable", message, {})


def gone(message: str) -> ApiError:
    """410 for something that will not come back."""
    return ApiError(410, "Gone", message)


def expired(message: str, token: str = "") -> ApiError:
    """410 for a resource version or continue token that is too old; `token` continues the list all the same."""
    return ApiError(410, "Expired", message, metadata={"continue": token} if token else None)


def too_large(limit_bytes: int) -> ApiError:
    """413 for a body above the limit."""
    message = f"Request entity is too large: limit is {limit_bytes}"
    return ApiError(413, "RequestEntityTooLarge", message)


def timeout(message: str, retry_after_s: int = 0) -> ApiError:
    """504: the server gave up within the time the request has."""
    details = {"retryAfterSeconds": retry_after_s} if retry_after_s else {}
    return ApiError(504, "Timeout", f"Timeout: {message}", details, _retry_after(retry_after_s))


def version_too_large(asked: int, current: int) -> ApiError:
    """504 for a resource version that this server has not reached in time."""
    message = f"Timeout: Too large resource version: {asked}, current: {current}"
    cause = {"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}
    return ApiError(504, "Timeout", message, {"causes": [cause], "retryAfterSeconds": 1}, _retry_after(1))


def server_timeout(resource: str, operation: str, retry_after_s: int = 0) -> ApiError:
    """500 ServerTimeout: the operation could not be completed now and may be tried again."""
    plural, group = split_qualified(resource)
    message = f"The {operation} operation against {resource} could not be completed at this time, please try again."
    details = details_of("", group, plural, retryAfterSeconds=retry_after_s)
    return ApiError(500, "ServerTimeout", message, details, _retry_after(retry_after_s))


def too_many_requests(message: str, retry_after_s: int = 1) -> ApiError:
    """429 with Retry-After."""
    return ApiError(429, "TooManyRequests", message, {"retryAfterSeconds": retry_after_s}, _retry_after(retry_after_s))


def unavailable(message: str, retry_after_s: int = 1) -> ApiError:
    """503: a part this server needs does not answer."""
    return ApiError(
        503, "ServiceUnavailable", message, {"retryAfterSeconds": retry_after_s}, _retry_after(retry_after_s)
    )


def internal(message: str) -> ApiError:
    """500; `message` must say what failed without a traceback or a secret."""
    return ApiError(500, "InternalError", f"Internal error occurred: {message}", {"causes": [{"message": message}]})


def unreasoned(message: str) -> ApiError:
    """500 in the form upstream gives errors it has no reason for: message only."""
    return ApiError(500, "", message)


def _retry_after(seconds: int) -> Mapping[str, str]:
    return {"Retry-After": str(seconds)} if seconds else {}
