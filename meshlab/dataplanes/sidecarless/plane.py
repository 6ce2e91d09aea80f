"""What the sidecarless plane wants on a node and in a pod."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from meshlab.dataplanes.envoy import binary, interception
from meshlab.dataplanes.envoy.bootstrap import bootstrap
from meshlab.model.wire import HEALTH_PORT, INBOUND_MARK, PROXY_UID
from meshlab.model.world import Endpoint
from meshlab.runtimes.base import Companion, PodPlan


class SidecarlessPlane:
    """`mint` gives the bound token of a node's proxy."""

    def __init__(self, ads_socket: Path, mint: Callable[[str], str]) -> None:
        self._ads_socket, self._mint = ads_socket, mint

    def node(self, name: str) -> tuple[Companion, ...]:
        """The shared Envoy. It makes its sockets inside the pods, each with its own client's source address."""
        config = bootstrap(f"node~{name}", name, str(self._ads_socket), self._mint(name))
        return (
            Companion(
                "envoy",
                binary.command(),
                PROXY_UID,
                {"envoy.json": config},
                capabilities=("sys_admin", "net_raw"),  # to enter a network namespace (setns); for source addresses
            ),
        )

    def plan(self, endpoint: Endpoint) -> PodPlan:
        """Interception; the application starts when the shared Envoy answers inside its pod."""
        del endpoint
        return PodPlan(interception.rules(), INBOUND_MARK, gate_port=HEALTH_PORT, gate_path="/healthz/ready")
