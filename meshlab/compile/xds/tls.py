"""Mesh TLS: TLS 1.3 only, SVID and trust bundle by SDS over the same ADS stream, SPIFFE IDs checked on both ends."""

from __future__ import annotations

from collections.abc import Sequence

from envoy.config.core.v3 import base_pb2 as core
from envoy.config.core.v3 import config_source_pb2 as source
from envoy.extensions.transport_sockets.tls.v3 import common_pb2 as common
from envoy.extensions.transport_sockets.tls.v3 import secret_pb2 as secret
from envoy.extensions.transport_sockets.tls.v3 import tls_pb2 as tls
from envoy.type.matcher.v3 import string_pb2 as string

from meshlab.compile.xds.pack import any_of, resource, u32
from meshlab.model.snapshot import Resource

BUNDLE = "ROOTCA"
ALPN_TCP, ALPN_H1, ALPN_H2, ALPN_HBONE = "meshlab", "meshlab-h1", "meshlab-h2", "h2"
ALPN = {"h1": ALPN_H1, "h2": ALPN_H2, "tcp": ALPN_TCP}
"""By variant."""
_PARAMS = common.TlsParameters(
    tls_minimum_protocol_version=common.TlsParameters.TLSv1_3,
    tls_maximum_protocol_version=common.TlsParameters.TLSv1_3,
    ecdh_curves=["X25519MLKEM768", "X25519", "P-256"],
)


def ads() -> source.ConfigSource:
    return source.ConfigSource(ads=source.AggregatedConfigSource(), resource_api_version=source.V3)


def _sds(name: str) -> secret.SdsSecretConfig:
    return secret.SdsSecretConfig(name=name, sds_config=ads())


def _common(alpn: str, svid: str, identities: Sequence[string.StringMatcher]) -> tls.CommonTlsContext:
    matchers = [
        common.SubjectAltNameMatcher(san_type=common.SubjectAltNameMatcher.URI, matcher=matcher)
        for matcher in identities
    ]
    return tls.CommonTlsContext(
        tls_params=_PARAMS,
        alpn_protocols=[alpn],
        tls_certificate_sds_secret_configs=[_sds(svid)],
        combined_validation_context=tls.CommonTlsContext.CombinedCertificateValidationContext(
            default_validation_context=common.CertificateValidationContext(match_typed_subject_alt_names=matchers),
            validation_context_sds_secret_config=_sds(BUNDLE),
        ),
    )


def upstream(alpn: str, spiffe_ids: Sequence[str], svid: str) -> core.TransportSocket:
    """The client's side: the server must be one of `spiffe_ids`. `svid`: the secret with our own."""
    context = tls.UpstreamTlsContext(
        common_tls_context=_common(alpn, svid, [string.StringMatcher(exact=one) for one in spiffe_ids]),
        max_session_keys=u32(8),
    )
    return core.TransportSocket(name="envoy.transport_sockets.tls", typed_config=any_of(context))


def downstream(alpn: str, trust_domain: str, svid: str) -> core.TransportSocket:
    """The server's side: a client of the trust domain must show its certificate."""
    context = tls.DownstreamTlsContext(
        common_tls_context=_common(alpn, svid, [string.StringMatcher(prefix=f"spiffe://{trust_domain}/")])
    )
    context.require_client_certificate.value = True
    return core.TransportSocket(name="envoy.transport_sockets.tls", typed_config=any_of(context))


def svid_resource(name: str, chain_pem: str, key_pem: str) -> Resource:
    """An SVID as an SDS secret."""
    certificate = common.TlsCertificate(
        certificate_chain=core.DataSource(inline_string=chain_pem), private_key=core.DataSource(inline_string=key_pem)
    )
    return resource(name, secret.Secret(name=name, tls_certificate=certificate))


def bundle_resource(name: str, pem: str) -> Resource:
    """A trust bundle as an SDS secret."""
    context = common.CertificateValidationContext(trusted_ca=core.DataSource(inline_string=pem))
    return resource(name, secret.Secret(name=name, validation_context=context))
