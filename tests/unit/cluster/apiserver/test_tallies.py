"""Our own counters and histograms show what the library's would."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

from oarlock.cluster.apiserver.metrics import Spreads, Tallies

BOUNDS = (0.005, 1, 2.5, 1000.0)
VALUES = st.floats(0, 2000) | st.sampled_from(BOUNDS)


def shown(registry: CollectorRegistry) -> list[str]:
    return sorted(line for line in generate_latest(registry).decode().splitlines() if "_created" not in line)


@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from(["", 'x"y']), VALUES), max_size=20))
def test_what_is_observed_is_shown_as_the_library_shows_it(observed: list[tuple[str, str, float]]) -> None:
    theirs, ours = CollectorRegistry(), CollectorRegistry()
    histogram = Histogram("took_seconds", "How long.", ("verb", "of"), registry=theirs, buckets=BOUNDS)
    counter = Counter("requests", "How many.", ("verb", "of"), registry=theirs)
    spreads, tallies = (
        Spreads("took_seconds", "How long.", ("verb", "of"), BOUNDS),
        Tallies("requests", "How many.", ("verb", "of")),
    )
    ours.register(spreads)
    ours.register(tallies)
    for verb, of, value in observed:
        histogram.labels(verb, of).observe(value)
        counter.labels(verb, of).inc()
        spreads.of(verb, of).observe(value)
        tallies.of(verb, of).count += 1
    assert shown(ours) == shown(theirs)
