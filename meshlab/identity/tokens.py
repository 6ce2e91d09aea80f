"""Bearer tokens of the proxies: JWT (RFC 7519, HS256), each bound to one pod by its uid."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jwt

from meshlab.errors import Unauthenticated
from meshlab.identity.files import create_secret
from meshlab.model.world import Endpoint

AUDIENCE = "meshlab-control-plane"
TTL_S = 365 * 86_400.0
"""A year: a proxy cannot renew its token, and it is worth nothing once its pod is gone."""
_ALGORITHM = "HS256"


@dataclass(frozen=True)
class Claims:
    """What a token says of its bearer. `expires`: Unix seconds."""

    namespace: str
    pod: str
    uid: str
    service_account: str
    node: str
    expires: float


@dataclass(frozen=True)
class TokenKey:
    """The lab's key, shared by those who mint and those who check."""

    secret: bytes = field(repr=False)

    @classmethod
    def load_or_create(cls, path: Path) -> TokenKey:
        """The key of a file (0600), made by whichever process comes first."""
        if path.exists():
            path.chmod(0o600)
            return cls(path.read_bytes())
        return cls(create_secret(path, secrets.token_bytes(32)))

    def mint(self, namespace: str, pod: str, uid: str, service_account: str, node: str, ttl_s: float = TTL_S) -> str:
        now = time.time()
        claims = {
            "iss": "meshlab",
            "aud": AUDIENCE,
            "sub": f"{namespace}/{pod}",
            "iat": int(now),
            "exp": int(now + ttl_s),
            "namespace": namespace,
            "pod": pod,
            "uid": uid,
            "service_account": service_account,
            "node": node,
        }
        return jwt.encode(claims, self.secret, algorithm=_ALGORITHM)

    def mint_for(self, endpoint: Endpoint) -> str:
        """The token of one pod."""
        pod = endpoint.pod
        return self.mint(pod.namespace, pod.name, endpoint.uid, endpoint.service_account, endpoint.node)

    def verify(self, token: str) -> Claims:
        """What a token says, if we signed it and it has not expired; Unauthenticated otherwise."""
        required = ["exp", "aud", "namespace", "pod", "uid", "service_account", "node"]
        try:
            claims: dict[str, Any] = jwt.decode(
                token, self.secret, algorithms=[_ALGORITHM], audience=AUDIENCE, options={"require": required}
            )
        except jwt.PyJWTError as error:
            raise Unauthenticated(f"the token does not hold: {error}") from error
        texts = {name: str(claims[name]) for name in required[2:]}
        return Claims(**texts, expires=float(claims["exp"]))
