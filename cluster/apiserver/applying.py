"""Who makes a write, what fields it comes to own, and server-side apply as a function from object to object.

Source: apiserver pkg/endpoints/handlers (patch.go, create.go), apimachinery pkg/util/managedfields.
"""

from __future__ import annotations

from typing import Any, TypeVar

from oarlock.cluster.apiserver import clock
from oarlock.cluster.apiserver.call import Call
from oarlock.cluster.apiserver.forms import Forms
from oarlock.cluster.apiserver.options import WriteOptions
from oarlock.cluster.objects import decoding, schemas, status, yamltext
from oarlock.cluster.objects.apply import clientside, fieldsets, ownership, shapes, skeleton
from oarlock.cluster.objects.apply.ownership import Entry, Manager
from oarlock.cluster.objects.apply.versions import Seen, Steps
from oarlock.cluster.objects.gotext import quote
from oarlock.cluster.objects.resources import Resource
from oarlock.cluster.objects.status import ApiError

Obj = dict[str, Any]
APPLY_PATCH = "application/apply-patch+yaml"
_NAME_BYTES_MAX = 128
_Outcome = TypeVar("_Outcome")
#: Writes that upstream doesn't track: the scheduler's choice of a node belongs to nobody.
_UNTRACKED = frozenset({"binding"})


def manager_of(call: Call, now: clock.Clock) -> Manager:
    """Return who writes: the fieldManager parameter, else what the User-Agent says before its first slash."""
    name = call.request.query.get("fieldManager")
    if not name:
        agent = call.request.headers.get("User-Agent", "").partition("/")[0]
        name = "".join(letter for letter in agent if letter.isprintable())[:_NAME_BYTES_MAX] or "unknown"
    return Manager(name, call.resource.api_version, clock.text(now()), call.info.subresource)


def created(call: Call, obj: Obj, given: object, now: clock.Clock) -> list[Entry]:
    """Return the managedFields of a new, defaulted object. `given` are those that its creator sent along."""
    entries = ownership.present((), given)
    return ownership.updated(
        schemas.schema_for(call.resource), entries, skeleton.of(call.resource), obj, manager_of(call, now)
    )


async def updated(
    call: Call, old: Obj, new: Obj, given: object, part: str, forms: Forms, now: clock.Clock
) -> list[Entry]:
    """Return the managedFields after a write of `new` over `old`; a subresource's writer can't send its own."""
    live: list[Entry] = old["metadata"].get("managedFields") or []
    if part in _UNTRACKED:
        return live
    entries = live if part else ownership.present(live, given)
    schema, manager = schemas.schema_for(call.resource), manager_of(call, now)
    if call.resource.custom is None:
        return ownership.updated(schema, entries, old, new, manager)
    try:
        return await _taken(ownership.updating(schema, entries, old, new, manager, apart=True), call.resource, forms)
    except ApiError:
        # Who wrote in another version can't be compared with. Upstream forgets all owners then; none is forgotten here.
        own = [one for one in entries if one.get("apiVersion", "") == manager.api_version]
        others = [one for one in entries if one not in own]
        return [*others, *ownership.updated(schema, own, old, new, manager)]


async def _taken(steps: Steps[_Outcome], resource: Resource, forms: Forms) -> _Outcome:
    """Take steps that may ask for objects in other versions. Raises ApiError, and what the steps raise."""
    custom = resource.custom
    assert custom is not None
    answer: Seen | None = None
    while True:
        try:
            wanted = steps.send(answer)
        except StopIteration as stop:
            outcome: _Outcome = stop.value
            return outcome
        group, _, version = wanted.api_version.rpartition("/")
        known = custom.versions.get(version) if group == resource.group else None
        answer = None
        if known is not None:
            answer = Seen(known.shape, await forms.in_version(custom, wanted.objects, wanted.api_version))


