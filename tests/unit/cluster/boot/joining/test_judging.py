from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from oarlock.cluster.boot.hosts import Cluster
from oarlock.cluster.boot.joining import judging
from oarlock.cluster.boot.joining.attempts import ADDRESSES_MAX, FAILURES_MAX, WINDOW_S, Attempts
from oarlock.cluster.boot.joining.judging import Asked, KnownNode, Refused

CLUSTER = Cluster("oarlock", "0123", {"a": "10.9.0.1", "b": "10.9.0.2", "c": "10.9.0.3"}, "0.1.0")
ASKED = Asked("0.1.7", 1000.0, "mine", "w")
READY = KnownNode("w", frozenset({"10.9.0.9"}), ready=True)


def refusal(judge: Callable[[], object]) -> str:
    with pytest.raises(Refused) as refused:
        judge()
    assert refused.value.way_out
    return refused.value.cause


@pytest.mark.parametrize(
    ("asked", "cause"),
    [
        (replace(ASKED, version="0.2.0"), "this host has version 0.2.0 of Oarlock, the cluster has 0.1.0"),
        (replace(ASKED, version=""), "this host has version unknown of Oarlock, the cluster has 0.1.0"),
        (replace(ASKED, time_s=1031.0), "this host's clock is 31 s ahead of the cluster's"),
        (replace(ASKED, time_s=940.0), "this host's clock is 60 s behind the cluster's"),
        (replace(ASKED, cluster_id="4567"), "the host's state folder is of the cluster 4567, this is 0123"),
    ],
)
def test_who_does_not_fit_is_told_why(asked: Asked, cause: str) -> None:
    assert cause in refusal(lambda: judging.check_common(asked, CLUSTER, "0.1.0", 1000.0))


def test_a_patch_version_and_a_little_skew_do_not_matter() -> None:
    judging.check_common(replace(ASKED, time_s=1029.0, cluster_id="0123"), CLUSTER, "0.1.0", 1000.0)


def test_each_token_is_for_its_own_kind_of_host() -> None:
    judging.check_entitled("node", "node")
    assert "the token's secret is not this cluster's node token" in refusal(
        lambda: judging.check_entitled(None, "node")
    )
    assert "this is the node token" in refusal(lambda: judging.check_entitled("node", "server"))
    assert "this is the server token" in refusal(lambda: judging.check_entitled("server", "node"))


def test_a_server_is_who_it_says_or_where_it_comes_from() -> None:
    assert judging.server_name(replace(ASKED, host="b"), CLUSTER, "192.0.2.1") == "b"
    assert judging.server_name(replace(ASKED, host=""), CLUSTER, "10.9.0.3") == "c"


def test_a_server_that_is_no_member_is_refused() -> None:
    known = "a=10.9.0.1, b=10.9.0.2, c=10.9.0.3"
    unknown = refusal(lambda: judging.server_name(replace(ASKED, host="d"), CLUSTER, "10.9.0.2"))
    assert unknown == f"d is none of the cluster's servers {known}, which were settled at its founding"
    elsewhere = refusal(lambda: judging.server_name(replace(ASKED, host=""), CLUSTER, "10.9.0.4"))
    assert "10.9.0.4, which is the address of none of the servers" in elsewhere


def test_a_member_that_lives_is_not_replaced() -> None:
    judging.check_vacant("b", "10.9.0.2", "mine", "")
    judging.check_vacant("b", "10.9.0.2", "mine", "mine")
    assert "server b has joined already and runs at 10.9.0.2" in refusal(
        lambda: judging.check_vacant("b", "10.9.0.2", "mine", "another")
    )


def test_a_node_gets_the_address_that_it_comes_from() -> None:
    assert judging.node_place(ASKED, CLUSTER, "10.9.0.9") == ("w", "10.9.0.9")


@pytest.mark.parametrize(
    ("asked", "remote", "cause"),
    [
        (replace(ASKED, host="W!"), "10.9.0.9", "'W!' is no node name"),
        (replace(ASKED, host="b"), "10.9.0.9", "b is the name of one of the cluster's servers"),
        (ASKED, "10.9.0.2", "10.9.0.2 is the address of one of the cluster's servers"),
        (replace(ASKED, address="10.9.0.8"), "10.9.0.9", "its request comes from 10.9.0.9"),
    ],
)
def test_a_node_that_is_not_where_it_says_is_refused(asked: Asked, remote: str, cause: str) -> None:
    assert cause in refusal(lambda: judging.node_place(asked, CLUSTER, remote))


def test_a_node_does_not_take_the_name_or_address_of_one_that_lives() -> None:
    assert "a node named w has joined already" in refusal(lambda: judging.check_node_vacant("w", "10.9.0.8", [READY]))
    assert "10.9.0.9 is the address of the node w" in refusal(
        lambda: judging.check_node_vacant("x", "10.9.0.9", [READY])
    )


def test_a_node_may_join_again_and_replace_a_dead_one() -> None:
    judging.check_node_vacant("w", "10.9.0.9", [READY])
    judging.check_node_vacant("w", "10.9.0.8", [replace(READY, ready=False)])
    judging.check_node_vacant("x", "10.9.0.8", [READY])


@pytest.mark.parametrize(
    "document", [{}, [], None, {"time_s": "soon"}, {"time_s": 1, "host": 3}, {"time_s": 1, "host": "h" * 300}]
)
def test_what_is_no_request_is_refused(document: object) -> None:
    assert "understands" in refusal(lambda: Asked.of(document))


def test_who_is_wrong_too_often_has_to_wait() -> None:
    now = [0.0]
    attempts = Attempts(lambda: now[0])
    for _ in range(FAILURES_MAX):
        attempts.check("10.9.0.9")
        attempts.failed("10.9.0.9")
    assert "10.9.0.9 has been refused too often" in refusal(lambda: attempts.check("10.9.0.9"))
    attempts.check("10.9.0.8")
    now[0] = WINDOW_S + 1
    attempts.check("10.9.0.9")


def test_what_is_kept_of_those_who_are_wrong_is_bounded() -> None:
    attempts = Attempts(lambda: 0.0)
    for number in range(ADDRESSES_MAX + 10):
        for _ in range(FAILURES_MAX):
            attempts.failed(str(number))
    attempts.check("9")  # the oldest are forgotten
    refusal(lambda: attempts.check(str(ADDRESSES_MAX)))
