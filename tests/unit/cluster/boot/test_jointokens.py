from __future__ import annotations

from pathlib import Path

import pytest

from oarlock.cluster.boot.errors import BootError
from oarlock.cluster.boot.jointokens import Secrets, Token, ca_hash
from oarlock.cluster.boot.pki import Authority


def test_a_token_is_read_as_it_is_printed(tmp_path: Path) -> None:
    Authority(tmp_path)
    token = Token(ca_hash((tmp_path / "ca.crt").read_text()), Secrets.new().node)
    assert str(token).startswith("oarlock1.")
    assert Token.parse(f" {token}\n") == token


@pytest.mark.parametrize("text", ["", "oarlock1.ab.cd", "k10" + "a" * 64, "oarlock2." + "a" * 64 + "." + "b" * 32])
def test_what_is_no_token_is_refused_without_being_repeated(text: str) -> None:
    with pytest.raises(BootError, match="no join token") as refused:
        Token.parse(text)
    assert not text or text not in str(refused.value)


def test_a_secret_entitles_to_one_thing() -> None:
    found = Secrets.new()
    assert found.purpose_of(found.server) == "server"
    assert found.purpose_of(found.node) == "node"
    assert found.purpose_of("") is None
    assert found.purpose_of("é") is None


def test_a_rotated_secret_is_worthless_and_the_other_stays() -> None:
    before = Secrets.new()
    after = before.rotated("node")
    assert after.purpose_of(before.node) is None
    assert after.server == before.server
    assert after.is_newer_than(before)
    assert not before.is_newer_than(after)


def test_of_two_rotations_at_once_all_take_the_same() -> None:
    before = Secrets.new()
    one, other = before.rotated("node"), before.rotated("server")
    assert one.is_newer_than(other) != other.is_newer_than(one)


@pytest.mark.parametrize(
    "document", [{}, {"version": "1", "server": "a" * 32, "node": "b" * 32}, {"version": 1, "server": 2, "node": 3}]
)
def test_what_are_no_secrets_is_refused(document: dict[str, object]) -> None:
    with pytest.raises((TypeError, ValueError)):
        Secrets.of(document)
