"""The descriptions that table columns borrow from fields: `python -m oarlock.cluster.objects.column_docs` gathers them.

They come from the kubernetes-validate package and are kept in `data/columns.json`, so that a server needn't read
megabytes of schemas to print a table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, Final

import orjson

from oarlock.cluster.objects.cells import CREATED, Column

DATA: Final = Path(__file__).parent / "data"
_FILE: Final = DATA / "columns.json"
_REFERENCE: Final = "="
_META: Final = "meta.v1."


def resolved(column: Column) -> Column:
    """The column with the description that its `doc` refers to."""
    if not column.doc.startswith(_REFERENCE):
        return column
    return replace(column, doc=_descriptions()[column.doc.removeprefix(_REFERENCE)])


@cache
def _descriptions() -> Mapping[str, str]:
    found: dict[str, str] = orjson.loads(_FILE.read_bytes())
    return found


def _description(definitions: Mapping[str, Any], reference: str) -> str:
    type_name, _, field = reference.rpartition(".")
    if type_name.startswith(_META):
        full = f"io.k8s.apimachinery.pkg.apis.{type_name}"
    else:
        full = f"io.k8s.api.{type_name}"
    text: str = definitions[full]["properties"][field].get("description", "")
    return text


def gather() -> bytes:
    """The content of `data/columns.json` for all columns there are."""
    from oarlock.cluster.objects.compile import definitions
    from oarlock.cluster.objects.tables import printers

    known = definitions()
    columns = [column for printer in printers().values() for column in printer.columns]
    references = {column.doc[1:] for column in [*columns, CREATED] if column.doc.startswith(_REFERENCE)}
    texts = {reference: _description(known, reference) for reference in references}
    return orjson.dumps(texts, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS) + b"\n"


if __name__ == "__main__":
    _FILE.write_bytes(gather())
