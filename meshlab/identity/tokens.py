"""Bound tokens: how a proxy proves which pod it belongs to (as Kubernetes' bound service-account tokens, RFC 7519)."""

from __future__ import annotations

import os
import secrets
import time
from dataclasses import dataclass, field
from pathlib import Path

import jwt

from meshlab.errors import MeshlabError
from meshlab.model.world import Endpoint

_AUDIENCE = "meshlab-control-plane"
_LIFE_S = 365 * 86_400.0


@dataclass(frozen=True)
class Claims:
    namespace: str
    pod: str
    uid: str
    service_account: str
    node: str


@dataclass(frozen=True)
class TokenKey:
    """The signing key of one lab; shared by its two daemons through a file of mode 0600."""

    _secret: bytes = field(repr=False)

    @classmethod
    def load_or_create(cls, path: Path) -> TokenKey:
        """The key in the file; made there first (atomically) if it is not."""
        if not path.exists():
            temporary = path.with_name(f"{path.name}.{os.getpid()}")
            temporary.touch(mode=0o600)
            temporary.write_bytes(secrets.token_bytes(32))
            try:
                os.link(temporary, path)
            except FileExistsError:
                pass
            finally:
                temporary.unlink()
        return cls(path.read_bytes())

    def mint_for(self, endpoint: Endpoint) -> str:
        """A token for the proxy of one pod, bound to the pod's uid."""
        now = time.time()
        claims = {
            "aud": _AUDIENCE,
            "iat": int(now),
            "exp": int(now + _LIFE_S),
            "sub": f"system:serviceaccount:{endpoint.pod.namespace}:{endpoint.service_account}",
            "namespace": endpoint.pod.namespace,
            "pod": endpoint.pod.name,
            "uid": endpoint.uid,
            "service_account": endpoint.service_account,
            "node": endpoint.node,
        }
        return jwt.encode(claims, self._secret, algorithm="HS256")

    def verify(self, token: str) -> Claims:
        """The claims of a token. MeshlabError if it is not ours, too old or not whole."""
        try:
            found = jwt.decode(
                token,
                self._secret,
                algorithms=["HS256"],
                audience=_AUDIENCE,
                options={"require": ["exp", "aud", "namespace", "pod", "uid", "service_account", "node"]},
            )
        except jwt.InvalidTokenError as error:
            raise MeshlabError(f"token refused: {error}") from None
        return Claims(found["namespace"], found["pod"], found["uid"], found["service_account"], found["node"])
