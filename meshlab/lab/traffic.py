"""Load from inside a pod: the generator runs in the pod's network and cgroup, its records come back as a frame."""

from __future__ import annotations

import asyncio
import sys
import time
import uuid
from typing import TYPE_CHECKING, Any

from meshlab.errors import MeshlabError
from meshlab.kit import loop
from meshlab.traffic import results
from meshlab.traffic.spec import TrafficSpec

if TYPE_CHECKING:
    from collections.abc import Callable

    from meshlab.kit.layout import Layout
    from meshlab.lab.session import Lab
    from meshlab.model.world import PodId
    from meshlab.runtimes.base import ExecResult
    from meshlab.traffic.results import Result

_GRACE_S = 30.0


def run(lab: Lab, pod: PodId, url: str, layout: Layout, progress: Callable[[str], None], **options: Any) -> Result:
    """Run one load and read its result; MeshlabError with the generator's words where nothing could be sent."""
    folder = layout.root / "traffic"
    folder.mkdir(mode=0o700, exist_ok=True)
    output = folder / f"{uuid.uuid4().hex}.bin"
    spec = TrafficSpec(url=url, **options)
    command = [sys.executable, "-m", "meshlab.traffic.generator", "--output", str(output)]
    length = spec.planned_duration_s

    async def run_with_progress() -> ExecResult:
        call = asyncio.ensure_future(
            lab._runtime.exec(pod, command, stdin=spec.to_json().encode(), timeout_s=length + spec.timeout_s + _GRACE_S)
        )
        started = time.monotonic()
        while not (await asyncio.wait([call], timeout=1.0))[0]:
            progress(f"traffic from {pod} to {url}: {min(time.monotonic() - started, length):.0f}/{length:.0f} s")
        return call.result()

    done = loop.run(run_with_progress())
    if done.exit_code != 0 or not output.exists():
        raise MeshlabError(
            f"no traffic from {pod} to {url}: {done.stderr.decode(errors='replace').strip()[-500:]}",
            hint="check the URL and `meshlab get services`",
        )
    return results.read(output)
