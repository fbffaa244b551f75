"""ConversionReviews: what a conversion webhook is asked, and what of its answer is believed.

Source: apiextensions `pkg/apiserver/conversion/webhook_converter.go`, whose sentences clients and people know.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

from oarlock.cluster.objects import jsontext, metadata_validation
from oarlock.cluster.objects.gotext import quote
from oarlock.cluster.objects.json_types import go_type
from oarlock.cluster.objects.status import Cause

Obj = dict[str, Any]
GROUP: Final = "apiextensions.k8s.io"
_KIND: Final = "ConversionReview"
_KNOWN: Final = ("v1", "v1beta1")
#: What of the metadata a webhook may change, and how validation calls it.
_OPEN: Final = (
    ("labels", "metadata.labels", metadata_validation.labels),
    ("annotations", "metadata.annotation", metadata_validation.annotations),
)

CALL: Final = "conversion_webhook_call_failure"
MALFORMED: Final = "conversion_webhook_malformed_response_failure"
PARTIAL: Final = "conversion_webhook_partial_response_failure"
INVALID: Final = "conversion_webhook_invalid_converted_object_failure"


class Failed(Exception):
    """Objects could not be converted: the sentence that says why, and the kind of failure that is counted."""

    def __init__(self, message: str, failure: str) -> None:
        super().__init__(message)
        self.failure = failure


def version_of(understood: Sequence[str]) -> str:
    """The first version that both sides understand. Raises Failed."""
    found = next((one for one in understood if one in _KNOWN), None)
    if found is None:
        raise Failed("no supported conversion review versions", CALL)
    return found


def request(version: str, uid: str, objects: Sequence[bytes], desired: str) -> bytes:
    """The review that asks for objects, given as JSON, in the form of the API version `desired`."""
    fragments = [orjson.Fragment(one) for one in objects]
    return orjson.dumps(
        {
            "kind": _KIND,
            "apiVersion": f"{GROUP}/{version}",
            "request": {"uid": uid, "desiredAPIVersion": desired, "objects": fragments},
        }
    )


def subject(obj: Mapping[str, Any]) -> str:
    """How failures call an object: by its kind, `example.com/v1, Kind=Widget`."""
    return f"{obj['apiVersion']}, Kind={obj['kind']}"


def converted(version: str, uid: str, answer: bytes, originals: Sequence[Obj], desired: str) -> list[Obj]:
    """The objects of an answer in their order, with the metadata that only the server keeps. Raises Failed."""
    told = f"conversion webhook for {subject(originals[0])}"
    try:
        objects = _objects(version, uid, answer)
    except ValueError as error:
        raise Failed(f"{told} failed: {error}", MALFORMED) from None
    if len(objects) != len(originals):
        raise Failed(f"{told} returned {len(objects)} objects, expected {len(originals)}", PARTIAL)
    return [_checked(index, *pair, desired) for index, pair in enumerate(zip(originals, objects, strict=True))]


def _objects(version: str, uid: str, answer: bytes) -> list[Any]:
    """What an answer holds. Raises ValueError, which says why it can't be used."""
    if not answer:
        raise ValueError("0-length response with status code: 200 and content type: application/json")
    try:
        review = orjson.loads(answer)
    except orjson.JSONDecodeError:
        raise ValueError(f"couldn't get version/kind; json parse error: {jsontext.error(answer)}") from None
    response = _response(version, review, answer)
    if version == "v1" and response.get("uid", "") != uid:
        raise ValueError(f"expected response.uid={quote(uid)}, got {quote(str(response.get('uid', '')))}")
    result = _mapping(response, "result")
    if result.get("status") != "Success":
        message, status = result.get("message"), result.get("status", "")
        raise ValueError(str(message) if message else f"response.result.status was '{status}', not 'Success'")
    objects = response.get("convertedObjects") or []
    if not isinstance(objects, list):
        raise ValueError("json: cannot unmarshal response.convertedObjects into a list")
    return objects


def _response(version: str, review: Any, answer: bytes) -> Mapping[str, Any]:
    if not isinstance(review, dict):
        raise ValueError(f"couldn't get version/kind; json parse error: json: cannot unmarshal {go_type(review)}")
    for name, told in (("kind", "Kind"), ("apiVersion", "apiVersion")):
        if not review.get(name):
            raise ValueError(f"Object '{told}' is missing in '{answer[:2048].decode(errors='replace')}'")
    if review["kind"] == "Status":
        raise ValueError(str(review.get("message") or "unknown"))
    wanted = (f"{GROUP}/{version}", _KIND)
    if (review["apiVersion"], review["kind"]) != wanted:
        got = f"{review['apiVersion']}, Kind={review['kind']}"
        raise ValueError(f"expected webhook response of {wanted[0]}, Kind={wanted[1]}, got {got}")
    if review.get("response") is None:
        raise ValueError("no response provided")
    return _mapping(review, "response")


def _mapping(holder: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = holder.get(name) or {}
    if not isinstance(found, dict):
        raise ValueError(f"json: cannot unmarshal {go_type(found)} into {name}")
    return found


def _checked(index: int, original: Obj, found: Any, desired: str) -> Obj:
    told = f"conversion webhook for {subject(original)} returned invalid"
    if not isinstance(found, dict) or not isinstance(found.get("kind"), str) or not found["kind"]:
        shown = orjson.dumps(found)[:2048].decode(errors="replace")
        raise Failed(f"Object 'Kind' is missing in '{shown}'", INVALID)
    got = found.get("apiVersion", "")
    if got != desired:
        why = f"invalid groupVersion (expected {desired}, received {got})"
        raise Failed(f"{told} object at index {index}: {why}", INVALID)
    if found["kind"] != original["kind"]:
        why = f"invalid kind (expected {original['kind']}, received {found['kind']})"
        raise Failed(f"{told} object at index {index}: {why}", INVALID)
    given = found.get("metadata")
    other = given if isinstance(given, dict) else {}
    for name, word in (("name", "name"), ("namespace", "namespace"), ("uid", "UID")):
        expected, received = original["metadata"].get(name) or "", other.get(name) or ""
        if expected != received:
            raise Failed(f"{told} object: must have the same {word}: {expected} != {received}", INVALID)
    try:
        metadata = _restored(original["metadata"], found)
    except ValueError as error:
        raise Failed(f"{told} metadata: {error}", INVALID) from None
    return {**found, "metadata": metadata}


def _restored(original: Obj, found: Obj) -> Obj:
    """The original's metadata with the labels and annotations of what came back. Raises ValueError."""
    if "metadata" not in found:
        raise ValueError("missing metadata in converted object")
    given = found["metadata"]
    if not isinstance(given, dict):
        raise ValueError(f"invalid metadata of type {go_type(given)} in converted object")
    kept = {name: value for name, value in original.items() if name not in ("labels", "annotations")}
    for name, path, judge in _OPEN:
        value = given.get(name)
        if value is None:
            continue
        if not isinstance(value, dict):
            raise ValueError(f"invalid metadata.{name} of type {go_type(value)} in converted object")
        for key, one in value.items():
            if not isinstance(one, str):
                why = f"must be a string, but is {go_type(one)} in converted object"
                raise ValueError(f"metadata.{name}[{key}] {why}")
        if value != original.get(name):
            _refuse(judge(value, path))
        kept[name] = value
    return kept


def _refuse(causes: Sequence[Cause]) -> None:
    lines = [f"{cause.field}: {cause.message}" for cause in causes]
    if lines:
        raise ValueError(lines[0] if len(lines) == 1 else f"[{', '.join(lines)}]")
