"""What the sidecarless plane wants on a node and in a pod."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from meshlab.dataplanes.envoy import binary
from meshlab.dataplanes.envoy.bootstrap import bootstrap
from meshlab.dataplanes.sidecarless import preflight
from meshlab.kit import cgroups
from meshlab.kit.layout import Layout
from meshlab.model.wire import HEALTH_PORT, INBOUND_MARK, PROXY_UID
from meshlab.model.world import Endpoint
from meshlab.runtimes.base import Companion, PodPlan

CONFIG, READY = "agent.json", "ready"


@dataclass(frozen=True)
class AgentConfig:
    """What a node's agent is told when it starts; JSON in a file of its own."""

    lab: str
    node: str
    ads_socket: str
    token: str
    pods_group: str
    proxy_group: str
    folder: str


class SidecarlessPlane:
    """`mint` gives the bound token of a node's proxy, `mint_agent` that of its agent."""

    def __init__(self, layout: Layout, mint: Callable[[str], str], mint_agent: Callable[[str], str]) -> None:
        self._layout, self._mint, self._mint_agent = layout, mint, mint_agent

    def node(self, name: str) -> tuple[Companion, ...]:
        """The agent, which attaches the kernel's programs; then the shared Envoy, whose sockets they catch as they
        begin to listen. It makes them inside the pods, each with its own client's source address."""
        preflight.require()
        socket = str(self._layout.ads_socket)
        envoy = bootstrap(f"node~{name}", name, socket, self._mint(name))
        return (
            Companion(
                "agent",
                (sys.executable, "-m", "meshlab.daemons.agent", f"{{dir}}/{CONFIG}"),
                0,
                {CONFIG: json.dumps(vars(self._agent(name)))},
                ready_file=READY,
            ),
            Companion(
                "envoy",
                binary.command(),
                PROXY_UID,
                {"envoy.json": envoy},
                capabilities=("sys_admin", "net_raw"),  # to enter a network namespace (setns); for source addresses
            ),
        )

    def _agent(self, node: str) -> AgentConfig:
        lab = self._layout.name
        return AgentConfig(
            lab,
            node,
            str(self._layout.ads_socket),
            self._mint_agent(node),
            str(cgroups.pods_group(lab, node)),
            str(cgroups.node_group(lab, node) / "envoy"),
            str(self._folder(node)),
        )

    def _folder(self, node: str) -> Path:
        return self._layout.nodes / node / "agent"

    def plan(self, endpoint: Endpoint) -> PodPlan:
        """No rules: the kernel's programs take what leaves the pod and what comes to it. The application starts when
        they know the pod, and the shared Envoy answers inside it."""
        known = pods_ready(self._folder(endpoint.node)) / endpoint.uid
        return PodPlan("", INBOUND_MARK, gate_port=HEALTH_PORT, gate_path="/healthz/ready", gate_file=known)


def pods_ready(folder: Path) -> Path:
    """Where an agent says which pods the kernel knows."""
    return folder / "pods"
