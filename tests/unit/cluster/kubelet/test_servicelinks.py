"""Which Services a container is told of, and by which variables."""

from __future__ import annotations

from typing import Any

import pytest

from oarlock.cluster.kubelet import servicelinks

Object = dict[str, Any]


def service(name: str, address: str, *ports: Object, namespace: str = "shop") -> Object:
    return {"metadata": {"name": name, "namespace": namespace}, "spec": {"clusterIP": address, "ports": list(ports)}}


def pod(namespace: str = "shop", *, links: bool = True) -> Object:
    return {"metadata": {"name": "p", "namespace": namespace}, "spec": {"enableServiceLinks": links}}


API = service("kubernetes", "10.0.0.1", {"name": "https", "port": 443}, namespace="default")
WEB = service("web-front", "10.0.0.2", {"name": "http", "port": 80}, {"name": "dns-tcp", "port": 53, "protocol": "UDP"})


def test_a_service_gives_its_address_its_ports_and_dockers_links() -> None:
    assert servicelinks.variables([WEB], pod()) == {
        "WEB_FRONT_SERVICE_HOST": "10.0.0.2",
        "WEB_FRONT_SERVICE_PORT": "80",
        "WEB_FRONT_SERVICE_PORT_HTTP": "80",
        "WEB_FRONT_SERVICE_PORT_DNS_TCP": "53",
        "WEB_FRONT_PORT": "tcp://10.0.0.2:80",
        "WEB_FRONT_PORT_80_TCP": "tcp://10.0.0.2:80",
        "WEB_FRONT_PORT_80_TCP_PROTO": "tcp",
        "WEB_FRONT_PORT_80_TCP_PORT": "80",
        "WEB_FRONT_PORT_80_TCP_ADDR": "10.0.0.2",
        "WEB_FRONT_PORT_53_UDP": "udp://10.0.0.2:53",
        "WEB_FRONT_PORT_53_UDP_PROTO": "udp",
        "WEB_FRONT_PORT_53_UDP_PORT": "53",
        "WEB_FRONT_PORT_53_UDP_ADDR": "10.0.0.2",
    }


@pytest.mark.parametrize(
    ("services", "who", "told"),
    [
        ([API, WEB], pod(), {"KUBERNETES": "10.0.0.1", "WEB_FRONT": "10.0.0.2"}),
        ([API, WEB], pod(links=False), {"KUBERNETES": "10.0.0.1"}),
        ([API, WEB], pod("elsewhere"), {"KUBERNETES": "10.0.0.1"}),
        ([API, service("kubernetes", "10.0.0.9")], pod(), {"KUBERNETES": "10.0.0.9"}),
        ([service("kubernetes", "10.0.0.9"), API], pod(), {"KUBERNETES": "10.0.0.9"}),
        ([service("headless", "None"), service("named", "")], pod(), {}),
        ([service("six", "fd00::1", {"port": 1})], pod(), {"SIX": "fd00::1"}),
    ],
)
def test_who_is_told_of_which_services(services: list[Object], who: Object, told: dict[str, str]) -> None:
    found = servicelinks.variables(services, who)
    assert {k.removesuffix("_SERVICE_HOST"): v for k, v in found.items() if k.endswith("_SERVICE_HOST")} == told


def test_an_address_of_version_six_stands_in_brackets_in_a_url() -> None:
    assert servicelinks.variables([service("six", "fd00::1", {"port": 1})], pod())["SIX_PORT"] == "tcp://[fd00::1]:1"
