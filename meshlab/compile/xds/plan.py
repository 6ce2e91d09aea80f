"""From where a proxy serves a pod, and what it takes for HTTP."""

from __future__ import annotations

from dataclasses import dataclass

from meshlab.model.services import Protocol

HTTP = (Protocol.HTTP, Protocol.HTTP2, Protocol.GRPC)


@dataclass(frozen=True)
class Seat:
    """From where a proxy serves a pod: from inside it (a sidecar, the default), or from the node's shared Envoy, whose
    sockets for this pod lie in the pod's network namespace and whose resources are told apart by the pod's name."""

    pod: str = ""
    netns: str = ""
    """Path of the pod's network namespace."""

    def name(self, text: str) -> str:
        """The name of a resource that is this pod's own."""
        return f"{self.pod}@{text}" if self.pod else text

    @property
    def svid(self) -> str:
        """The name of the secret with the pod's SVID."""
        return f"svid@{self.pod}" if self.pod else "default"


OWN = Seat()
