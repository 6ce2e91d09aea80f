"""Readiness and liveness, asked from inside the pod's own network, where nothing is intercepted."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence

from meshlab.kit import netns
from meshlab.model.workloads import Probe


async def passes(
    probe: Probe,
    path: str,
    ip: str,
    ports: Mapping[str, int],
    execute: Callable[[Sequence[str], float], Awaitable[int]],
) -> bool:
    """One try of a probe (HTTP: 200 to 399, as in Kubernetes)."""
    try:
        if probe.command:
            return await execute(probe.command, probe.timeout_s) == 0
        port = ports[probe.port] if isinstance(probe.port, str) else probe.port
        if probe.path:
            status = await netns.http_status(path, ip, port, probe.path, timeout_s=probe.timeout_s)
            return 200 <= status < 400
        await netns.tcp_connects(path, ip, port, timeout_s=probe.timeout_s)
        return True
    except (OSError, TimeoutError, KeyError):
        return False
