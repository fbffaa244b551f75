"""Which representation a client asks for. Source: apiserver pkg/endpoints/handlers/negotiation."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from oarlock.cluster.objects import status

JSON = "application/json"
YAML = "application/yaml"
PROTOBUF = "application/vnd.kubernetes.protobuf"
_FORMATS = {JSON: JSON, "application/*": JSON, "*/*": JSON, YAML: YAML}
_TRANSFORMS = frozenset({"Table", "PartialObjectMetadata", "PartialObjectMetadataList"})
_AVAILABLE = (JSON, YAML, PROTOBUF)
_STREAMING = (f"{JSON};stream=watch", f"{PROTOBUF};stream=watch")


@dataclass(frozen=True, slots=True)
class Representation:
    """A format and, if the client wants the object turned into something else, that kind and its version."""

    media_type: str = JSON
    transform: str = ""
    version: str = ""

    @property
    def api_version(self) -> str:
        """The transformed kind's apiVersion."""
        return f"meta.k8s.io/{self.version}"


PLAIN = Representation()


@dataclass(frozen=True, slots=True)
class Clause:
    """One media range of an Accept header."""

    media_type: str
    parameters: tuple[tuple[str, str], ...]
    quality: float

    def get(self, name: str) -> str:
        return dict(self.parameters).get(name, "")


@lru_cache(maxsize=256)
def clauses(accept: str) -> tuple[Clause, ...]:
    """Return the header's media ranges, the most wanted first; equal quality keeps the order."""
    found = []
    for text in accept.split(","):
        media_type, *pairs = (part.strip() for part in text.split(";"))
        parameters = tuple((name.strip(), value.strip()) for name, _, value in (pair.partition("=") for pair in pairs))
        found.append(Clause(media_type.lower(), parameters, _quality(dict(parameters).get("q", ""))))
    return tuple(sorted(found, key=lambda clause: -clause.quality))


def _quality(text: str) -> float:
    try:
        return float(text) if text else 1.0
    except ValueError:
        return 0.0


@lru_cache(maxsize=256)
def negotiate(accept: str, *, is_list: bool = False, transforms: bool = True, tables: bool = True) -> Representation:
    """Choose the representation for an Accept header. Raises ApiError 406 in upstream's words.

    `is_list` only words the refusal; `transforms` permits Table and PartialObjectMetadata(List), `tables` the former.
    """
    if accept in ("", JSON, "*/*"):
        return PLAIN
    wanted = clauses(accept)
    if not any(_known(clause) for clause in wanted):
        raise status.no_representation(_AVAILABLE + _STREAMING if is_list else _AVAILABLE)
    for clause in wanted:
        media_type = _FORMATS.get(clause.media_type)
        if media_type is None:
            continue
        asked = clause.get("as")
        if not asked:
            return Representation(media_type)
        known = clause.get("g") == "meta.k8s.io" and clause.get("v") in ("v1", "v1beta1")
        if transforms and known and asked in _TRANSFORMS and (tables or asked != "Table"):
            return Representation(media_type, asked, clause.get("v"))
    raise status.not_acceptable(_AVAILABLE)


def _known(clause: Clause) -> bool:
    return clause.media_type in _FORMATS or clause.media_type == PROTOBUF
