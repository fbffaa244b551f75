"""Printed columns of custom resources. Source: apiextensions `registry/customresource/tableconvertor`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import orjson

from oarlock.cluster.objects import durations
from oarlock.cluster.objects.cells import AGE, NAME, Cells, Column, Object, name_of
from oarlock.cluster.objects.custom import jsonpath


@dataclass(frozen=True, slots=True)
class PrintedColumn:
    """A column and where its cells come from."""

    column: Column
    path: jsonpath.Path


_AGE: Final = PrintedColumn(Column("Age", AGE.doc, type="date"), ("metadata", "creationTimestamp"))


def read(rows: list[Mapping[str, Any]]) -> tuple[PrintedColumn, ...]:
    """The additionalPrinterColumns of a version; without any its objects show their age. Raises BadPath."""
    found = tuple(
        PrintedColumn(
            Column(
                row["name"],
                row.get("description") or f"Custom resource definition column (in JSONPath format): {row['jsonPath']}",
                row["type"],
                row.get("format", ""),
                row.get("priority", 0),
            ),
            jsonpath.parse(row["jsonPath"]),
        )
        for row in rows
    )
    return found or (_AGE,)


def all_columns(columns: tuple[PrintedColumn, ...]) -> tuple[Column, ...]:
    """The table's columns: the name stands first."""
    return (NAME, *(one.column for one in columns))


def row(columns: tuple[PrintedColumn, ...], obj: Object, now: float) -> Cells:
    """One object's cells."""
    return [name_of(obj), *(_cell(one, obj, now) for one in columns)]


def _cell(printed: PrintedColumn, obj: Object, now: float) -> Any:
    found = list(jsonpath.find(obj, printed.path))
    if not found or found[0] is None:
        return None
    value, kind = found[0], printed.column.type
    if kind == "date":
        return durations.age(value, now) if isinstance(value, str) and _is_time(value) else "<invalid>"
    if kind == "integer":
        return int(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
    if kind == "number":
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
    if kind == "boolean":
        return value if isinstance(value, bool) else None
    if len(found) > 1:
        return ",".join(_text(one) for one in found)
    return _text(value)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _is_time(text: str) -> bool:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True
