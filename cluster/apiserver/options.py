"""The query options of writes and deletes, checked in upstream's words.

Source: apimachinery pkg/apis/meta/v1/validation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from oarlock.cluster.apiserver.exchange import Query
from oarlock.cluster.objects import decoding, status
from oarlock.cluster.objects.gotext import quote
from oarlock.cluster.objects.status import Cause

FIELD_MANAGER_BYTES_MAX = 128
_VALIDATIONS = ("Ignore", "Strict", "Warn")
_PROPAGATIONS = ("Foreground", "Background", "Orphan")


@dataclass(frozen=True, slots=True)
class WriteOptions:
    """CreateOptions, UpdateOptions or PatchOptions. `validation` is Ignore, Warn or Strict."""

    dry_run: bool = False
    validation: str = "Warn"
    field_manager: str = ""
    force: bool = False


@dataclass(frozen=True, slots=True)
class DeleteOptions:
    """What a deletion asks for; `propagation` "" leaves the choice to the kind, `grace_s` None too."""

    dry_run: bool = False
    propagation: str = ""
    grace_s: int | None = None
    uid: str | None = None
    resource_version: str | None = None


def unsupported(field: str, value: str, supported: tuple[str, ...]) -> Cause:
    """Return the cause for a value that is not among `supported`."""
    listed = ", ".join(map(quote, supported))
    return Cause("FieldValueNotSupported", f"Unsupported value: {quote(value)}: supported values: {listed}", field)


def write_options(kind: str, query: Query) -> WriteOptions:
    """Read the options of a write. Raises ApiError 422.

    `kind` is CreateOptions, UpdateOptions, PatchOptions, or ApplyOptions for a patch that is an apply.
    """
    causes = [unsupported("dryRun", value, ("All",)) for value in query.all("dryRun") if value != "All"]
    manager = query.get("fieldManager")
    if len(manager.encode()) > FIELD_MANAGER_BYTES_MAX:
        causes.append(
            Cause(
                "FieldValueTooLong", f"Too long: may not be more than {FIELD_MANAGER_BYTES_MAX} bytes", "fieldManager"
            )
        )
    validation = query.get("fieldValidation") or "Warn"
    if validation not in _VALIDATIONS:
        causes.append(unsupported("fieldValidation", validation, ("", *_VALIDATIONS)))
    if kind == "ApplyOptions":
        kind = "PatchOptions"
        if not manager:
            text = "Required value: is required for apply patch"
            causes.append(Cause("FieldValueRequired", text, "fieldManager"))
    elif kind == "PatchOptions" and query.has("force"):
        text = "Forbidden: may not be specified for non-apply patch"
        causes.append(Cause("FieldValueForbidden", text, "force"))
    if causes:
        raise status.invalid(kind, "meta.k8s.io", "", causes)
    return WriteOptions("All" in query.all("dryRun"), validation, manager, query.flag("force"))


def delete_options(query: Query, body: bytes, content_type: str) -> DeleteOptions:
    """Read a deletion's options: from the body if there is one, else from the query. Raises ApiError 400, 422."""
    given = _from_body(body, content_type) if body.strip() else _from_query(query)
    causes = [unsupported("dryRun", str(value), ("All",)) for value in given.get("dryRun") or () if value != "All"]
    propagation = given.get("propagationPolicy")
    if propagation is not None and propagation not in _PROPAGATIONS:
        causes.append(unsupported("propagationPolicy", str(propagation), (*_PROPAGATIONS, "nil")))
    if propagation and given.get("orphanDependents") is not None:
        text = 'Invalid value: "{}": orphanDependents and deletionPropagation cannot be both set'
        causes.append(Cause("FieldValueInvalid", text.format(propagation), "propagationPolicy"))
    if causes:
        raise status.invalid("DeleteOptions", "meta.k8s.io", "", causes)
    if given.get("orphanDependents") is not None and not propagation:
        propagation = "Orphan" if given["orphanDependents"] else "Background"
    preconditions = given.get("preconditions") or {}
    return DeleteOptions(
        dry_run="All" in (given.get("dryRun") or ()),
        propagation=propagation or "",
        grace_s=given.get("gracePeriodSeconds"),
        uid=preconditions.get("uid"),
        resource_version=preconditions.get("resourceVersion"),
    )


def _from_body(body: bytes, content_type: str) -> Mapping[str, Any]:
    media_type = content_type.partition(";")[0].strip() or decoding.JSON
    if media_type == decoding.JSON:
        try:
            document = orjson.loads(body)
        except orjson.JSONDecodeError as error:
            raise status.bad_request(f"couldn't get version/kind; json parse error: {error.msg}") from None
        if isinstance(document, dict) and not document.get("kind"):
            body = orjson.dumps({**document, "kind": "DeleteOptions", "apiVersion": "v1"})
    return decoding.decode_kind("", "v1", "DeleteOptions", body, media_type).object


def _from_query(query: Query) -> Mapping[str, Any]:
    given: dict[str, Any] = {"dryRun": query.all("dryRun")}
    if query.has("propagationPolicy"):
        given["propagationPolicy"] = query.get("propagationPolicy")
    if query.has("orphanDependents"):
        given["orphanDependents"] = query.flag("orphanDependents")
    if query.has("gracePeriodSeconds"):
        given["gracePeriodSeconds"] = whole_number(query, "gracePeriodSeconds")
    return given


def whole_number(query: Query, name: str, default: int = 0) -> int:
    """Return a 64-bit integer parameter; absent or empty is `default`. Raises ApiError 400 as Go words it."""
    text = query.get(name)
    if not text:
        return default
    try:
        return int(text) if text.lstrip("+-").isdecimal() and text.isascii() else _not_a_number(text)
    except ValueError:
        return _not_a_number(text)


def _not_a_number(text: str) -> int:
    raise status.bad_request(f"strconv.ParseInt: parsing {quote(text)}: invalid syntax")
