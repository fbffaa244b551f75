"""Tokens of service accounts: asked for, shown, refused once what they stand for is gone."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from oarlock.cluster.apiserver.server import ApiServer
from oarlock.cluster.apiserver.settings import ApiServerSettings
from oarlock.cluster.objects.tokens import (
    INVALID_SINCE,
    LAST_USED,
    LEGACY_CLAIMS,
    LEGACY_ISSUER,
    KeyFileError,
    TokenKey,
    new_key,
)
from oarlock.consensus.memory import MemoryStore

ACCOUNTS = "/api/v1/namespaces/default/serviceaccounts"
PODS = "/api/v1/namespaces/default/pods"
REVIEWS = "/apis/authentication.k8s.io/v1/tokenreviews"
ISSUER = "https://kubernetes.default.svc.cluster.local"
PEM = new_key()
KEY = TokenKey(PEM)


def request(**spec: Any) -> dict[str, Any]:
    return {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}


async def account(api: Any, name: str = "robot") -> Any:
    return await api.made(ACCOUNTS, {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}})


async def review(api: Any, token: str, *audiences: str) -> Any:
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview"}
    made = await api.made(REVIEWS, {**body, "spec": {"token": token, "audiences": list(audiences)}})
    return made["status"]


def claims(token: str) -> Any:
    body = token.split(".")[1]
    return orjson.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))


def test_a_token_says_whose_it_is(with_api: Any) -> None:
    async def scenario(api: Any) -> None:
        robot = await account(api)
        made = await api.made(f"{ACCOUNTS}/robot/token", request())
        token = made["status"]["token"]
        assert (made["kind"], made["spec"]["audiences"], made["spec"]["expirationSeconds"]) == (
            *("TokenRequest", [ISSUER]),
            3600,
        )
        told = claims(token)
        assert told["sub"] == "system:serviceaccount:default:robot"
        assert told["kubernetes.io"]["serviceaccount"] == {"name": "robot", "uid": robot["metadata"]["uid"]}
        assert told["exp"] - told["iat"] == 3600
        status = await review(api, token)
        assert status["authenticated"] is True
        assert status["audiences"] == [ISSUER]
        assert status["user"] == {
            "username": "system:serviceaccount:default:robot",
            "uid": robot["metadata"]["uid"],
            "groups": ["system:serviceaccounts", "system:serviceaccounts:default", "system:authenticated"],
            "extra": {"authentication.kubernetes.io/credential-id": [f"JTI={told['jti']}"]},
        }

    with_api(scenario)


def test_a_bearer_is_who_the_token_says(with_api: Any) -> None:
    async def scenario(api: Any) -> None:
        await account(api)
        token = (await api.made(f"{ACCOUNTS}/robot/token", request()))["status"]["token"]
        code, answer = await api("GET", PODS, Authorization=f"Bearer {token}")
        assert code == 403
        assert 'User "system:serviceaccount:default:robot" cannot list resource "pods"' in answer["message"]

    with_api(scenario)


def test_a_token_ends_with_its_account_or_pod(with_api: Any, objects: Any) -> None:
    async def scenario(api: Any) -> None:
        await account(api)
        pod = await api.made(PODS, objects.pod("p", serviceAccountName="robot"))
        reference = {"kind": "Pod", "apiVersion": "v1", "name": "p"}
        made = await api.made(f"{ACCOUNTS}/robot/token", request(boundObjectRef=reference, expirationSeconds=3607))
        bound = made["status"]["token"]
        assert claims(bound)["kubernetes.io"]["pod"] == {"name": "p", "uid": pod["metadata"]["uid"]}
        assert claims(bound)["kubernetes.io"]["warnafter"] == claims(bound)["iat"] + 3607
        assert claims(bound)["exp"] - claims(bound)["iat"] == 365 * 24 * 3600
        free = (await api.made(f"{ACCOUNTS}/robot/token", request()))["status"]["token"]
        assert (await review(api, bound))["authenticated"] is True
        await api("DELETE", f"{PODS}/p?gracePeriodSeconds=0")
        assert "authenticated" not in await review(api, bound)
        assert (await review(api, free))["authenticated"] is True
        await api("DELETE", f"{ACCOUNTS}/robot")
        await account(api)  # of the same name, with another uid
        assert "authenticated" not in await review(api, free)

    with_api(scenario)


def test_audiences_must_meet(with_api: Any) -> None:
    async def scenario(api: Any) -> None:
        await account(api)
        made = await api.made(f"{ACCOUNTS}/robot/token", request(audiences=["vault", "ci"]))
        token = made["status"]["token"]
        assert "authenticated" not in await review(api, token)
        assert (await review(api, token, "ci", "other"))["audiences"] == ["ci"]

    with_api(scenario)


def test_bad_requests_are_told(with_api: Any, objects: Any) -> None:
    async def scenario(api: Any) -> None:
        await account(api)
        await api.made(PODS, objects.pod("p"))
        url = f"{ACCOUNTS}/robot/token"
        code, answer = await api("POST", url, request(expirationSeconds=10))
        assert (code, answer["details"]["causes"][0]["message"]) == (
            422,
            "Invalid value: 10: may not specify a duration less than 10 minutes",
        )
        pod = {"kind": "Pod", "apiVersion": "v1", "name": "p"}
        for reference, code in (
            (pod, 400),
            ({**pod, "kind": "ConfigMap"}, 400),
            ({**pod, "kind": "Secret", "name": "none"}, 404),
        ):
            assert (await api("POST", url, request(boundObjectRef=reference)))[0] == code
        assert (await api("POST", f"{ACCOUNTS}/nobody/token", request()))[0] == 404
        assert (await api("GET", url))[0] == 405

    with_api(scenario)


def test_the_public_key_is_published(with_api: Any) -> None:
    async def scenario(api: Any) -> None:
        _, told = await api("GET", "/.well-known/openid-configuration")
        assert told["issuer"] == ISSUER
        assert told["jwks_uri"].endswith("/openid/v1/jwks")
        _, keys = await api("GET", "/openid/v1/jwks")
        assert keys["keys"][0]["alg"] == "ES256"

    with_api(scenario)


def test_tokens_outlive_the_server_with_the_same_key_and_end_in_time(tmp_path: Path, with_api: Any) -> None:
    file = tmp_path / "key"
    file.write_bytes(new_key())
    settings = ApiServerSettings("test", service_account_key_file=str(file))
    moments = [datetime(2026, 1, 1, tzinfo=UTC)]

    async def scenario(api: Any) -> None:
        server = ApiServer(settings, api.store, now=lambda: moments[-1])
        other = ApiServer(settings, api.store, now=lambda: moments[-1])
        for one in (server, other):
            await one.start()
        try:
            await account(api)
            api.server = server
            token = (await api.made(f"{ACCOUNTS}/robot/token", request(expirationSeconds=600)))["status"]["token"]
            api.server = other
            assert (await review(api, token))["authenticated"] is True
            moments.append(moments[-1] + timedelta(seconds=599))
            assert (await review(api, token))["authenticated"] is True
            moments.append(moments[-1] + timedelta(seconds=1))
            assert "authenticated" not in await review(api, token)
        finally:
            for one in (server, other):
                await one.stop()

    with_api(scenario)


@pytest.mark.parametrize("content", [b"", b"no key"])
def test_an_unusable_key_file_is_named(tmp_path: Path, content: bytes) -> None:
    import asyncio

    file = tmp_path / "key"
    file.write_bytes(content)
    server = ApiServer(ApiServerSettings("test", service_account_key_file=str(file)), MemoryStore())
    with pytest.raises(KeyFileError, match="key"):
        asyncio.run(server.start())


@given(st.integers(0, 400), st.characters(codec="ascii"))
def test_a_token_that_was_changed_is_none(place: int, letter: str) -> None:
    token = KEY.sign({"sub": "a", "exp": 1})
    changed = token[: place % len(token)] + letter + token[place % len(token) + 1 :]
    read = KEY.claims(changed)
    assert read is None or claims(changed) == {"sub": "a", "exp": 1}


@given(st.text(max_size=60))
def test_any_text_is_safe_to_show(text: str) -> None:
    assert KEY.claims(text) is None


@pytest.fixture
def key_file(tmp_path: Path) -> str:
    file = tmp_path / "key"
    file.write_bytes(PEM)
    return str(file)


def legacy(robot: Any, secret: str = "t") -> tuple[str, dict[str, Any]]:
    """A token without end, and the Secret that holds it."""
    metadata = robot["metadata"]
    said = dict(zip(LEGACY_CLAIMS, ("default", secret, metadata["name"], metadata["uid"]), strict=True))
    token = KEY.sign({"iss": LEGACY_ISSUER, "sub": f"system:serviceaccount:default:{metadata['name']}", **said})
    annotations = {"kubernetes.io/service-account.name": metadata["name"]}
    held = {"metadata": {"name": secret, "annotations": annotations}, "type": "kubernetes.io/service-account-token"}
    return token, {
        "apiVersion": "v1",
        "kind": "Secret",
        **held,
        "data": {"token": base64.b64encode(token.encode()).decode()},
    }


SECRETS = "/api/v1/namespaces/default/secrets"


def test_a_token_of_a_secret_holds_while_its_secret_and_account_are_there(with_api: Any, key_file: str) -> None:
    async def scenario(api: Any) -> None:
        robot = await account(api)
        token, secret = legacy(robot)
        assert "authenticated" not in await review(api, token), "its Secret isn't there"
        await api.made(SECRETS, secret)
        status = await review(api, token)
        assert status["authenticated"] is True
        assert status["audiences"] == [ISSUER]
        assert status["user"] == {
            "username": "system:serviceaccount:default:robot",
            "uid": robot["metadata"]["uid"],
            "groups": ["system:serviceaccounts", "system:serviceaccounts:default", "system:authenticated"],
        }
        assert "authenticated" not in await review(api, token, "vault")
        _, held = await api("GET", f"{SECRETS}/t")
        assert held["metadata"]["labels"] == {LAST_USED: f"{datetime.now(UTC):%Y-%m-%d}"}
        other, _ = legacy({"metadata": {**robot["metadata"], "uid": "another"}})
        assert "authenticated" not in await review(api, other)
        await api("DELETE", f"{ACCOUNTS}/robot")
        assert "authenticated" not in await review(api, token)

    with_api(scenario, service_account_key_file=key_file)


def test_a_token_that_was_marked_invalid_or_replaced_is_refused(with_api: Any, key_file: str) -> None:
    async def scenario(api: Any) -> None:
        token, secret = legacy(await account(api))
        await api.made(SECRETS, secret)
        labels = {"metadata": {"labels": {INVALID_SINCE: "2026-01-01"}}}
        merge = "application/merge-patch+json"
        await api("PATCH", f"{SECRETS}/t", labels, merge)
        assert "authenticated" not in await review(api, token)
        await api("PATCH", f"{SECRETS}/t", {"metadata": {"labels": {INVALID_SINCE: None}}}, merge)
        assert (await review(api, token))["authenticated"] is True
        await api("PATCH", f"{SECRETS}/t", {"data": {"token": "eA=="}}, merge)
        assert "authenticated" not in await review(api, token)

    with_api(scenario, service_account_key_file=key_file)
