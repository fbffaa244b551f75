"""What a pod needs: the short way of most pods finds what the long way of all finds."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from oarlock.actors.scheduler import facts
from oarlock.actors.scheduler.facts import pod_facts

REQUESTS = st.dictionaries(
    st.sampled_from(["cpu", "memory", "example.org/part", "hugepages-2Mi"]),
    st.sampled_from(["0", "1", "100m", "64Mi", "1.5", 2]),
)
CONTAINERS = st.lists(
    st.one_of(st.just({}), st.fixed_dictionaries({"resources": st.fixed_dictionaries({"requests": REQUESTS})})),
    max_size=4,
)


@settings(deadline=None)
@given(CONTAINERS)
def test_containers_that_run_together_add_up(containers: list[dict[str, Any]]) -> None:
    spec = {"containers": [{"name": f"c{number}", **one} for number, one in enumerate(containers)]}
    found = pod_facts({"metadata": {"name": "p"}, "spec": spec})
    assert found.requests == facts._effective(spec, facts._requests)
    assert found.scored == facts._scored(spec)
    extended = any("example.org/part" in (one.get("resources") or {}).get("requests", ()) for one in containers)
    assert [one.name for one in found.needs] == ([one["name"] for one in spec["containers"]] if extended else [])
