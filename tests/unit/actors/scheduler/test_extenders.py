"""What extenders are sent, and what becomes of what they answer, or don't."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from harness.scheduling import node_object, pod_object

from oarlock.actors.scheduler.configuration import Configuration, read
from oarlock.actors.scheduler.decision import Search, Unschedulable, decide
from oarlock.actors.scheduler.extender import Extender, ExtenderFailed
from oarlock.actors.scheduler.extender_settings import ExtenderSettings
from oarlock.actors.scheduler.extending import agreed, extended
from oarlock.actors.scheduler.facts import node_facts, pod_facts
from oarlock.actors.scheduler.located import Broken
from oarlock.actors.scheduler.plugins import DEFAULT
from oarlock.actors.scheduler.snapshot import Snapshot

Object = dict[str, Any]
NODES = {name: {**node_object(name, cpu="2"), "kind": "Node"} for name in ("n0", "n1")}
POD = pod_object(cpu="2", priority=10)
LESSER = {name: {**pod_object(f"lesser-{name}", cpu="2", priority=1)} for name in NODES}


def cluster(*, full: bool = False) -> Snapshot:
    """Two nodes; `full` ones have a pod that is less important."""
    made = Snapshot()
    for name, node in NODES.items():
        made.put_node(node_facts(node))
        if full:
            made.put_pod(pod_facts(LESSER[name]), name)
    return made


def asked(
    answers: Callable[[str, Object], Any], work: Callable[[Extender], Awaitable[Any]], **settings: Any
) -> tuple[Any, list[tuple[str, Object]]]:
    """Do `work` with an extender that answers so; return its outcome and what the extender was sent."""
    sent: list[tuple[str, Object]] = []

    async def answer(request: web.Request) -> web.Response:
        verb, body = request.match_info["verb"], await request.json()
        sent.append((verb, body))
        return web.json_response(answers(verb, body))

    async def story() -> Any:
        server = TestServer(web.Application())
        server.app.router.add_post("/api/{verb}", answer)
        await server.start_server()
        verbs = {"filter_verb": "filter", "prioritize_verb": "rank", "preempt_verb": "preempt", "bind_verb": "bind"}
        extender = Extender(ExtenderSettings(f"http://127.0.0.1:{server.port}/api", **{**verbs, **settings}))
        try:
            return await work(extender)
        finally:
            await extender.close()
            await server.close()

    return asyncio.run(story()), sent


@pytest.mark.parametrize("names_only", [True, False])
def test_nodes_are_sent_whole_or_by_name_and_answered_alike(names_only: bool) -> None:
    def answers(_: str, body: Object) -> Any:
        refused = {"FailedNodes": {"n0": "full"}, "failedAndUnresolvableNodes": {}}
        return {"NodeNames": ["n1"], **refused} if names_only else {"nodes": {"items": [NODES["n1"]]}, **refused}

    async def work(extender: Extender) -> Any:
        return await extender.filter(POD, list(NODES.values()))

    outcome, [(verb, body)] = asked(answers, work, names_only=names_only)
    assert outcome == (["n1"], {"n0": "full"}, {})
    assert verb == "filter"
    assert body["Pod"]["metadata"]["name"] == "p"
    assert (body["NodeNames"] == ["n0", "n1"]) is names_only
    assert (body["Nodes"] is None) is names_only


def test_grades_are_stretched_and_weighed() -> None:
    async def work(extender: Extender) -> Any:
        return await extender.grade(POD, list(NODES.values()))

    outcome, _ = asked(lambda *_: [{"Host": "n0", "Score": 3}, {"host": "n1", "score": 10}], work, weight=2)
    assert outcome == {"n0": 60, "n1": 200}


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ({"Error": "no licences"}, "no licences"),
        (
            {"NodeNames": ["n9"]},
            'extender "{url}" claims a filtered node "n9" which is not found in the input node list',
        ),
    ],
)
def test_what_is_wrong_is_said_in_upstreams_words(answer: Object, said: str) -> None:
    async def work(extender: Extender) -> Any:
        with pytest.raises(ExtenderFailed) as failed:
            await extender.filter(POD, list(NODES.values()))
        return str(failed.value), said.replace("{url}", extender.settings.url)

    (told, expected), _ = asked(lambda *_: answer, work, names_only=True)
    assert told == expected


def test_a_status_and_silence_are_failures_unless_they_may_be_ignored() -> None:
    async def hang(_: web.Request) -> web.Response:
        await asyncio.sleep(60)
        return web.Response()

    async def break_down(_: web.Request) -> web.Response:
        return web.Response(status=500)

    async def story() -> None:
        server = TestServer(web.Application())
        server.app.router.add_post("/hang", hang)
        server.app.router.add_post("/broken", break_down)
        await server.start_server()
        url = f"http://127.0.0.1:{server.port}"
        limits_s = {"hang": 0.05, "broken": 30.0}
        told = {
            "hang": f'Post "{url}/hang": context deadline exceeded (Client.Timeout exceeded while awaiting headers)',
            "broken": f"failed broken with extender at URL {url}/broken, code 500",
        }
        try:
            for verb, said in told.items():
                for ignorable in (False, True):
                    extender = Extender(ExtenderSettings(url, verb, ignorable=ignorable, timeout_s=limits_s[verb]))
                    if ignorable:
                        passed, _, _ = await extender.filter(POD, list(NODES.values()))
                        assert passed == ["n0", "n1"]
                    else:
                        with pytest.raises(ExtenderFailed) as failed:
                            await extender.filter(POD, list(NODES.values()))
                        assert str(failed.value) == said
                    await extender.close()
        finally:
            await server.close()

    asyncio.run(story())


def test_a_pod_makes_room_where_the_extender_lets_it() -> None:
    def answers(_: str, body: Object) -> Any:
        victims = body["NodeNameToMetaVictims"]
        assert set(victims) == {"n0", "n1"}
        return {"NodeNameToMetaVictims": {"n1": victims["n1"]}}

    async def work(extender: Extender) -> Any:
        snapshot, pod = cluster(full=True), pod_facts(POD)
        refused = decide(pod, snapshot)
        assert isinstance(refused, Unschedulable)
        assert refused.nomination is not None
        assert refused.nomination.node == "n0"
        return await agreed(pod, POD, refused, snapshot, [extender], lambda _: None)

    outcome, [(verb, _)] = asked(answers, work, names_only=True)
    assert verb == "preempt"
    assert outcome.nomination.node == "n1"
    assert [one.name for one in outcome.nomination.victims] == ["lesser-n1"]


def test_nobody_goes_if_the_extender_agrees_to_no_node() -> None:
    async def work(extender: Extender) -> Any:
        snapshot, pod = cluster(full=True), pod_facts(POD)
        refused = decide(pod, snapshot)
        assert isinstance(refused, Unschedulable)
        pods = {f"default/lesser-{name}": obj for name, obj in LESSER.items()}
        return await agreed(pod, POD, refused, snapshot, [extender], pods.get)

    outcome, [(_, body)] = asked(lambda *_: {"NodeNameToMetaVictims": {}}, work)
    assert body["NodeNameToVictims"]["n0"]["Pods"][0]["metadata"]["name"] == "lesser-n0"
    assert outcome.nomination is None
    assert outcome.message.endswith("preemption: no candidate node for preemption")


def test_room_may_be_made_on_a_node_that_the_extender_was_not_asked_about() -> None:
    def answers(_: str, body: Object) -> Any:
        assert body["NodeNames"] == ["n0"]
        return {"NodeNames": [], "FailedAndUnresolvableNodes": {"n0": "no licence ever"}}

    async def work(extender: Extender) -> Any:
        snapshot, pod = cluster(), pod_facts(POD)
        snapshot.put_pod(pod_facts(LESSER["n1"]), "n1")
        profile = await extended(pod, POD, snapshot, Search(), DEFAULT, [extender], NODES.get)
        return decide(pod, snapshot, profile=profile)

    outcome, _ = asked(answers, work, names_only=True)
    assert outcome.message == "0/2 nodes are available: 1 Insufficient cpu, 1 no licence ever."
    assert outcome.nomination.node == "n1"


def test_an_extender_binds_what_it_is_there_for() -> None:
    asking = pod_facts({**POD, "spec": {"containers": [{"resources": {"requests": {"example.com/x": "1"}}}]}})

    async def work(extender: Extender) -> Any:
        return await extender.bind(asking, "n1"), await extender.bind(pod_facts(POD), "n1")

    outcome, [(verb, body)] = asked(lambda *_: {}, work, resources=frozenset(("example.com/x",)))
    assert outcome == (True, False)
    assert (verb, body) == (
        "bind",
        {"PodName": "p", "PodNamespace": "default", "PodUID": "uid-p", "Node": "n1"},
    )


HEAD = (
    "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\nextenders:\n- urlPrefix: https://x\n"
)


def configured(more: str) -> Configuration:
    return read("c.yaml", HEAD + more, {})


def test_resources_that_are_left_to_an_extender_are_not_asked_of_nodes() -> None:
    managed = "  managedResources: [{name: example.com/x, ignoredByScheduler: true}]\n"
    (profile,) = configured(managed).profiles.values()
    asking = {**POD, "spec": {"containers": [{"resources": {"requests": {"example.com/x": "1"}}}]}}
    assert isinstance(decide(pod_facts(asking), cluster()), Unschedulable)
    assert not isinstance(decide(pod_facts(asking), cluster(), profile=profile), Unschedulable)


def test_https_trusts_the_authority_that_it_is_given_and_anybody_without_one() -> None:
    (asked_for,) = configured("  enableHTTPS: true\n").extenders
    assert asked_for.client().insecure
    (given,) = configured("  enableHTTPS: true\n  tlsConfig: {caData: UEVN, certFile: c, keyFile: k}\n").extenders
    assert (given.client().insecure, given.client().ca_pem) == (False, "PEM")
    assert (given.client().cert_file, given.client().key_file) == ("c", "k")


@pytest.mark.parametrize(
    ("more", "line", "said"),
    [
        ("  tlsConfig: {caData: '?'}\n", 5, "tlsConfig.caData must be PEM in base64"),
        ("  tlsConfig: {certFile: c}\n", 5, "tlsConfig.certFile and its key must be given together"),
        ("  bindVerb: b\n- urlPrefix: https://y\n  bindVerb: b\n", 7, "bindVerb is another extender's too"),
        ("  httpTimeout: soon\n", 5, "httpTimeout must be a time such as 500ms or 5s"),
    ],
)
def test_a_broken_extender_is_refused_with_its_line(more: str, line: int, said: str) -> None:
    with pytest.raises(Broken) as refused:
        configured(more)
    assert refused.value.line == line
    assert said in str(refused.value)
