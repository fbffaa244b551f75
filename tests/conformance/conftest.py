"""An API server with the controllers beside it, and plain requests to it.

Each test here stands for specifications of Kubernetes' own conformance suite (its `test/e2e`), which it names: those
that need an API server and controllers, and no images.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from harness.rest import Rest
from harness.threaded import threaded_api_server


@pytest.fixture(scope="session")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rest]:
    with threaded_api_server(tmp_path_factory.mktemp("conformance"), controllers=True) as server:
        rest = Rest(server.kubeconfig)
        yield rest
        rest.close()


@pytest.fixture
def new_namespace(api: Rest) -> Iterator[Callable[[], str]]:
    """Return a function that makes a namespace in which pods can be made; each is deleted at the test's end."""
    made: list[str] = []

    def make() -> str:
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"generateName": "conformance-"}}
        made.append(api.create("/api/v1/namespaces", body)["metadata"]["name"])
        api.until(f"/api/v1/namespaces/{made[-1]}/serviceaccounts/default", lambda _: True)
        return made[-1]

    yield make
    for name in made:
        api("DELETE", f"/api/v1/namespaces/{name}")


@pytest.fixture
def namespace(new_namespace: Callable[[], str]) -> str:
    return new_namespace()


@pytest.fixture
def core(namespace: str) -> str:
    """The path of the core group's kinds in the test's own namespace."""
    return f"/api/v1/namespaces/{namespace}"


@pytest.fixture
def apps(namespace: str) -> str:
    return f"/apis/apps/v1/namespaces/{namespace}"
