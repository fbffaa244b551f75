"""Several clusters on one machine, and the pytest fixture that operators are tested with."""

from __future__ import annotations

import os
import subprocess
import sys
import urllib.request
import zlib
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from oarlock.cluster.boot.network import SLOTS

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
TOKENS = 'alice-token,alice,1,"system:masters"\nbob-token,bob,2,"guests"\n'


@pytest.fixture(scope="module")
def clusters(new_cluster: Callable[[str], Any], tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    tokens = tmp_path_factory.mktemp("tokens") / "tokens.csv"
    tokens.write_text(TOKENS)
    left, right = new_cluster("left"), new_cluster("right")
    left.up("--single", "--token-file", str(tokens))
    right.up("--single")
    return left, right


def test_services_of_two_clusters_answer_apart(clusters: tuple[Any, Any], waiting: Callable[..., Any]) -> None:
    addresses = set()
    for cluster in clusters:
        cluster.kubectl("apply", "-f", str(EXAMPLES / "web.yaml"))
        cluster.rolled_out("web")
        service = cluster.get("service", "web")["spec"]
        pods = {pod["metadata"]["name"] for pod in cluster.get("pods", "-l", "app=web")["items"]}
        url = f"http://{service['clusterIP']}:{service['ports'][0]['port']}/"

        def answer(url: str = url) -> str:
            try:
                return str(urllib.request.urlopen(url, timeout=2).read(), "utf-8")
            except OSError:
                return ""

        assert waiting(answer).split()[-1] in pods
        addresses.add(service["clusterIP"])
    assert len(addresses) == 2


@pytest.mark.parametrize(
    ("token", "allowed", "said"),
    [
        ("alice-token", True, "kube-system"),
        ("bob-token", False, 'User "bob" cannot list resource "namespaces"'),
        ("no-such-token", False, "You must be logged in to the server"),
    ],
)
def test_tokens_decide_who_may(clusters: tuple[Any, Any], tmp_path: Path, token: str, allowed: bool, said: str) -> None:
    """Even what there is to ask for is asked anew by each: kubectl keeps answers at home."""
    cluster = clusters[0]
    config = cluster.kubectl("config", "view", "--minify", "-o", "jsonpath={.clusters[0].cluster.server}")
    ca_file = cluster.folder / "state" / "pki" / "ca.crt"
    access = [f"--server={config}", f"--certificate-authority={ca_file}", f"--token={token}"]
    run = subprocess.run(
        [cluster.kubectl_path, "--kubeconfig=/dev/null", *access, "get", "namespaces"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "HOME": str(tmp_path)},
    )
    assert (run.returncode == 0) == allowed
    assert said in run.stdout + run.stderr
    assert token not in run.stderr


def test_clusters_that_want_the_same_slot_at_the_same_time_all_come_up(new_cluster: Callable[[str], Any]) -> None:
    made = [new_cluster(f"twin-{number}") for number in range(3)]
    ups = []
    for twin in made:
        # The name and the folder together choose the slot; so do these, up to a suffix that makes the sums equal.
        name = next(name for n in count() if first_slot(name := f"{twin.name}-{n}", twin.folder / "state") == 30)
        twin.name = name
        command = [sys.executable, "-m", "oarlock.cluster.boot.main", "up", "--single", "--name", name]
        command += ["--state", str(twin.folder / "state"), "--kubeconfig", str(twin.kubeconfig)]
        ups.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True))
    said = [up.communicate(timeout=120)[0] for up in ups]
    assert [up.returncode for up in ups] == [0, 0, 0], said
    cidrs = {twin.get("service", "kubernetes")["spec"]["clusterIP"] for twin in made}
    assert len(cidrs) == 3


def first_slot(name: str, state: Path) -> int:
    """Return the slot that a cluster gets if nobody holds it."""
    return zlib.crc32(f"{name} {state}".encode()) % SLOTS


def test_every_xdist_worker_has_a_cluster_of_its_own(tmp_path: Path) -> None:
    suite = tmp_path / "test_operator.py"
    suite.write_text(
        "import pathlib, ssl, urllib.request, pytest\n"
        "@pytest.mark.parametrize('number', range(4))\n"
        "def test_it(oarlock_cluster, number):\n"
        "    context = ssl.create_default_context(cafile=str(oarlock_cluster.ca_file))\n"
        "    url = oarlock_cluster.server + '/readyz'\n"
        "    assert urllib.request.urlopen(url, context=context).read() == b'ok'\n"
        f"    pathlib.Path({str(tmp_path)!r}, oarlock_cluster.server.rpartition(':')[2] + '.server').touch()\n"
    )
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-n", "2", "--dist", "each", "-p", "no:cacheprovider", str(suite)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert len(list(tmp_path.glob("*.server"))) == 2
    left = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert "oarlock0/state" not in left
