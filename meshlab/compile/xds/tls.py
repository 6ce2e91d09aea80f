"""Mesh TLS: both ends show an SVID, TLS 1.3 only, and check the other's SPIFFE ID."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from envoy.config.core.v3 import base_pb2
from envoy.extensions.transport_sockets.raw_buffer.v3 import raw_buffer_pb2
from envoy.extensions.transport_sockets.tls.v3 import tls_pb2

from meshlab.compile.xds.resources import ads, packed
from meshlab.compile.xds.secrets import BUNDLE, SVID

_SESSIONS = 16
_TLS = "envoy.transport_sockets.tls"


def _common(alpn: Sequence[str], matchers: list[dict[str, Any]]) -> Any:
    return tls_pb2.CommonTlsContext(
        # An upstream context without a maximum stops at TLS 1.2.
        tls_params={"tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_3"},
        tls_certificate_sds_secret_configs=[{"name": SVID, "sds_config": ads()}],
        combined_validation_context={
            "default_validation_context": {
                "match_typed_subject_alt_names": [{"san_type": "URI", "matcher": one} for one in matchers]
            },
            "validation_context_sds_secret_config": {"name": BUNDLE, "sds_config": ads()},
        },
        alpn_protocols=alpn,
    )


def upstream(alpn: str, spiffe_ids: Iterable[str]) -> Any:
    """The client's side: only servers with one of `spiffe_ids` are believed; none at all if there is none."""
    wanted = sorted(set(spiffe_ids)) or ["spiffe://none"]
    context = tls_pb2.UpstreamTlsContext(
        common_tls_context=_common([alpn], [{"exact": one} for one in wanted]), max_session_keys={"value": _SESSIONS}
    )
    return base_pb2.TransportSocket(name=_TLS, typed_config=packed(context))


def downstream(alpn: Sequence[str], trust_domain: str) -> Any:
    """The server's side: any identity of the trust domain gets in; RBAC decides what it may do."""
    context = tls_pb2.DownstreamTlsContext(
        common_tls_context=_common(alpn, [{"prefix": f"spiffe://{trust_domain}/"}]),
        require_client_certificate={"value": True},
    )
    return base_pb2.TransportSocket(name=_TLS, typed_config=packed(context))


def plaintext() -> Any:
    return base_pb2.TransportSocket(
        name="envoy.transport_sockets.raw_buffer", typed_config=packed(raw_buffer_pb2.RawBuffer())
    )
