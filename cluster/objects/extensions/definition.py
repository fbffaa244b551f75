"""A CustomResourceDefinition as upstream's validation sees it: what all versions share stands once, at the top.

Source: apiextensions `pkg/apis/apiextensions/v1/conversion.go`. That is why causes name `spec.validation` where every
version has the same schema, and `spec.versions[0].schema` where they differ.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

Obj = Mapping[str, Any]

#: What moves to the top where all versions agree: the field of a version, and its name there.
_SHARED: Final = (
    ("subresources", "subresources"),
    ("schema", "validation"),
    ("additionalPrinterColumns", "additionalPrinterColumns"),
    ("selectableFields", "selectableFields"),
)


@dataclass(frozen=True, slots=True)
class Definition:
    """A definition's spec. `shared` holds, by the names at the top, what no version has of its own."""

    spec: Obj
    shared: Obj
    versions: Sequence[Obj]

    @property
    def version(self) -> str:
        """The name of the first version, which older forms call the version."""
        return str(self.versions[0].get("name", "")) if self.versions else ""

    def of_version(self, version: Obj, name: str) -> Any:
        """What a version has of `name`, of its own or shared."""
        top = dict(_SHARED)[name]
        return self.shared.get(top) if version.get(name) is None else version[name]


def seen(spec: Obj) -> Definition:
    """The spec with what its versions share moved to the top."""
    versions: Sequence[Obj] = spec.get("versions") or ()
    if not versions:
        return Definition(spec, {}, ())
    first = versions[0]
    shared = {
        top: first[name]
        for name, top in _SHARED
        if first.get(name) not in (None, []) and all(one.get(name) == first[name] for one in versions)
    }
    moved = {name for name, top in _SHARED if top in shared}
    return Definition(spec, shared, [{k: v for k, v in one.items() if k not in moved} for one in versions])


def schemas(spec: Obj) -> Iterator[Obj]:
    """The schema of each version that has one."""
    for version in spec.get("versions") or ():
        schema = (version.get("schema") or {}).get("openAPIV3Schema")
        if schema is not None:
            yield schema


def is_established(definition: Obj) -> bool:
    """Whether the kind is served already, so that its names are fixed."""
    conditions = (definition.get("status") or {}).get("conditions") or ()
    return any(one.get("type") == "Established" and one.get("status") == "True" for one in conditions)
