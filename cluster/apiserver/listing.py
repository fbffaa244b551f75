"""get and list: linearizable by default, from the cache as it is on request, consistent over pages.

Source: KEP-2340 (consistent reads from cache), apiserver pkg/storage/cacher and its resourceVersionMatch rules.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

import orjson

from oarlock.cluster.apiserver import finding, options
from oarlock.cluster.apiserver.call import Call
from oarlock.cluster.apiserver.entries import Entry
from oarlock.cluster.apiserver.forms import REVIEW_OBJECTS_MAX, Forms
from oarlock.cluster.apiserver.rendering import Page
from oarlock.cluster.apiserver.selection import Selection, selection
from oarlock.cluster.apiserver.watchcache import WatchCache
from oarlock.cluster.objects import status
from oarlock.cluster.objects.gotext import quote
from oarlock.cluster.objects.status import Cause
from oarlock.consensus.model import Compacted, FutureRevision, Range, Store

REACH_TIMEOUT_S = 3.0
"""How long a read waits for a revision that the cache has yet to reach. Source: cacher's blockTimeout."""
PAGE_KEYS = 1000
_CONTINUE_VERSION = "meta.k8s.io/v1"
_WHATEVER = -1
"""The revision in a token that goes on with what there is now, since that of the first page is forgotten."""
_EXPIRED = "The resourceVersion for the provided list is too old."
_PAGE_EXPIRED = (
    "The provided continue parameter is too old to display a consistent list result. You can start a new list without "
    "the continue parameter, or use the continue token in this response to retrieve the remainder of the results. "
    "Continuing with the provided token results in an inconsistent list - objects that were created, modified, or "
    "deleted between the time the first chunk was returned and now may show up in the list."
)


@dataclass(frozen=True, slots=True)
class ListOptions:
    """A list's or watch's version options. `match` is "", Exact or NotOlderThan; `limit` 0 is no limit."""

    version: str
    match: str
    limit: int
    token: str


def parse_version(text: str) -> int:
    """Return a resourceVersion as a number. Raises ApiError 400."""
    if not text:
        return 0
    if text.isascii() and text.isdecimal():
        return int(text)
    raise status.bad_request(f"Invalid value: {quote(text)}: strconv.ParseUint: parsing {quote(text)}: invalid syntax")


def list_options(call: Call, *, watch: bool) -> ListOptions:
    """Read and check the options. Raises ApiError 400 and 422.

    Source: apimachinery pkg/apis/internalversion/validation.
    """
    query = call.request.query
    found = ListOptions(
        version=query.get("resourceVersion"),
        match=query.get("resourceVersionMatch"),
        limit=max(options.whole_number(query, "limit"), 0),
        token=query.get("continue"),
    )
    options.whole_number(query, "timeoutSeconds")
    initial = query.flag("sendInitialEvents") if query.has("sendInitialEvents") else None
    causes = _watch_causes(found, initial) if watch else _list_causes(found, initial)
    if causes:
        raise status.invalid("ListOptions", "meta.k8s.io", "", causes)
    return found


def _forbidden(field: str, why: str) -> Cause:
    return Cause("FieldValueForbidden", f"Forbidden: {why}", field)


