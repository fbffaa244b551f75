"""The kinds of well-known projects: definitions rebuilt from what they publish, and objects with the right verdict.

A file of tests/definitions holds a CustomResourceDefinition and then a table:
`valid`: specs, with the `stored` one where defaults or pruning change it; `invalid` and `statuses`: what is refused,
with the causes as [field, reason, part of the message]; `changes`: patches of the first valid spec, with their causes;
`columns` of kubectl's table; `explained`: a path and what kubectl says about it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

Object = dict[str, Any]
FOLDER = Path(__file__).parents[1] / "definitions"


@dataclass(frozen=True)
class Published:
    """One project's kind."""

    definition: Object
    table: Object

    @property
    def name(self) -> str:
        return str(self.definition["metadata"]["name"])

    @property
    def plural(self) -> str:
        return str(self.definition["spec"]["names"]["plural"])

    def path(self, version: str | None = None) -> str:
        spec = self.definition["spec"]
        return f"/apis/{spec['group']}/{version or self._newest}/namespaces/default/{self.plural}"

    def obj(self, name: str, case: Object) -> Object:
        """Return the case as an object of this kind."""
        spec = self.definition["spec"]
        version = f"{spec['group']}/{case.get('version') or self._newest}"
        body = {"apiVersion": version, "kind": spec["names"]["kind"], "metadata": {"name": name}}
        return body | ({"spec": case["spec"]} if "spec" in case else {})

    @property
    def _newest(self) -> str:
        return str(self.definition["spec"]["versions"][0]["name"])


@lru_cache
def published() -> tuple[Published, ...]:
    return tuple(Published(*yaml.safe_load_all(file.read_text())) for file in sorted(FOLDER.glob("*.yaml")))
