"""Root and intermediate: ECDSA P-256, kept on disk 0600, constrained to one trust domain.

The root signs intermediates only (path length 1), the intermediate signs leaves only (path length 0); both may name
only URIs whose host is the trust domain (RFC 5280, 4.2.1.10). Leaves follow the X.509-SVID specification
(https://github.com/spiffe/spiffe/blob/main/standards/X509-SVID.md): one URI name, no subject, not a CA.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from meshlab.identity.files import write_secret

BACK_DATED = datetime.timedelta(seconds=60)
"""Certificates are valid a little earlier than made, for clocks that are late."""
ROOT_LIFE = datetime.timedelta(days=3650)
INTERMEDIATE_LIFE = datetime.timedelta(days=365)
_PEM = serialization.Encoding.PEM


@dataclass(frozen=True)
class Signed:
    """A certificate with its key, both PEM."""

    certificate: x509.Certificate
    certificate_pem: bytes
    key_pem: bytes = field(repr=False)


@dataclass(frozen=True)
class _Signer:
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey = field(repr=False)


class Authority:
    """Signs leaves of one trust domain. Made by `load_or_create`."""

    def __init__(self, root: _Signer, intermediate: _Signer, trust_domain: str) -> None:
        self._root, self._intermediate = root, intermediate
        self.trust_domain = trust_domain

    @classmethod
    def load_or_create(cls, folder: Path, trust_domain: str) -> Authority:
        """The authority kept in a folder. A root or intermediate past half its life, or of another trust domain, is
        replaced; the same root is kept otherwise. ValueError where a file is not what we wrote."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)
        now = datetime.datetime.now(datetime.UTC)
        root = _load(folder / "root.pem")
        if root is None or not _serves(root.certificate, trust_domain, now):
            root = _ca(f"{trust_domain} root", None, trust_domain, now, ROOT_LIFE)
            write_secret(folder / "root.pem", _stored(root))
        intermediate = _load(folder / "intermediate.pem")
        if (
            intermediate is None
            or not _serves(intermediate.certificate, trust_domain, now)
            or not _signed_by(intermediate.certificate, root.certificate)
        ):
            intermediate = _ca(f"{trust_domain} intermediate", root, trust_domain, now, INTERMEDIATE_LIFE)
            write_secret(folder / "intermediate.pem", _stored(intermediate))
        return cls(root, intermediate, trust_domain)

    @property
    def bundle_pem(self) -> bytes:
        """The trust bundle: the root that every chain leads to."""
        return self._root.certificate.public_bytes(_PEM)

    @property
    def intermediate_pem(self) -> bytes:
        return self._intermediate.certificate.public_bytes(_PEM)

    def sign_leaf(self, uri: str, ttl: datetime.timedelta) -> Signed:
        """A new key and its certificate for `uri`, for both ends of TLS. It never outlives the intermediate."""
        now = datetime.datetime.now(datetime.UTC)
        key = ec.generate_private_key(ec.SECP256R1())
        issuer = self._intermediate
        certificate = (
            _builder(key, x509.Name([]), issuer.certificate.subject, now)
            .not_valid_after(min(now + ttl, issuer.certificate.not_valid_after_utc))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(ca=False), critical=True)
            .add_extension(
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]),
                critical=False,
            )
            # critical, since the subject is empty
            .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri)]), critical=True)
            .add_extension(_issued_by(issuer), critical=False)
            .sign(issuer.key, hashes.SHA256())
        )
        return Signed(certificate, certificate.public_bytes(_PEM), _key_pem(key))

    def __repr__(self) -> str:
        return f"Authority({self.trust_domain!r})"


def _ca(
    name: str, parent: _Signer | None, trust_domain: str, now: datetime.datetime, life: datetime.timedelta
) -> _Signer:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "meshlab"),
                         x509.NameAttribute(NameOID.COMMON_NAME, name)])  # fmt: skip
    constraints = x509.NameConstraints([x509.UniformResourceIdentifier(trust_domain)], None)
    builder = (
        _builder(key, subject, parent.certificate.subject if parent else subject, now)
        .not_valid_after(now + life)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0 if parent else 1), critical=True)
        .add_extension(_usage(ca=True), critical=True)
        .add_extension(constraints, critical=True)
    )
    if parent is not None:
        builder = builder.add_extension(_issued_by(parent), critical=False)
    return _Signer(builder.sign(parent.key if parent else key, hashes.SHA256()), key)


def _builder(
    key: ec.EllipticCurvePrivateKey, subject: x509.Name, issuer: x509.Name, now: datetime.datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACK_DATED)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=ca,
        crl_sign=ca,
        encipher_only=False,
        decipher_only=False,
    )


def _issued_by(issuer: _Signer) -> x509.AuthorityKeyIdentifier:
    identifier = issuer.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def _stored(signer: _Signer) -> bytes:
    # one file, so that certificate and key are replaced together
    return signer.certificate.public_bytes(_PEM) + _key_pem(signer.key)


def _load(path: Path) -> _Signer | None:
    if not path.exists():
        return None
    path.chmod(0o600)
    content = path.read_bytes()
    certificate = x509.load_pem_x509_certificate(content)
    key = serialization.load_pem_private_key(content, password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
        raise ValueError(f"{path.name}: the key does not belong to the certificate")
    return _Signer(certificate, key)


def _serves(certificate: x509.Certificate, trust_domain: str, now: datetime.datetime) -> bool:
    life = certificate.not_valid_after_utc - certificate.not_valid_before_utc
    constraints = certificate.extensions.get_extension_for_class(x509.NameConstraints).value
    ours = constraints.permitted_subtrees == [x509.UniformResourceIdentifier(trust_domain)]
    return ours and now < certificate.not_valid_before_utc + life / 2


def _signed_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True
