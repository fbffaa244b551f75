"""Fill in what a CustomResourceDefinition may leave out.

Source: apiextensions `pkg/apis/apiextensions/v1/defaults.go`.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

Obj = MutableMapping[str, Any]


def definition(obj: Obj) -> None:
    """Names are made of the kind, objects aren't converted, a webhook's service listens on 443."""
    spec = obj.setdefault("spec", {})
    names = spec.setdefault("names", {})
    kind = names.get("kind", "")
    if kind:
        names["singular"] = names.get("singular") or kind.lower()
        names["listKind"] = names.get("listKind") or f"{kind}List"
    conversion = spec.setdefault("conversion", {"strategy": "None"})
    service = ((conversion.get("webhook") or {}).get("clientConfig") or {}).get("service")
    if service is not None:
        service.setdefault("port", 443)
