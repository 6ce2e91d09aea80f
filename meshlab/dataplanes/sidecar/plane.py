"""What the sidecar plane puts into a pod."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from meshlab.dataplanes.envoy import binary
from meshlab.dataplanes.envoy.bootstrap import bootstrap
from meshlab.dataplanes.sidecar import interception
from meshlab.model.wire import ADMIN_PORT, HEALTH_PORT, INBOUND_MARK, PROXY_UID
from meshlab.model.world import Endpoint
from meshlab.runtimes.base import Companion, PodPlan


class SidecarPlane:
    """`mint` gives the bound token of a pod's proxy."""

    def __init__(self, ads_socket: Path, mint: Callable[[Endpoint], str]) -> None:
        self._ads_socket, self._mint = ads_socket, mint

    def plan(self, endpoint: Endpoint) -> PodPlan:
        """Interception and one Envoy, ready before the application."""
        pod = endpoint.pod
        config = bootstrap(
            f"sidecar~{endpoint.ip}~{pod.name}.{pod.namespace}~{pod.namespace}",
            f"{endpoint.workload}.{pod.namespace}",
            str(self._ads_socket),
            self._mint(endpoint),
        )
        companion = Companion(
            "envoy",
            binary.command(),
            PROXY_UID,
            {"envoy.json": config},
            ready_port=HEALTH_PORT,
            ready_path="/healthz/ready",
            drain_port=ADMIN_PORT,
            drain_path="/drain_listeners?graceful",
            drain_s=1.0,
            capabilities=("net_raw",),  # for the client's source address towards the application
        )
        return PodPlan(interception.rules(), INBOUND_MARK, (companion,))
