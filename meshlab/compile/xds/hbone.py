"""HBONE: raw connections between proxies as HTTP/2 CONNECT over mutual TLS at 15008, as in Istio's ambient mode.

What the two ends have in common. Every proxy takes it; it is spoken to a Service that is
labelled `meshlab.io/tunnel: hbone`. The authority says where to: `<pod's address>:<port>`, or for such a Service
`<its host>:<container port>`, whichever pod the proxy has chosen.

It is not for all: Envoy 1.40 ends a tunnelled connection whole when the server closes its end, by a reset that
overtakes what a slower client has not read yet. That client sees a reset, never a silent end. Of a connection of its
own over TLS nothing is ever lost, but each pays for a handshake.
"""

from __future__ import annotations

from envoy.config.core.v3 import protocol_pb2 as protocol

from meshlab.compile.plan import Target
from meshlab.compile.xds.pack import u32

INBOUND = "inbound|hbone||"
"""The pod's application, at the address that the authority names; and the routes of what leaves the tunnels."""

_STREAMS, _WINDOW = 128, 1 << 18
OPTIONS = protocol.Http2ProtocolOptions(
    max_concurrent_streams=u32(_STREAMS),
    initial_stream_window_size=u32(_WINDOW),
    initial_connection_window_size=u32(_STREAMS * _WINDOW),
)
"""A receiver that does not read holds back its own connection: 256 KiB of it lie in the tunnel, and the tunnel has room
for all that it carries."""


def inbound(port: int) -> str:
    """The pod's application at one port."""
    return f"inbound|hbone|{port}|"


def authority(target: Target) -> str:
    """Where a connection to a Service's port goes, whichever pod is chosen."""
    return f"{target.service.host}:{target.tunnel}"


def endpoints_of(target: Target) -> str:
    """The name of a Service port's endpoints at the port of their tunnels."""
    return f"hbone|{target.endpoints}"
