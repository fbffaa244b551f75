"""A patch request as a function from object to object. Source: apiserver pkg/endpoints/handlers/patch.go."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from oarlock.cluster.apiserver.bodies import check_fields, check_name
from oarlock.cluster.apiserver.call import Call
from oarlock.cluster.apiserver.options import WriteOptions
from oarlock.cluster.objects import decoding, gotext, jsontext, patches, retired_versions, schemas, status, strategic
from oarlock.cluster.objects.apply import ownership
from oarlock.cluster.objects.conforming import count_members

Obj = dict[str, Any]
JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_MERGE_PATCH = "application/strategic-merge-patch+json"
ACCEPTED = (JSON_PATCH, MERGE_PATCH, STRATEGIC_MERGE_PATCH, "application/apply-patch+yaml")
ACCEPTED_OF_CUSTOM = (JSON_PATCH, MERGE_PATCH, "application/apply-patch+yaml")
"""Custom kinds have no strategic merge."""


def media_type(call: Call) -> str:
    """Return the kind of patch that the body is said to be."""
    return call.content_type.partition(";")[0].strip()


class Patch:
    """A decoded patch; `apply` may be called for as many versions of the object as it takes.

    Raises ApiError 415 for another content type and 400 for a body that can't be parsed.
    """

    def __init__(self, call: Call, options: WriteOptions, raw: bytes) -> None:
        self._call = call
        self._options = options
        self._type = media_type(call)
        accepted = ACCEPTED if call.resource.custom is None else ACCEPTED_OF_CUSTOM
        if self._type not in accepted:
            raise status.unsupported_media_type(accepted)
        self._patch = _parse(raw)
        looked_for = options.validation != "Ignore" and isinstance(self._patch, dict)
        self._duplicates = decoding.duplicate_keys(raw, count_members(self._patch)) if looked_for else []
        self._found: decoding.Decoded | None = None
        self._leaves_owners = not _mentions(self._patch, "managedFields")

    def apply(self, current: Obj, group: str | None = None, version: str = "", kind: str = "") -> Obj:
        """Return `current` patched and in canonical form. The kind is the call's resource's unless given."""
        stored = decoding.parts_of(self._call.resource, current) if group is None else {}
        if self._type == JSON_PATCH:
            patched = patches.json_patch(current, self._patch)
        elif self._type == MERGE_PATCH:
            patched = patches.merge_patch(current, self._patch)
        else:
            patched = strategic.strategic_merge(current, self._patch, self._schema(group, version, kind))
        if not isinstance(patched, dict):
            raise status.rejected()
        owners = self._owners_left_alone(patched)
        try:
            conformed = self._conformed(ownership.apart(patched) if owners else patched, stored, group, version, kind)
        except decoding.Unhandled as error:
            raise self._misfit(patched, error.why) from None
        self._found = decoding.Decoded(conformed.object, conformed.unknown, self._duplicates)
        if self._options.validation == "Strict" and (complaints := self._found.complaints()):
            raise self._misfit(patched, decoding.strict_text(complaints))
        self._check_identity(conformed.object)
        if owners:
            conformed.object["metadata"]["managedFields"] = owners
        return conformed.object

    def _owners_left_alone(self, patched: Obj) -> object:
        """Return the managedFields if the patch hasn't touched them: they are in canonical form."""
        metadata = patched.get("metadata")
        return metadata.get("managedFields") if self._leaves_owners and isinstance(metadata, dict) else None

    def _conformed(
        self, patched: Obj, stored: Mapping[str, bytes], group: str | None, version: str, kind: str
    ) -> decoding.Conformed:
        if group is not None:
            return decoding.conform(self._schema(group, version, kind), group, version, kind, patched)
        resource = self._call.resource
        if resource.custom is not None or self._type == STRATEGIC_MERGE_PATCH:
            return decoding.conform_changed(resource, patched, stored)  # what it calls itself is passed over
        decoding.check_patched(resource.group, resource.version, resource.kind, patched)
        conformed = decoding.conform_changed(resource, patched, stored)
        retired_versions.default(conformed.object, patched.get("apiVersion") or resource.api_version)
        return conformed

    def _misfit(self, patched: Obj, why: str) -> status.ApiError:
        """The 422 for a result that is no object of the kind: it shows the result, or else a strategic patch."""
        if self._type == STRATEGIC_MERGE_PATCH:
            shown = gotext.value(self._patch)
        else:
            shown = orjson.dumps(patched, option=orjson.OPT_SORT_KEYS).decode()
        cause = status.Cause("FieldValueInvalid", f"Invalid value: {gotext.quote(shown)}: {why}", "patch")
        return status.invalid("", "", "", [cause])

    def _schema(self, group: str | None, version: str, kind: str) -> schemas.Schema:
        if group is None:
            return schemas.schema_for(self._call.resource)
        found = schemas.schema_of_kind(group, version, kind)
        assert found is not None
        return found

    def warn(self) -> None:
        """Send warnings of the unknown fields that the last application found."""
        if self._found is not None:
            check_fields(self._call, self._options, self._found)

    def _check_identity(self, obj: Obj) -> None:
        metadata = obj["metadata"]
        check_name(self._call, obj)
        if not self._call.resource.namespaced:
            return
        if (metadata.get("namespace") or self._call.namespace) != self._call.namespace:
            raise status.bad_request(
                "the namespace of the provided object does not match the namespace sent on the request"
            )
        metadata["namespace"] = self._call.namespace


def _mentions(patch: Any, word: str) -> bool:
    """Whether a word may stand anywhere in a patch."""
    try:
        return word.encode() in orjson.dumps(patch)
    except orjson.JSONEncodeError:  # a number that is too large, or what is nested too deeply
        return True


def _parse(raw: bytes) -> Any:
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError:
        raise patches.bad_patch(jsontext.error(raw)) from None
