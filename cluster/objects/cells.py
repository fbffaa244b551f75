"""The vocabulary of printed tables: columns, printers, and the texts that many cells share.

A printer turns an object into one row; all cells are always made, those of `-o wide` have priority 1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from oarlock.cluster.objects import durations, quantity, selectors
from oarlock.cluster.objects.status import ApiError

Object = Mapping[str, Any]
Cells = list[Any]

NONE: Final = "<none>"
UNSET: Final = "<unset>"
UNKNOWN: Final = "<unknown>"


@dataclass(frozen=True, slots=True)
class Column:
    """One column; `doc` is its description, or `=package.version.Type.field` for that field's description."""

    name: str
    doc: str = ""
    type: str = "string"
    format: str = ""
    priority: int = 0

    def as_dict(self) -> dict[str, Any]:
        """The column as it stands in a Table's columnDefinitions."""
        return {
            "name": self.name,
            "type": self.type,
            "format": self.format,
            "description": self.doc,
            "priority": self.priority,
        }


@dataclass(frozen=True, slots=True)
class Printer:
    """How objects of a kind are printed: `row(object, now)` gives a cell for each of `columns`."""

    columns: tuple[Column, ...]
    row: Callable[[Object, float], Cells]


Printers = Mapping[tuple[str, str], Printer]
"""Printers by (group, kind)."""

_META: Final = "=meta.v1.ObjectMeta."
NAME: Final = Column("Name", _META + "name", format="name")
AGE: Final = Column("Age", _META + "creationTimestamp")
CREATED: Final = Column("Created At", _META + "creationTimestamp", type="date")
CONTAINERS: Final = Column("Containers", "Names of each container in the template.", priority=1)
IMAGES: Final = Column("Images", "Images referenced by each container in the template.", priority=1)


def integer(name: str, doc: str) -> Column:
    """A column of whole numbers."""
    return Column(name, doc, type="integer")


def boolean(name: str, doc: str) -> Column:
    """A column of truth values."""
    return Column(name, doc, type="boolean")


def wide(name: str, doc: str) -> Column:
    """A column that only `-o wide` shows."""
    return Column(name, doc, priority=1)


def name_of(obj: Object) -> str:
    """The object's name."""
    found: str = obj["metadata"].get("name", "")
    return found


def age_of(obj: Object, now: float) -> str:
    """The object's age."""
    return durations.age(obj["metadata"].get("creationTimestamp"), now)


def at(obj: Object, *path: str, default: Any = None) -> Any:
    """The value below `obj` at a path of field names, or `default` where a step is missing or null."""
    here: Any = obj
    for step in path:
        here = here.get(step) if isinstance(here, Mapping) else None
        if here is None:
            return default
    return here


def container_cells(containers: Sequence[Object] | None) -> Cells:
    """The names and the images of containers, as two cells."""
    listed = containers or ()
    return [",".join(one["name"] for one in listed), ",".join(one.get("image", "") for one in listed)]


def labels_text(labels: Mapping[str, str] | None) -> str:
    """A map of labels as `a=b,c=d`, sorted."""
    return ",".join(f"{key}={value}" for key, value in sorted((labels or {}).items())) or NONE


def selector_text(selector: Object | None) -> str:
    """A LabelSelector object as selector text."""
    try:
        return str(selectors.from_object(selector)) or NONE
    except ApiError:
        return "<error>"


def condition(conditions: Sequence[Object] | None, kind: str) -> Object | None:
    """The first condition of a type."""
    return next((one for one in conditions or () if one.get("type") == kind), None)


def condition_holds(conditions: Sequence[Object] | None, kind: str) -> bool:
    """Whether the condition of a type is there and True."""
    found = condition(conditions, kind)
    return found is not None and found.get("status") == "True"


def amount(text: str | float | None) -> str:
    """A quantity in canonical form; a missing one is zero, and one that can't be read is shown as it is."""
    if text is None:
        return "0"
    try:
        return quantity.canonical(text)
    except quantity.QuantityError:
        return str(text)


def shortened(items: Sequence[str], count: int, shown: int) -> str:
    """The first `shown` items, and how many of `count` are left out."""
    listed = ",".join(items[:shown])
    return f"{listed} + {count - shown} more..." if count > shown else listed
