"""Whether a LabelSelector selects a set of labels, on plain objects and in any spelling.

The label selectors of requests are in selectors; this is the small part that validation needs.
Source: apimachinery `LabelSelectorAsSelector`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Obj = Mapping[str, Any]


def is_empty(selector: Obj | None) -> bool:
    """Whether the selector has no terms (and so selects everything)."""
    return not selector or not (selector.get("matchLabels") or selector.get("matchExpressions"))


def selects(selector: Obj, labels: Mapping[str, str]) -> bool:
    """Whether all terms hold for `labels`. An unknown operator holds for nothing."""
    if any(labels.get(key) != value for key, value in selector.get("matchLabels", {}).items()):
        return False
    return all(_holds(term, labels) for term in selector.get("matchExpressions", ()))


def _holds(term: Obj, labels: Mapping[str, str]) -> bool:
    key, operator, values = term.get("key", ""), term.get("operator", ""), term.get("values") or ()
    if operator == "In":
        return key in labels and labels[key] in values
    if operator == "NotIn":
        return labels.get(key) not in values
    if operator == "Exists":
        return key in labels
    return operator == "DoesNotExist" and key not in labels
