"""Secrets of service accounts' tokens are filled in, follow their accounts, and the forgotten ones go."""

from __future__ import annotations

import asyncio
import base64
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from harness.controllers import acting, cluster

from oarlock.actors.controllers import legacy_tokens, token_secrets
from oarlock.actors.controllers.actions import CatchUp
from oarlock.cluster.objects.tokens import INVALID_SINCE, LAST_USED, TokenKey, new_key

Object = dict[str, Any]

KEY = TokenKey(new_key())
KEEPER = token_secrets.TokenSecrets(KEY, "PEM")
YEAR_S = 365 * 24 * 3600


def account(world: Any, name: str = "robot", *secrets: str) -> Object:
    listed = [{"name": one} for one in secrets]
    metadata = {"name": name}
    made: Object = world.put({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata, "secrets": listed})
    return made


def secret(world: Any, name: str = "t", kind: str = token_secrets.TYPE, **annotations: str) -> Object:
    told = {token_secrets.ACCOUNT_NAME: "robot", **annotations}
    metadata = {"name": name, "annotations": told}
    made: Object = world.put({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": kind})
    return made


def act(world: Any, name: str = "t") -> int:
    return int(world.act(KEEPER.reconcile(f"default/{name}", world.view)))


def text(held: Object, name: str) -> str:
    return base64.b64decode(held["data"][name]).decode()


def test_a_secret_gets_token_authority_and_namespace(world: Any) -> None:
    robot = account(world)
    secret(world)
    act(world)
    held = world.view.get("secrets", "default/t")
    assert (text(held, "ca.crt"), text(held, "namespace")) == ("PEM", "default")
    assert KEY.claims(text(held, "token")) == {
        "iss": "kubernetes/serviceaccount",
        "kubernetes.io/serviceaccount/namespace": "default",
        "kubernetes.io/serviceaccount/secret.name": "t",
        "kubernetes.io/serviceaccount/service-account.name": "robot",
        "kubernetes.io/serviceaccount/service-account.uid": robot["metadata"]["uid"],
        "sub": "system:serviceaccount:default:robot",
    }
    assert held["metadata"]["annotations"][token_secrets.ACCOUNT_UID] == robot["metadata"]["uid"]
    assert act(world) == 0


def test_an_older_authority_is_replaced_and_the_token_stays(world: Any) -> None:
    account(world)
    secret(world)
    act(world)
    before = world.view.get("secrets", "default/t")
    world.act(token_secrets.TokenSecrets(KEY, "NEW").reconcile("default/t", world.view))
    after = world.view.get("secrets", "default/t")
    assert (text(after, "ca.crt"), text(after, "token")) == ("NEW", text(before, "token"))


@pytest.mark.parametrize("annotations", [{}, {token_secrets.ACCOUNT_UID: "another"}])
def test_without_its_account_a_secret_goes(world: Any, annotations: dict[str, str]) -> None:
    if annotations:
        account(world)
    secret(world, **annotations)
    (wait,) = KEEPER.reconcile("default/t", world.view)
    assert isinstance(wait, CatchUp), "an account that may not have been seen yet"
    account(world, "other")
    act(world)
    assert world.view.get("secrets", "default/t") is None


def test_other_secrets_are_left_alone_and_not_kept(world: Any) -> None:
    secret(world, kind="Opaque")
    assert act(world) == 0
    bare = token_secrets.kept({"kind": "Secret", "metadata": {"name": "s"}, "type": "Opaque", "data": {"a": "eA=="}})
    assert bare == {"kind": "Secret", "metadata": {"name": "s"}, "type": "Opaque"}


def test_an_account_forgets_a_secret_that_is_gone(world: Any) -> None:
    account(world, "robot", "t", "kept")
    act(world)
    assert world.view.get("serviceaccounts", "default/robot")["secrets"] == [{"name": "kept"}]


def test_an_accounts_coming_and_going_makes_its_secrets_due(world: Any, tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_bytes(new_key())
    made = token_secrets.token_secrets(str(file), "PEM")
    secret(world)
    secret(world, "foreign", **{token_secrets.ACCOUNT_NAME: "other"})
    robot = account(world)
    assert [due.key for due in made.keys("serviceaccounts", robot, None, world.view)] == ["default/t"]
    assert [due.key for due in made.keys("serviceaccounts", None, robot, world.view)] == ["default/t"]


# What nobody uses ----------------------------------------------------------------------------------------------


def old_token(world: Any, *, listed: bool = True, labels: Object | None = None) -> Object:
    """A token that is a year and two days old, in a cluster that has noted uses for as long."""
    config = {"name": legacy_tokens.TRACKING, "namespace": "kube-system"}
    data = {"since": world.now.strftime("%Y-%m-%d")}
    world.put({"apiVersion": "v1", "kind": "ConfigMap", "metadata": config, "data": data})
    account(world, "robot", *(["t"] if listed else []))
    made = secret(world)
    world.pass_time(YEAR_S + 2 * 86400)
    return world.put({**made, "metadata": {**made["metadata"], "labels": labels or {}}})


def clean(world: Any) -> Object | None:
    world.act(legacy_tokens.reconcile("default/t", world.view))
    found: Object | None = world.view.get("secrets", "default/t")
    return found


def test_an_unused_token_is_marked_and_goes_a_year_later(world: Any) -> None:
    old_token(world)
    marked = clean(world)
    assert marked is not None
    assert marked["metadata"]["labels"][INVALID_SINCE] == world.now.strftime("%Y-%m-%d")
    world.pass_time(YEAR_S - 86400)
    assert clean(world) is not None
    world.pass_time(2 * 86400)
    assert clean(world) is None


def days_ago(world: Any, days: int) -> str:
    return str((world.now - timedelta(days=days)).strftime("%Y-%m-%d"))


def test_a_token_in_use_made_by_hand_or_mounted_is_kept(world_type: Any) -> None:
    for used, is_marked in ((10, False), (364, False), (366, True)):
        world = world_type()
        made = old_token(world)
        labels = {LAST_USED: days_ago(world, used)}
        world.put({**made, "metadata": {**made["metadata"], "labels": labels}})
        assert (INVALID_SINCE in clean(world)["metadata"]["labels"]) is is_marked, used  # type: ignore[index]
    world = world_type()
    old_token(world, labels={LAST_USED: "lately"})
    assert INVALID_SINCE not in clean(world)["metadata"]["labels"]  # type: ignore[index]
    world = world_type()
    old_token(world, listed=False)
    assert INVALID_SINCE not in clean(world)["metadata"]["labels"]  # type: ignore[index]
    world = world_type()
    old_token(world)
    volumes = [{"name": "v", "projected": {"sources": [{"secret": {"name": "t"}}]}}]
    world.put({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"volumes": volumes}})
    assert INVALID_SINCE not in clean(world)["metadata"]["labels"]  # type: ignore[index]


def test_nothing_is_judged_before_uses_were_noted_for_a_year(world: Any) -> None:
    old_token(world)
    held = world.view.get("configmaps", f"kube-system/{legacy_tokens.TRACKING}")
    world.put({**held, "data": {"since": days_ago(world, 365)}})
    assert INVALID_SINCE not in clean(world)["metadata"]["labels"]  # type: ignore[index]


def test_the_day_since_when_uses_are_noted_is_always_told(world: Any) -> None:
    key = f"kube-system/{legacy_tokens.TRACKING}"
    world.put({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "kube-system"}})
    world.act(legacy_tokens.reconcile_tracking(key, world.view))
    assert world.view.get("configmaps", key)["data"] == {"since": "2026-01-01"}
    world.put({**world.view.get("configmaps", key), "data": {"since": "soon"}})
    world.act(legacy_tokens.reconcile_tracking(key, world.view))
    assert world.view.get("configmaps", key)["data"] == {"since": "2026-01-01"}
    assert world.act(legacy_tokens.reconcile_tracking(key, world.view)) == 0


# Through the API server ----------------------------------------------------------------------------------------


def test_a_secret_made_for_an_account_becomes_its_token_until_the_account_goes(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_bytes(new_key())
    body = {"metadata": {"name": "t", "annotations": {token_secrets.ACCOUNT_NAME: "robot"}}, "type": token_secrets.TYPE}
    core, reviews = "/api/v1/namespaces/default", "/apis/authentication.k8s.io/v1/tokenreviews"

    async def scenario() -> None:
        async with cluster(service_account_key_file=str(file)) as here, acting(here, token_key_file=str(file)):
            secrets = here.watch("", "v1", "secrets")
            here.informers.start()
            await here.client.create(f"{core}/serviceaccounts", {"metadata": {"name": "robot"}})
            await here.client.create(f"{core}/secrets", body)
            await here.until(lambda: bool((secrets.get("default/t") or {}).get("data")))
            token = text(secrets.get("default/t") or {}, "token")
            review = await here.client.create(reviews, {"spec": {"token": token}})
            assert review["status"]["user"]["username"] == "system:serviceaccount:default:robot"
            await here.client.delete(f"{core}/serviceaccounts/robot")
            await here.until(lambda: secrets.get("default/t") is None)
            refused = await here.client.create(reviews, {"spec": {"token": token}})
            assert "authenticated" not in refused["status"]

    asyncio.run(scenario())
