"""Bound tokens: how a proxy proves which pod it belongs to (as Kubernetes' bound service-account tokens, RFC 7519)."""

from __future__ import annotations

import os
import secrets
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import jwt

from meshlab.errors import MeshlabError
from meshlab.model.wire import AGENT
from meshlab.model.world import Endpoint

_AUDIENCE = "meshlab-control-plane"
_LIFE_S = 365 * 86_400.0


@dataclass(frozen=True)
class Claims:
    """Of a pod's proxy; of a node's, `namespace`, `uid` and `service_account` are "" and `pod` is the node, of a node's
    agent the node with `/agent`."""

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
        pod, account = endpoint.pod, endpoint.service_account
        return self._mint(Claims(pod.namespace, pod.name, endpoint.uid, account, endpoint.node))

    def mint_for_node(self, node: str) -> str:
        """A token for the shared proxy of one node: no namespace, no uid."""
        return self._mint(Claims("", node, "", "", node))

    def mint_for_agent(self, node: str) -> str:
        """A token for the agent of one node."""
        return self._mint(Claims("", f"{node}/{AGENT}", "", "", node))

    def _mint(self, claims: Claims) -> str:
        now = time.time()
        times = {"aud": _AUDIENCE, "iat": int(now), "exp": int(now + _LIFE_S)}
        return jwt.encode({**times, **asdict(claims)}, self._secret, algorithm="HS256")

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
