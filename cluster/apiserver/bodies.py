"""Request bodies as objects, with field validation. Source: KEP-2885."""

from __future__ import annotations

from typing import Any

from oarlock.cluster.apiserver.call import Call
from oarlock.cluster.apiserver.options import WriteOptions
from oarlock.cluster.objects import decoding, status


async def read_object(call: Call, options: WriteOptions) -> dict[str, Any]:
    """Return the object of the call's resource that the body holds. Raises ApiError 400, 413, 415."""
    raw = await call.request.read()
    found = decoding.decode(call.resource, raw, call.content_type)
    check_fields(call, options, found)
    return found.object


async def read_kind(call: Call, options: WriteOptions, group: str, version: str, kind: str) -> dict[str, Any]:
    """The same for a kind that is not the resource's: Scale, Binding, Eviction, …"""
    raw = await call.request.read()
    found = decoding.decode_kind(group, version, kind, raw, call.content_type)
    check_fields(call, options, found)
    return found.object


def check_fields(call: Call, options: WriteOptions, found: decoding.Decoded) -> None:
    """Refuse, warn of or pass over what strict decoding complains of, as the options say."""
    if not found.unknown and not found.duplicates:
        return
    if options.validation == "Strict":
        raise decoding.strict_error(call.resource.kind, call.resource.version, found.complaints())
    if options.validation == "Warn":
        call.warn(found.complaints())


def check_scope(call: Call, obj: dict[str, Any]) -> None:
    """Give the object the URL's namespace; refuse another one. Raises ApiError 400."""
    metadata = obj["metadata"]
    given = metadata.get("namespace") or ""
    if not call.resource.namespaced:
        if given:
            metadata.pop("namespace")
        return
    if given and given != call.namespace:
        raise status.bad_request(
            f"the namespace of the provided object does not match the namespace sent on the request ({call.namespace})"
            if not call.namespace
            else "the namespace of the provided object does not match the namespace sent on the request"
        )
    metadata["namespace"] = call.namespace


def check_name(call: Call, obj: dict[str, Any]) -> None:
    """Refuse a body whose name is not the URL's. Raises ApiError 400."""
    given = obj["metadata"].get("name") or ""
    if not given:
        why = f"the name of the object ({call.info.name} based on URL) was undeterminable: name must be provided"
        raise status.bad_request(why)
    if given != call.info.name:
        raise status.bad_request(
            f"the name of the object ({given}) does not match the name on the URL ({call.info.name})"
        )
