"""How a client wants to stream: WebSocket or SPDY, and which protocol on it."""

from __future__ import annotations

from collections.abc import Sequence

from aiohttp import hdrs, web

from oarlock.cluster.kubelet.streaming.takeover import Connection, take_over
from oarlock.cluster.kubelet.streaming.websocket import WebSocket

PROTOCOL_VERSION = "X-Stream-Protocol-Version"
SPDY = "SPDY/3.1"


def is_upgrade(request: web.Request, protocol: str) -> bool:
    """Tell whether the request asks to go on with `protocol`."""
    wants = request.headers.get(hdrs.CONNECTION, "").lower()
    return "upgrade" in wants and request.headers.get(hdrs.UPGRADE, "").lower() == protocol.lower()


def socket_protocols(request: web.Request) -> list[str]:
    """Return the WebSocket subprotocols that the client offers, in its order."""
    return _listed(request.headers.getall(hdrs.SEC_WEBSOCKET_PROTOCOL, []))


async def open_socket(request: web.Request, served: Sequence[str]) -> WebSocket:
    """Open a WebSocket with the client's first protocol that is among `served`; "" is for clients that offer none.

    Raises HTTPForbidden if there is none such. Source: upstream's wsstream.
    """
    offered = socket_protocols(request) or [""]
    chosen = next((protocol for protocol in offered if protocol in served), None)
    if chosen is None:
        raise web.HTTPForbidden(text=f"requested protocol(s) are not supported: {_go(offered)}; supports {_go(served)}")
    socket = WebSocket(request, chosen)
    await socket.open()
    return socket


async def open_spdy(request: web.Request, served: Sequence[str]) -> tuple[str, Connection]:
    """Take the connection over for SPDY with the client's first stream protocol that is among `served`.

    The protocol is "" if the client names none. Raises HTTPBadRequest for what is no upgrade, HTTPForbidden if no
    protocol fits. Source: upstream's httpstream.Handshake.
    """
    if not is_upgrade(request, SPDY):
        raise web.HTTPBadRequest(text="unable to upgrade: missing upgrade headers in request")
    offered = _listed(request.headers.getall(PROTOCOL_VERSION, []))
    chosen = next((protocol for protocol in offered if protocol in served), "")
    if offered and not chosen:
        text = f"unable to upgrade: unable to negotiate protocol: client supports {_go(offered)}, server accepts "
        raise web.HTTPForbidden(
            text=text + _go(served), headers={"X-Accepted-Stream-Protocol-Versions": ", ".join(served)}
        )
    headers = {"Connection": "Upgrade", "Upgrade": SPDY}
    if chosen:
        headers[PROTOCOL_VERSION] = chosen
    return chosen, await take_over(request, headers)


def _listed(values: Sequence[str]) -> list[str]:
    return [part.strip() for value in values for part in value.split(",") if part.strip()]


def _go(texts: Sequence[str]) -> str:
    return "[" + " ".join(texts) + "]"
