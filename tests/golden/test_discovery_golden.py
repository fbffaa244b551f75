"""Discovery field by field against what upstream's v1.36.2 answered."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from oarlock.cluster.objects import discovery

_RECORDED = Path(__file__).parents[3] / "shared" / "golden" / "discovery.json"
_Rows = dict[tuple[str, ...], Any]

pytestmark = pytest.mark.skipif(not _RECORDED.exists(), reason="the recorded answers (shared/golden) are not here")


def _rows(document: Any) -> _Rows:
    """Every resource and subresource under (group, version, resource[, subresource]), in order."""
    found: _Rows = {}
    for group in document["items"]:
        for version in group["versions"]:
            place = (group["metadata"].get("name", ""), version["version"])
            for resource in version["resources"]:
                row = dict(resource)
                for sub in row.pop("subresources", []):
                    found[*place, row["resource"], sub["subresource"]] = sub
                found[*place, row["resource"]] = row
    return found


@pytest.mark.parametrize(("path", "core"), [("/api", True), ("/apis", False)])
def test_every_kind_is_served_as_upstream_serves_it(path: str, core: bool) -> None:
    recorded = orjson.loads(_RECORDED.read_bytes())[path]
    ours = discovery.aggregated(core=core)
    expected, served = _rows(recorded), _rows(ours)
    assert {key: row for key, row in served.items() if expected.get(key) != row} == {}
    assert list(served) == list(expected)
    assert ours == recorded


def test_each_recorded_resource_has_its_row_in_the_legacy_list() -> None:
    recorded = orjson.loads(_RECORDED.read_bytes())
    for (group, version, *names), row in (_rows(recorded["/api"]) | _rows(recorded["/apis"])).items():
        listed = discovery.legacy_resources(group, version)
        assert listed is not None
        (legacy,) = [one for one in listed["resources"] if one["name"] == "/".join(names)]
        assert (legacy["kind"], legacy["verbs"]) == (row["responseKind"]["kind"], row["verbs"])
        assert legacy.get("shortNames") == row.get("shortNames")
        if len(names) == 1:
            assert legacy["singularName"] == row["singularResource"]
            assert legacy["namespaced"] is (row["scope"] == "Namespaced")
