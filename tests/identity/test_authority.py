"""The lab's certificates: what they prove, what they carry, how they are kept."""

from __future__ import annotations

import datetime as dt
import stat
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import (
    Criticality,
    ExtensionPolicy,
    PolicyBuilder,
    Store,
    VerificationError,
    VerifiedClient,
)

from meshlab.compile.xds import svid_resource
from meshlab.identity.authority import Authority, Svid
from meshlab.model.ids import SpiffeId

WEB = SpiffeId("cluster.local", "shop", "web")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("lab") / "identity"


@pytest.fixture(scope="module")
def authority(folder: Path) -> Authority:
    return Authority.load_or_create(folder, "cluster.local")


@pytest.fixture(scope="module")
def svid(authority: Authority) -> Svid:
    return authority.issue(WEB, 3600)


def certificates(svid: Svid) -> list[x509.Certificate]:
    return x509.load_pem_x509_certificates(svid.chain_pem.encode())


def verified(svid: Svid, bundle_pem: str, at: dt.datetime | None = None) -> VerifiedClient:
    """The chain up to the bundle, by an independent verifier."""
    leaf, *rest = certificates(svid)
    # RFC 5280 for what we claim; the web's own demands (DNS names, subject key identifiers) are not SPIFFE's
    ca = ExtensionPolicy.permit_all().require_present(x509.BasicConstraints, Criticality.CRITICAL, None)
    builder = PolicyBuilder().store(Store(x509.load_pem_x509_certificates(bundle_pem.encode())))
    builder = builder.extension_policies(ca_policy=ca, ee_policy=ExtensionPolicy.permit_all())
    if at is not None:
        builder = builder.time(at)
    return builder.build_client_verifier().verify(leaf, rest)


def test_the_chain_is_proved_by_the_bundle_alone(authority: Authority, svid: Svid) -> None:
    found = verified(svid, authority.bundle_pem)
    assert [one.subject for one in found.chain][1:] == [
        one.subject
        for one in (*certificates(svid)[1:], *x509.load_pem_x509_certificates(authority.bundle_pem.encode()))
    ]
    assert found.subjects == [x509.UniformResourceIdentifier("spiffe://cluster.local/ns/shop/sa/web")]


def test_another_labs_bundle_proves_nothing(svid: Svid, tmp_path: Path) -> None:
    other = Authority.load_or_create(tmp_path, "cluster.local")
    with pytest.raises(VerificationError):
        verified(svid, other.bundle_pem)


@pytest.mark.parametrize("when", [-120, 3700])
def test_outside_of_its_life_it_proves_nothing(authority: Authority, svid: Svid, when: int) -> None:
    at = (dt.datetime.now(dt.UTC) + dt.timedelta(seconds=when)).replace(tzinfo=None)
    with pytest.raises(VerificationError):
        verified(svid, authority.bundle_pem, at)


def test_the_leaf_carries_one_uri_and_may_only_authenticate(svid: Svid) -> None:
    leaf = certificates(svid)[0]
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert names.critical  # RFC 5280: the subject is empty
    assert list(names.value) == [x509.UniformResourceIdentifier(str(WEB))]
    assert not list(leaf.subject)
    usage = leaf.extensions.get_extension_for_class(x509.KeyUsage)
    assert usage.critical
    assert usage.value.digital_signature
    assert not any((usage.value.key_cert_sign, usage.value.crl_sign, usage.value.key_agreement))
    assert not leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    extended = set(leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
    assert extended == {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}


def test_signers_may_only_sign_and_only_as_deep_as_they_must(authority: Authority, svid: Svid) -> None:
    intermediate = certificates(svid)[1]
    [root] = x509.load_pem_x509_certificates(authority.bundle_pem.encode())
    for one, depth in ((root, 1), (intermediate, 0)):
        constraints = one.extensions.get_extension_for_class(x509.BasicConstraints)
        assert (constraints.critical, constraints.value.ca, constraints.value.path_length) == (True, True, depth)
        usage = one.extensions.get_extension_for_class(x509.KeyUsage).value
        assert (usage.key_cert_sign, usage.digital_signature) == (True, False)


def test_the_key_is_the_leafs_and_of_the_curve_p256(svid: Svid) -> None:
    key = serialization.load_pem_private_key(svid.key_pem.encode(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    assert isinstance(key.curve, ec.SECP256R1)
    assert key.public_key() == certificates(svid)[0].public_key()


def test_life_is_what_was_asked_for_and_ends_with_the_signers(authority: Authority, svid: Svid) -> None:
    now = dt.datetime.now(dt.UTC)
    assert dt.timedelta(minutes=59) < svid.not_after - now <= dt.timedelta(hours=1)
    assert dt.timedelta(0) < now - svid.not_before < dt.timedelta(minutes=2)
    endless = authority.issue(WEB, 1e9)
    assert endless.not_after == certificates(endless)[1].not_valid_after_utc
    assert (endless.not_after - now).days <= 365


def test_serials_are_random_and_long_and_keys_are_never_the_same(authority: Authority) -> None:
    issued = [authority.issue(WEB, 60) for _ in range(8)]
    serials = {int(one.serial, 16) for one in issued}
    assert len(serials) == 8
    assert max(serials).bit_length() >= 128
    assert min(serials).bit_length() >= 64
    assert {int(one.serial, 16) for one in issued} == {certificates(one)[0].serial_number for one in issued}
    assert len({one.key_pem for one in issued}) == 8


def test_the_folder_and_every_file_are_for_their_owner_only(authority: Authority, folder: Path) -> None:
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    files = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    assert files == dict.fromkeys(("root.key", "root.pem", "intermediate.pem", "intermediate.key"), 0o600)
    assert authority.bundle_pem == (folder / "root.pem").read_text()


def test_an_open_folder_that_is_there_already_is_closed(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    Authority.load_or_create(tmp_path, "cluster.local")
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o600}


def test_the_authority_outlives_the_process(authority: Authority, folder: Path, svid: Svid) -> None:
    again = Authority.load_or_create(folder, "cluster.local")
    assert again.bundle_pem == authority.bundle_pem
    verified(again.issue(WEB, 60), authority.bundle_pem)
    verified(svid, again.bundle_pem)


def test_no_key_is_in_any_text(authority: Authority, svid: Svid) -> None:
    secret = svid.key_pem.splitlines()[1]
    resource = svid_resource("default", svid.chain_pem, svid.key_pem)
    assert secret in resource.body.decode("latin-1")
    for thing in (svid, authority, resource):
        for text in (repr(thing), str(thing), f"{thing}"):
            assert secret not in text
            assert "PRIVATE" not in text
            assert "CERTIFICATE" not in text
