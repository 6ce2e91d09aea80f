"""Root and intermediate CA (X.509, RFC 5280; SPIFFE X.509-SVID): ECDSA P-256, kept in files of mode 0600."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from meshlab.kit.files import write_whole
from meshlab.model.ids import SpiffeId

_BACKDATE = dt.timedelta(seconds=60)
_ROOT_LIFE, _INTERMEDIATE_LIFE = dt.timedelta(days=3650), dt.timedelta(days=365)


@dataclass(frozen=True)
class Svid:
    """An X.509-SVID: leaf and intermediate as PEM, its private key as PEM (never shown)."""

    spiffe_id: SpiffeId
    serial: str
    not_before: dt.datetime
    not_after: dt.datetime
    chain_pem: str = field(repr=False)
    key_pem: str = field(repr=False)


@dataclass(frozen=True)
class Authority:
    """Issues SVIDs from the intermediate; `bundle_pem` is the root that proves them."""

    trust_domain: str
    _root: x509.Certificate = field(repr=False)
    _intermediate: x509.Certificate = field(repr=False)
    _key: ec.EllipticCurvePrivateKey = field(repr=False)

    @classmethod
    def load_or_create(cls, folder: Path, trust_domain: str) -> Authority:
        """The authority kept in a folder; made there if there is none."""
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        files = [folder / name for name in ("root.pem", "intermediate.pem", "intermediate.key")]
        if not all(path.exists() for path in files):
            _create(folder, trust_domain)
        key = serialization.load_pem_private_key(files[2].read_bytes(), None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        root, intermediate = (x509.load_pem_x509_certificate(path.read_bytes()) for path in files[:2])
        return cls(trust_domain, root, intermediate, key)

    @property
    def bundle_pem(self) -> str:
        """The trust bundle."""
        return self._root.public_bytes(serialization.Encoding.PEM).decode()

    def issue(self, spiffe_id: SpiffeId, ttl_s: float) -> Svid:
        """A new key and a leaf for it: URI SAN only, client and server authentication, back-dated 60 s, life capped
        by the intermediate's."""
        key = ec.generate_private_key(ec.SECP256R1())
        now = dt.datetime.now(dt.UTC).replace(microsecond=0)
        ends = min(now + dt.timedelta(seconds=ttl_s), self._intermediate.not_valid_after_utc)
        builder = (
            _builder(x509.Name([]), self._intermediate.subject, key.public_key(), now - _BACKDATE, ends)
            .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(str(spiffe_id))]), critical=True)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(ca=False), critical=True)
            .add_extension(
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]),
                critical=False,
            )
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
        )
        leaf = builder.sign(self._key, hashes.SHA256())
        chain = [leaf, self._intermediate]
        return Svid(
            spiffe_id,
            f"{leaf.serial_number:x}",
            leaf.not_valid_before_utc,
            leaf.not_valid_after_utc,
            "".join(one.public_bytes(serialization.Encoding.PEM).decode() for one in chain),
            _key_pem(key).decode(),
        )


def _create(folder: Path, trust_domain: str) -> None:
    now = dt.datetime.now(dt.UTC).replace(microsecond=0)
    root_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    root_name, name = _name(f"meshlab root of {trust_domain}"), _name(f"meshlab intermediate of {trust_domain}")
    root = _ca(_builder(root_name, root_name, root_key.public_key(), now - _BACKDATE, now + _ROOT_LIFE), root_key, 1,
               trust_domain)  # fmt: skip
    intermediate = _ca(
        _builder(name, root_name, key.public_key(), now - _BACKDATE, now + _INTERMEDIATE_LIFE), root_key, 0,
        trust_domain,
    )  # fmt: skip
    write_whole(folder / "root.key", _key_pem(root_key))
    write_whole(folder / "root.pem", root.public_bytes(serialization.Encoding.PEM))
    write_whole(folder / "intermediate.pem", intermediate.public_bytes(serialization.Encoding.PEM))
    write_whole(folder / "intermediate.key", _key_pem(key))


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, begins: dt.datetime, ends: dt.datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(ends)
    )


def _ca(
    builder: x509.CertificateBuilder, signer: ec.EllipticCurvePrivateKey, path_length: int, trust_domain: str
) -> x509.Certificate:
    return (
        builder.add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
        .add_extension(_usage(ca=True), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(f"spiffe://{trust_domain}")]), False)
        .sign(signer, hashes.SHA256())
    )


def _usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not ca, content_commitment=False, key_encipherment=False, data_encipherment=False,
        key_agreement=False, key_cert_sign=ca, crl_sign=ca, encipher_only=False, decipher_only=False,
    )  # fmt: skip


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
