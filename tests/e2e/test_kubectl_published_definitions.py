"""Real kubectl with the kinds of well-known projects: their definitions applied, explained, their objects in tables."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import yaml
from harness.kubectl import Kubectl, kubectl_beside_a_server
from harness.published import Published, published

pytestmark = [pytest.mark.thorough, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def kubectl(tool: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kubectl]:
    folder = tmp_path_factory.mktemp("published")
    with kubectl_beside_a_server(tool("kubectl"), folder, disabled_plugins=("ServiceAccount",)) as found:
        definitions = yaml.safe_dump_all([kind.definition for kind in published()])
        assert found("apply", "-f", "-", given=definitions).count("created") == len(published())
        found("wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
        assert "configured" not in found("apply", "-f", "-", given=definitions), "applied again, nothing differs"
        yield found


@pytest.mark.parametrize("kind", published(), ids=lambda kind: kind.name)
def test_objects_are_applied_shown_and_refused(kubectl: Kubectl, kind: Published) -> None:
    explained = kind.table["explained"]
    said = kubectl("explain", f"{kind.name}.{explained['path']}")
    assert all(part in said for part in explained["says"]), said
    for number, case in enumerate(kind.table["valid"]):
        manifest = yaml.safe_dump(kind.obj(f"valid-{number}", case))
        # What is pruned, kubectl has the server refuse.
        assert "created" in kubectl("apply", "--validate=ignore", "-f", "-", given=manifest)
        kubectl("apply", "--validate=ignore", "-f", "-", given=manifest)
    assert kubectl("get", kind.name).splitlines()[0].split() == " ".join(kind.table["columns"]).split()
    for short in kind.definition["spec"]["names"].get("shortNames", ()):
        assert "valid-0" in kubectl("get", short, "--no-headers")
    if kind.table.get("scaled"):
        kubectl("scale", f"{kind.name}/valid-0", "--replicas=5")
        assert kubectl("get", kind.name, "valid-0", "-o", "jsonpath={.spec.replicas}") == "5"
    case = next(case for case in kind.table["invalid"] if "spec" in case)
    refused = kubectl.run("create", "--validate=false", "-f", "-", given=yaml.safe_dump(kind.obj("invalid", case)))
    assert refused.returncode == 1
    assert f'The {kind.definition["spec"]["names"]["kind"]} "invalid" is invalid' in refused.stderr
    for field, _, part in case["causes"]:
        assert field in refused.stderr
        assert part in refused.stderr
    kubectl("delete", kind.name, "--all")
