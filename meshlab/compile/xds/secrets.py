"""SDS: the proxy's own SVID and the bundle it trusts others by."""

from __future__ import annotations

from envoy.extensions.transport_sockets.tls.v3 import secret_pb2

from meshlab.compile.xds.resources import resource
from meshlab.model.snapshot import Resource

SVID = "default"
BUNDLE = "ROOTCA"


def svid_resource(name: str, chain_pem: bytes, key_pem: bytes) -> Resource:
    """A certificate chain, leaf first, and its private key, both PEM."""
    certificate = {"certificate_chain": {"inline_bytes": chain_pem}, "private_key": {"inline_bytes": key_pem}}
    return resource(name, secret_pb2.Secret(name=name, tls_certificate=certificate))


def bundle_resource(name: str, pem: bytes) -> Resource:
    """The roots that peers' certificates must lead to, PEM."""
    return resource(name, secret_pb2.Secret(name=name, validation_context={"trusted_ca": {"inline_bytes": pem}}))
