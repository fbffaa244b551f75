from pathlib import Path

import pytest

from oarlock.cluster.boot.errors import BootError
from oarlock.cluster.boot.spec import ClusterSpec


def test_the_default_is_a_highly_available_cluster() -> None:
    spec = ClusterSpec()
    assert (spec.servers, spec.api_servers, spec.nodes, spec.single) == (3, 2, 1, False)
    assert spec.context == "oarlock"


def test_another_cluster_has_a_context_of_its_own() -> None:
    assert ClusterSpec(name="blue").context == "oarlock-blue"


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        ({"name": "Blue"}, "--name"),
        ({"name": "a" * 41}, "--name"),
        ({"name": "../x"}, "--name"),
        ({"servers": 2}, "--servers"),
        ({"api_servers": 0}, "--api-servers"),
        ({"nodes": -1}, "--nodes"),
        ({"hollow": 10_001}, "--hollow"),
        ({"port": 65_536}, "--port"),
        ({"node_timings": "slow"}, "--node-timings"),
        ({"lease_ttl_s": 0.4}, "--lease-ttl"),
        ({"lease_ttl_s": 61}, "--lease-ttl"),
        ({"lease_ttl_s": float("nan")}, "--lease-ttl"),
        ({"token_file": Path("/nonexistent/tokens.csv")}, "--token-file"),
    ],
)
def test_a_bad_flag_is_named_with_a_way_out(flags: dict[str, object], named: str) -> None:
    with pytest.raises(BootError) as error:
        ClusterSpec(**flags)  # type: ignore[arg-type]
    assert named in error.value.cause
    assert error.value.way_out
