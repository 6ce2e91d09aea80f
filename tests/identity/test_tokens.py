"""The proxies' bound tokens: ours and whole, or refused."""

from __future__ import annotations

import base64
import json
import stat
import time
from pathlib import Path
from typing import Any

import jwt
import pytest

from meshlab.errors import MeshlabError
from meshlab.identity.tokens import Claims, TokenKey
from meshlab.model.world import Endpoint, PodId

WEB = Endpoint(PodId("shop", "web-1"), "uid-1", "10.129.0.2", "node-1", "web", "web")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "token.key"


@pytest.fixture
def key(path: Path) -> TokenKey:
    return TokenKey.load_or_create(path)


def forged(path: Path, **changes: Any) -> str:
    """A token with the true key and other claims; None takes a claim away."""
    claims = jwt.decode(TokenKey.load_or_create(path).mint_for(WEB), options={"verify_signature": False})
    claims = {name: value for name, value in {**claims, **changes}.items() if value is not None}
    return jwt.encode(claims, path.read_bytes(), algorithm="HS256")


def test_a_token_tells_whose_it_is(key: TokenKey) -> None:
    assert key.verify(key.mint_for(WEB)) == Claims("shop", "web-1", "uid-1", "web", "node-1")


def test_both_daemons_read_the_same_key(key: TokenKey, path: Path) -> None:
    assert TokenKey.load_or_create(path).verify(key.mint_for(WEB)).pod == "web-1"
    assert [one.name for one in path.parent.iterdir()] == ["token.key"]


def test_an_unchanged_forgery_passes_so_that_the_others_mean_something(key: TokenKey, path: Path) -> None:
    assert key.verify(forged(path)).uid == "uid-1"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"exp": int(time.time()) - 1}, "expired"),
        ({"iat": int(time.time()) + 3600}, "not yet valid"),
        ({"aud": "somebody-else"}, "Audience"),
        ({"aud": None}, "aud"),
        ({"exp": None}, "exp"),
        ({"uid": None}, "uid"),
        ({"pod": None}, "pod"),
        ({"namespace": None}, "namespace"),
        ({"node": None}, "node"),
        ({"service_account": None}, "service_account"),
    ],
)
def test_a_token_that_is_too_old_or_not_whole_is_refused(
    key: TokenKey, path: Path, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(MeshlabError, match=words):
        key.verify(forged(path, **changes))


def test_a_changed_claim_is_refused(key: TokenKey) -> None:
    head, body, signature = key.mint_for(WEB).split(".")
    claims = json.loads(base64.urlsafe_b64decode(body + "=="))
    changed = base64.urlsafe_b64encode(json.dumps({**claims, "pod": "api-1"}).encode()).decode().rstrip("=")
    with pytest.raises(MeshlabError, match="refused"):
        key.verify(f"{head}.{changed}.{signature}")


def test_a_token_without_a_signature_is_refused(key: TokenKey) -> None:
    claims = jwt.decode(key.mint_for(WEB), options={"verify_signature": False})
    with pytest.raises(MeshlabError, match="refused"):
        key.verify(jwt.encode(claims, None, algorithm="none"))


def test_another_labs_token_is_refused(key: TokenKey, tmp_path: Path) -> None:
    other = TokenKey.load_or_create(tmp_path / "other.key")
    with pytest.raises(MeshlabError, match="refused"):
        key.verify(other.mint_for(WEB))


@pytest.mark.parametrize("text", ["", "x", "a.b.c", "\N{SNOWMAN}"])
def test_what_is_no_token_is_refused(key: TokenKey, text: str) -> None:
    with pytest.raises(MeshlabError, match="refused"):
        key.verify(text)


def test_the_key_is_long_for_its_owner_only_and_in_no_text(key: TokenKey, path: Path) -> None:
    secret = path.read_bytes()
    assert len(secret) == 32
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert repr(secret)[2:-1] not in repr(key)
    assert secret.hex() not in str(key)
    assert repr(key) == "TokenKey()"