class Apply:
    """A decoded apply; `onto` may be called for as many versions of the object as it takes.

    Raises ApiError 400 for a body that is no object of the call's kind.
    """

    def __init__(self, call: Call, options: WriteOptions, raw: bytes, forms: Forms, now: clock.Clock) -> None:
        self._call = call
        self._forms = forms
        self._force = options.force
        self._manager = manager_of(call, now)
        self._schema = schemas.schema_for(call.resource)
        self._config = _decoded(call, options, raw)
        try:
            shapes.check(self._schema, self._config)
        except shapes.TypingError as error:
            raise status.unreasoned(
                f"failed to create typed patch object ({_title(call, self._config)}): {error}"
            ) from None

    @property
    def uid(self) -> str:
        """The uid that the applied object names, if any."""
        return self._config["metadata"].get("uid") or ""

    async def onto(self, live: Obj) -> tuple[Obj, list[Entry]]:
        """Return the object, without managedFields, and what they are after the apply.

        Raises ApiError 409 with every conflict.
        """
        stored = decoding.parts_of(self._call.resource, live)
        try:
            merged, tracked = await self._applied(live)
        except ownership.Conflicts as error:
            pairs = [(ownership.described(one.owner), fieldsets.text(one.path)) for one in error.found]
            raise status.apply_conflict(pairs) from None
        if self._manager.name == clientside.MANAGER and clientside.is_managed(merged):
            merged = clientside.annotated(merged, self._config)
        return decoding.conform_changed(self._call.resource, ownership.apart(merged), stored).object, tracked

    async def _applied(self, live: Obj) -> tuple[Obj, list[Entry]]:
        try:
            return await self._laid(live, force=self._force)
        except ownership.Conflicts as error:
            if self._manager.name != clientside.MANAGER or not clientside.is_managed(live):
                raise
            kept = clientside.kept(self._schema, live)
            standing = [one for one in error.found if one.path not in kept]
            if standing:
                raise ownership.Conflicts(standing) from None
        return await self._laid(live, force=True)

    async def _laid(self, live: Obj, *, force: bool) -> tuple[Obj, list[Entry]]:
        entries = (live.get("metadata") or {}).get("managedFields") or []
        given = (self._schema, entries, live, self._config, self._manager)
        if self._call.resource.custom is None:
            return ownership.applied(*given, force=force)
        steps = ownership.applying(*given, force=force, apart=True)
        return await _taken(steps, self._call.resource, self._forms)


def _decoded(call: Call, options: WriteOptions, raw: bytes) -> Obj:
    try:
        config, duplicates = yamltext.load(raw)
    except yamltext.YamlError as error:
        raise status.bad_request(f"error decoding YAML: {error}") from None
    if not isinstance(config, dict):
        raise status.bad_request("error decoding YAML: the body is no mapping")
    resource = call.resource
    version, kind = config.get("apiVersion") or "", config.get("kind") or ""
    if (version, kind) != (resource.api_version, resource.kind):
        group, _, number = str(version).rpartition("/")
        raise status.bad_request(f"invalid object type: {group}/{number}, Kind={kind}")
    complaints = [f"line {one.line}: key {quote(one.key)} already set in map" for one in duplicates]
    if complaints and options.validation == "Strict":
        listed = "".join(f"\n  {complaint}" for complaint in complaints)
        text = f"error strict decoding YAML: error converting YAML to JSON: yaml: unmarshal errors:{listed}"
        raise status.bad_request(text)
    if complaints and options.validation == "Warn":
        call.warn(complaints)
    metadata = config.setdefault("metadata", {})
    if not isinstance(metadata, dict):
        raise status.bad_request("metadata must be a mapping")
    if metadata.get("managedFields"):
        raise status.bad_request("metadata.managedFields must be nil")
    _identify(call, metadata)
    return config


def _identify(call: Call, metadata: Obj) -> None:
    """Give the applied object the URL's name and namespace; refuse others."""
    wanted = {"name": call.info.name, **({"namespace": call.namespace} if call.resource.namespaced else {})}
    for field, value in wanted.items():
        given = metadata.get(field)
        if given and given != value:
            text = (
                f"the name of the object ({given}) does not match the name on the URL ({value})"
                if field == "name"
                else "the namespace of the provided object does not match the namespace sent on the request"
            )
            raise status.bad_request(text)
        if field == "name":
            metadata[field] = value


def _title(call: Call, config: Obj) -> str:
    resource, metadata = call.resource, config["metadata"]
    return (
        f"{metadata.get('namespace', '')}/{metadata['name']}; {resource.group}/{resource.version}, Kind={resource.kind}"
    )