def _list_causes(found: ListOptions, initial: bool | None) -> list[Cause]:
    causes = []
    if found.match:
        field = "resourceVersionMatch"
        if not found.version:
            causes.append(_forbidden(field, "resourceVersionMatch is forbidden unless resourceVersion is provided"))
        if found.token:
            causes.append(_forbidden(field, "resourceVersionMatch is forbidden when continue is provided"))
        if found.match not in ("Exact", "NotOlderThan"):
            causes.append(options.unsupported(field, found.match, ("Exact", "NotOlderThan", "")))
        elif found.match == "Exact" and found.version == "0":
            causes.append(_forbidden(field, 'resourceVersionMatch "exact" is forbidden for resourceVersion "0"'))
    if initial is not None:
        causes.append(_forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list"))
    return causes


def _watch_causes(found: ListOptions, initial: bool | None) -> list[Cause]:
    causes = []
    field = "resourceVersionMatch"
    if initial is not None and found.match != "NotOlderThan":
        causes.append(_forbidden(field, "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"))
    elif found.match and initial is None:
        causes.append(
            _forbidden(field, "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided")
        )
    if found.match and found.match != "NotOlderThan":
        causes.append(options.unsupported(field, found.match, ("NotOlderThan",)))
    if found.token:
        causes.append(_forbidden("continue", "continue is forbidden for watch"))
    return causes


async def settle(cache: WatchCache, version: str) -> None:
    """Wait until the cache is as new as a read at `version` asks for. Raises ApiError 504."""
    if version in ("", "0"):
        try:
            # Any version will do for "0", but not what the cache shows before its first load is done.
            await (cache.reach(cache.oldest_shown, REACH_TIMEOUT_S) if version == "0" else cache.fresh())
        except TimeoutError:
            raise status.timeout("the watch cache is behind the store", 1) from None
        return
    asked = parse_version(version)
    try:
        await cache.reach(asked, REACH_TIMEOUT_S)
    except TimeoutError:
        raise status.version_too_large(asked, cache.revision) from None


class Reader:
    """Answers get and list."""

    def __init__(self, store: Store, cache: WatchCache, forms: Forms) -> None:
        self._store = store
        self._cache = cache
        self._forms = forms

    async def get(self, call: Call) -> Entry:
        """Return the named object. Raises ApiError 404, 504."""
        await settle(self._cache, call.request.query.get("resourceVersion"))
        entry = self._cache.collection(call.resource.key_prefix).entries.get(call.key)
        if entry is None:
            raise status.not_found(call.resource.qualified, call.info.name)
        return await self._forms.one(call.resource, entry)

    async def page(self, call: Call) -> Page:
        """Return what a list selects. Raises ApiError 400, 410, 422, 504."""
        wanted = list_options(call, watch=False)
        chosen = selection(call)
        if wanted.token:
            start, revision = _read_token(wanted.token, chosen)
            if revision == _WHATEVER:
                await self._cache.fresh()
                revision = self._cache.revision
            try:
                return await self._past(chosen, start, revision, wanted.limit)
            except Compacted:
                raise status.expired(_PAGE_EXPIRED, _token(_WHATEVER, start, chosen)) from None
        exact = wanted.match == "Exact" or (not wanted.match and wanted.limit and wanted.version not in ("", "0"))
        if exact:
            try:
                return await self._past(chosen, chosen.start, parse_version(wanted.version), wanted.limit)
            except Compacted:
                raise status.expired(_EXPIRED) from None
        await settle(self._cache, wanted.version)
        return await self._present(chosen, wanted.limit)

    async def _present(self, chosen: Selection, limit: int) -> Page:
        collection = self._cache.collection(chosen.resource.key_prefix)
        candidates = await finding.candidates(collection, chosen)
        # Whatever has to be waited for from here on, the page is of this moment.
        revision = self._cache.revision
        total = collection.count(chosen.start, chosen.end) if limit and chosen.everything else 0
        entries, more = await self._take(candidates, chosen, limit)
        if not more:
            return Page(entries, revision)
        last = entries[-1].key + b"\0"
        return Page(entries, revision, _token(revision, last, chosen), total - limit if chosen.everything else None)

    async def _take(self, candidates: Iterable[Entry], chosen: Selection, limit: int) -> tuple[list[Entry], bool]:
        """Return the first `limit` matching entries (0: all), as they are shown, and whether there is another one.

        The candidates are read before others have their turn; to match many of them takes several.
        """
        if chosen.everything:
            entries = list(islice(candidates, limit + 1) if limit else candidates)
            more = 0 < limit < len(entries)
            return await self._forms.shown(chosen.resource, entries[:limit] if more else entries), more
        entries = await self._matching(list(candidates), chosen, limit + 1 if limit else None)
        return (entries[:limit], True) if 0 < limit < len(entries) else (entries, False)

    async def _matching(self, candidates: list[Entry], chosen: Selection, most: int | None) -> list[Entry]:
        """Return what matches, as it is shown, but no more than `most`."""
        taken: list[Entry] = []
        # Selectors are about objects as they are shown, also where a webhook has to be asked for that.
        waits = self._forms.waits(chosen.resource)
        size = REVIEW_OBJECTS_MAX if waits else finding.SCANNED_MAX
        for at in range(0, len(candidates), size):
            batch = candidates[at : at + size]
            if waits:
                batch = await self._forms.shown(chosen.resource, batch)
            elif at:
                await asyncio.sleep(0)
            taken += islice(filter(chosen.matches, batch), most and most - len(taken))
            if len(taken) == most:
                break
        return taken if waits else await self._forms.shown(chosen.resource, taken)

    async def _past(self, chosen: Selection, start: bytes, revision: int, limit: int) -> Page:
        """Read the store's history at `revision`: later pages show what the first one showed. Raises Compacted."""
        entries: list[Entry] = []
        while True:
            try:
                answer = await self._store.range(Range(start, chosen.end, limit=PAGE_KEYS, revision=revision))
            except FutureRevision:
                raise status.version_too_large(revision, self._cache.revision) from None
            found = (Entry.of(kv) for kv in answer.kvs)
            taken, more = await self._take(found, chosen, limit - len(entries) if limit else PAGE_KEYS)
            entries += taken
            if limit and (len(entries) == limit) and (more or answer.more):
                last = entries[-1].key + b"\0"
                remaining = None
                if chosen.everything:
                    rest = await self._store.range(Range(last, chosen.end, revision=revision, count_only=True))
                    remaining = rest.count
                return Page(entries, revision, _token(revision, last, chosen), remaining)
            if not answer.more:
                return Page(entries, revision)
            start = answer.kvs[-1].key + b"\0"


def _token(revision: int, start: bytes, chosen: Selection) -> str:
    relative = start[len(chosen.start) :].decode()
    body = orjson.dumps({"v": _CONTINUE_VERSION, "rv": revision, "start": "/" + relative})
    return base64.urlsafe_b64encode(body).rstrip(b"=").decode()


def _read_token(text: str, chosen: Selection) -> tuple[bytes, int]:
    try:
        body = orjson.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        version, revision, start = body["v"], body["rv"], body["start"]
        if version != _CONTINUE_VERSION or not isinstance(revision, int) or start[:1] != "/":
            raise ValueError(version)
        if revision != _WHATEVER and revision <= 0:
            raise ValueError(revision)
    except (ValueError, KeyError, TypeError):
        raise status.bad_request("continue key is not valid: illegal base64 data or unknown format") from None
    key = chosen.start + start[1:].encode()
    if not chosen.holds(key):
        raise status.bad_request("continue key is not valid: it does not belong to this list")
    return key, revision
