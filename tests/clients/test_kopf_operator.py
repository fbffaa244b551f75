"""kopf with a kind of its own, unchanged: every sort of handler, killed and resumed, and two operators as peers."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from harness.following import Kind, Object, install_definitions, remove_definitions
from harness.operators import Operator, RunOperator
from kubernetes.client.exceptions import ApiException
from kubernetes.dynamic import DynamicClient

pytestmark = [pytest.mark.thorough, pytest.mark.timeout(600)]

HERE = Path(__file__).parent
FINALIZER = "example.com/databases"


@pytest.fixture(scope="module")
def definitions(dynamic: DynamicClient) -> Iterator[None]:
    found = list(yaml.safe_load_all((HERE / "data" / "databases.yaml").read_text()))
    install_definitions(dynamic, found)
    yield
    remove_definitions(dynamic, found)


@pytest.fixture(scope="module")
def databases(definitions: None, dynamic: DynamicClient, namespace: str) -> Kind:
    return Kind(dynamic, "example.com/v1", "Database", namespace)


@pytest.fixture(scope="module")
def arguments(namespace: str) -> list[str]:
    return ["-m", "kopf", "run", "-n", namespace, str(HERE / "operator_of_databases.py")]


@pytest.fixture
def operator(databases: Kind, arguments: list[str], run_operator: RunOperator) -> Iterator[Operator]:
    with run_operator(*arguments, "--standalone") as running:
        yield running
        for one in databases.list():
            databases.delete(one["metadata"]["name"])
        databases.until(lambda left: not left)


@pytest.fixture
def kinds(dynamic: DynamicClient, namespace: str) -> dict[str, Kind]:
    return {kind: Kind(dynamic, "v1", kind, namespace) for kind in ("Secret", "ConfigMap", "Event")}


def status(obj: Object) -> Object:
    return dict(obj.get("status") or {})


def test_a_life_from_creation_to_deletion(operator: Operator, databases: Kind, kinds: dict[str, Kind]) -> None:
    secrets, configmaps = kinds["Secret"], kinds["ConfigMap"]
    databases.create("orders", spec={"owner": "ann"})
    made = databases.until_object("orders", lambda one: "created" in status(one) and "gibibytes" in status(one))
    assert made["spec"] == {"owner": "ann", "engine": "small", "gibibytes": 1}
    assert status(made)["created"] == {"secret": "orders-credentials"}
    assert status(made)["sizes"] == [[None, 1]]
    assert made["metadata"]["finalizers"] == [FINALIZER]
    assert made["metadata"]["generation"] == 1, "patches of the status and the metadata don't count"
    secret = secrets.get("orders-credentials")
    assert base64.b64decode(secret["data"]["user"]) == b"orders"
    assert secret["metadata"]["ownerReferences"][0]["uid"] == made["metadata"]["uid"]
    configmaps.until_object("orders-agent", lambda one: one["data"] == {"by": "one"})
    kinds["Event"].until(lambda seen: any(one["reason"] == "Provisioned" for one in seen))

    databases.patch("orders", spec={"gibibytes": 8, "engine": "large"})
    changed = databases.until_object("orders", lambda one: status(one).get("gibibytes") == 8 and "moved" in status(one))
    assert status(changed)["sizes"] == [[None, 1], [1, 8]]
    assert status(changed)["moved"] == "small to large"
    assert changed["metadata"]["generation"] == 2
    with pytest.raises(ApiException, match="Unprocessable") as refused:
        databases.patch("orders", spec={"gibibytes": 2})
    assert "a database never shrinks" in str(refused.value.body)

    secrets.delete("orders-credentials")
    secrets.until(
        lambda all_: all_ and all_[0]["metadata"]["uid"] != secret["metadata"]["uid"],
        field_selector="metadata.name=orders-credentials",
    )

    databases.delete("orders")
    databases.until_gone("orders")
    assert configmaps.get("orders-backup")
    configmaps.until_gone("orders-agent")
    secrets.until_gone("orders-credentials")


def test_many_at_once_and_what_the_index_knows_of_them(operator: Operator, databases: Kind) -> None:
    names = [f"{owner}-{number}" for owner in ("bob", "eve") for number in range(6)]
    for name in names:
        databases.create(name, spec={"owner": name[:3]})
    done = databases.until(lambda all_: all(status(one).get("ofThisOwner") == 6 for one in all_) and len(all_) == 12)
    assert {one["metadata"]["name"] for one in done} == set(names)
    databases.delete("bob-0")
    databases.until(lambda all_: [status(one).get("ofThisOwner") for one in all_].count(5) == 5)
    assert status(databases.get("eve-0"))["ofThisOwner"] == 6


def test_what_happened_while_it_was_dead(operator: Operator, databases: Kind, kinds: dict[str, Kind]) -> None:
    for name in ("changed", "dropped"):
        databases.create(name, spec={"owner": "sam"})
    databases.until(lambda all_: all("created" in status(one) and "gibibytes" in status(one) for one in all_))
    operator.kill()

    databases.patch("changed", spec={"gibibytes": 5})
    databases.create("born", spec={"owner": "sam"})
    databases.delete("dropped")
    kept = databases.get("dropped")
    assert kept["metadata"]["deletionTimestamp"]
    assert kept["metadata"]["finalizers"] == [FINALIZER], "nobody is there to let it go"

    operator.start()
    databases.until_gone("dropped")
    assert kinds["ConfigMap"].get("dropped-backup")
    databases.until_object("born", lambda one: "created" in status(one))
    wanted = {"gibibytes": 5, "sizes": [[None, 1], [1, 5]], "resumed": 1, "ofThisOwner": 2}
    databases.until_object("changed", lambda one: wanted.items() <= status(one).items())


def test_the_more_important_of_two_peers_works(
    databases: Kind,
    dynamic: DynamicClient,
    namespace: str,
    arguments: list[str],
    run_operator: RunOperator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    peerings = Kind(dynamic, "kopf.dev/v1", "KopfPeering", namespace)
    peerings.create("databases")
    peered = [*arguments, "--peering", "databases", "--priority"]

    def known(count: int) -> None:
        peerings.until_object("databases", lambda one: len(status(one)) == count)

    def signed(name: str) -> Any:
        databases.create(name, spec={"owner": "kim"})
        return status(databases.until_object(name, lambda one: "signed" in status(one)))["signed"]

    monkeypatch.setitem(os.environ, "DATABASES_OPERATOR", "lesser")
    with run_operator(*peered, "1"):
        known(1)
        assert signed("first") == "lesser"
        monkeypatch.setitem(os.environ, "DATABASES_OPERATOR", "greater")
        with run_operator(*peered, "2") as greater:
            known(2)
            assert signed("second") == "greater"
            greater.kill()
            # It can say no more that it's gone: what it said last runs out.
            assert signed("third") == "lesser"
        for one in databases.list():
            databases.delete(one["metadata"]["name"])
        databases.until(lambda left: not left)
    known(0)
    peerings.delete("databases")
