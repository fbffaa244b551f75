"""Samples count for the innermost part that a stack went through."""

from __future__ import annotations

from bench.profile import OTHER, share


def test_a_sample_counts_for_the_innermost_part_of_its_stack() -> None:
    front = "main (cluster/boot/process.py:30);_handle_request (aiohttp/web_protocol.py:577)"
    stacks = [
        f"{front};create (cluster/apiserver/writing.py:83);pod (cluster/objects/pod_validation.py:37) 6",
        f"{front};create (cluster/apiserver/writing.py:83);created (cluster/apiserver/applying.py:41) 3",
        "main (nowhere.py:1) 1",
    ]
    assert share(stacks) == {"its validation and warnings": 60.0, "who owns its fields": 30.0, OTHER: 10.0}


def test_nothing_sampled_is_no_division_by_nothing() -> None:
    assert share([]) == {}
