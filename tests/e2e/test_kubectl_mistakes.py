"""What kubectl prints when people make the usual mistakes: upstream's words, through a real kubectl."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from harness.kubectl import Kubectl, kubectl_beside_a_server

DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: NAME}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: c, image: nginx}]}
"""
POD = """
apiVersion: v1
kind: Pod
metadata: {name: pod}
spec: {containers: [{name: c, image: nginx}]}
"""
SUBDOMAIN = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.'"
FROZEN = "spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`"


PARTS = {
    "version": "apps/v1",
    "kind": "kind: Deployment",
    "replicas": "replicas: 2",
    "selected": "matchLabels: {app: web}",
    "image": "image: nginx",
}


def written(name: str, **changes: str) -> str:
    """The Deployment with some of its PARTS written otherwise."""
    text = DEPLOYMENT.replace("NAME", name)
    for part, instead in changes.items():
        text = text.replace(PARTS[part], instead)
    return text


@pytest.fixture(scope="module")
def kubectl(tool: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kubectl]:
    folder = tmp_path_factory.mktemp("mistakes")
    with kubectl_beside_a_server(tool("kubectl"), folder, disabled_plugins=("ServiceAccount",)) as found:
        found("apply", "-f", "-", given=DEPLOYMENT.replace("NAME", "web"))
        found("apply", "-f", "-", given=POD)
        yield found


@pytest.mark.parametrize(
    ("arguments", "given", "told"),
    [
        (
            "apply -f -",
            written("other", selected="matchLabels: {app: x}"),
            (
                'The Deployment "other" is invalid: spec.template.metadata.labels: Invalid value: {"app":"web"}: '
                "`selector` does not match template `labels`"
            ),
        ),
        (
            "apply -f -",
            written("web").replace("app: web", "app: x"),
            (
                'The Deployment "web" is invalid: spec.selector: Invalid value: {"matchLabels":{"app":"x"}}: field is '
                "immutable"
            ),
        ),
        (
            "apply -f -",
            written("other", image="imag: nginx"),
            (
                'Error from server (BadRequest): error when creating "STDIN": Deployment in version "v1" cannot be '
                'handled as a Deployment: strict decoding error: unknown field "spec.template.spec.containers[0].imag"'
            ),
        ),
        (
            "apply -f -",
            written("other", replicas="replicas: two"),
            (
                "cannot be handled as a Deployment: json: cannot unmarshal string into Go struct field "
                "DeploymentSpec.spec.replicas of type int32"
            ),
        ),
        (
            "apply -f -",
            written("other", replicas="replicas: -1"),
            'The Deployment "other" is invalid: spec.replicas: Invalid value: -1: must be greater than or equal to 0',
        ),
        (
            "apply -f -",
            written("other", version="apps/v1beta1"),
            'no matches for kind "Deployment" in version "apps/v1b',
        ),
        (
            "apply -f -",
            written("other", kind="kind: Deploymnt"),
            'no matches for kind "Deploymnt" in version "apps/v1"',
        ),
        (
            "apply -f -",
            written("Web_1"),
            f'The Deployment "Web_1" is invalid: metadata.name: Invalid value: "Web_1": {SUBDOMAIN}',
        ),
        (
            "create -f -",
            written("web"),
            'Error from server (AlreadyExists): error when creating "STDIN": deployments.apps "web" already exists',
        ),
        (
            "create -n nowhere -f -",
            written("web"),
            'Error from server (NotFound): error when creating "STDIN": namespaces "nowhere" not found',
        ),
        (
            "create cronjob j --image=x --schedule=bogus",
            None,
            (
                'error: failed to create cronjob: CronJob.batch "j" is invalid: spec.schedule: Invalid value: "bogus": '
                "expected exactly 5 fields, found 1: [bogus]"
            ),
        ),
        (
            "create configmap Bad.Name. --from-literal=a=b",
            None,
            (
                f'error: failed to create configmap: ConfigMap "Bad.Name." is invalid: metadata.name: Invalid value: '
                f'"Bad.Name.": {SUBDOMAIN}'
            ),
        ),
        (
            "create quota q --hard=pods=-1",
            None,
            'ResourceQuota "q" is invalid: spec.hard[pods]: Invalid value: "-1": must be greater than or equal to 0',
        ),
        (
            "expose deployment web --port=0",
            None,
            (
                'The Service "web" is invalid: \n* spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, '
                "inclusive\n* spec.ports[0].targetPort: Invalid value: 0: must be between 1 and 65535, inclusive"
            ),
        ),
        (
            "replace -f -",
            written("gone"),
            'Error from server (NotFound): error when replacing "STDIN": deployments.apps "gone" not found',
        ),
        ("replace -f -", POD.replace("name: c,", "name: d,"), f'The Pod "pod" is invalid: {FROZEN}'),
        ('patch pod pod -p {"spec":{"nodeName":"x"}}', None, '- "NodeName": "",\n+ "NodeName": "x",'),
        (
            "annotate pod pod x/y/z=1",
            None,
            'The Pod "pod" is invalid: metadata.annotations: Invalid value: "x/y/z": a qualified name must consist of',
        ),
        (
            "get pods --field-selector=spec.foo=1",
            None,
            'that match label selector "", field selector "spec.foo=1": field label not supported: spec.foo',
        ),
        ("get nothing", None, 'error: the server doesn\'t have a resource type "nothing"'),
        ("get pod nope", None, 'Error from server (NotFound): pods "nope" not found'),
        ("create ns kube-system", None, 'Error from server (AlreadyExists): namespaces "kube-system" already exists'),
        ("delete ns default", None, 'namespaces "default" is forbidden: this namespace may not be deleted'),
    ],
)
def test_mistakes_are_told_in_upstreams_words(kubectl: Kubectl, arguments: str, given: str | None, told: str) -> None:
    done = kubectl.run(*arguments.split(), given=given)
    assert done.returncode != 0
    assert told in done.stderr


def test_an_edit_that_breaks_a_rule_is_kept_in_a_file(kubectl: Kubectl) -> None:
    done = kubectl.run("edit", "deployment", "web", KUBE_EDITOR="sed -i s/replicas:.*/replicas:\\ -3/")
    assert done.returncode != 0
    assert 'deployments.apps "web" is invalid' in done.stderr
    assert "A copy of your changes has been stored to" in done.stderr
    assert kubectl.json("get", "deployment", "web")["spec"]["replicas"] == 2
