"""Load from inside a pod: the generator runs in the pod's network and cgroup, its records come back as a frame."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import sys
import time
import uuid
from dataclasses import fields
from typing import TYPE_CHECKING, Any, TypeVar

from meshlab.errors import CannotRun, MeshlabError, NotFound
from meshlab.kit import loop
from meshlab.traffic import adapters, results
from meshlab.traffic.adapters import ClosedLoop
from meshlab.traffic.spec import TrafficSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from meshlab.kit.layout import Layout
    from meshlab.lab.session import Lab
    from meshlab.model.world import PodId
    from meshlab.runtimes.base import ExecResult
    from meshlab.traffic.results import Result

    Progress = Callable[[str], None]

_GRACE_S = 30.0
Load = TypeVar("Load", TrafficSpec, ClosedLoop)


def load(url: str, tool: str = "meshlab", **options: Any) -> TrafficSpec | ClosedLoop:
    """What is wanted, checked. NotFound for a tool that is not known, MeshlabError for an option it does not have."""
    if tool not in adapters.TOOLS:
        raise NotFound(f"no such tool: {tool}", hint=f"tools: {', '.join(adapters.TOOLS)}")
    if tool == "meshlab":
        return _made(TrafficSpec, tool, url=url, **options)
    return _made(ClosedLoop, tool, url=url, tool=tool, **options)


def _made(kind: type[Load], name: str, **options: Any) -> Load:
    known = {field.name for field in fields(kind)}
    if unknown := sorted(options.keys() - known):
        raise MeshlabError(
            f"{name} has no option {', '.join(unknown)}", hint=f"options: {', '.join(sorted(known - {'url', 'tool'}))}"
        )
    return kind(**options)


def run(lab: Lab, pod: PodId, wanted: TrafficSpec | ClosedLoop, layout: Layout, progress: Progress) -> Result:
    """Fire one load from a pod and read what came of it; MeshlabError with the generator's words where nothing was."""
    with _folder(layout) as folder:
        if isinstance(wanted, ClosedLoop):
            return _closed(lab, pod, wanted, folder, progress)
        return _open(lab, pod, wanted, folder, progress)


@contextlib.contextmanager
def _folder(layout: Layout) -> Iterator[Path]:
    """A place for one run's files, gone afterwards whatever happened."""
    folder = layout.root / "traffic" / uuid.uuid4().hex
    folder.mkdir(mode=0o700, parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _open(lab: Lab, pod: PodId, spec: TrafficSpec, folder: Path, progress: Progress) -> Result:
    output = folder / "records"
    command = [sys.executable, "-m", "meshlab.traffic.generator", "--output", str(output)]
    done = _fire(lab, pod, command, spec, progress, stdin=spec.to_json().encode())
    if done.exit_code != 0 or not output.exists():
        raise _nothing(pod, spec, done)
    return results.read(output)


def _closed(lab: Lab, pod: PodId, wanted: ClosedLoop, folder: Path, progress: Progress) -> Result:
    if lab.exec(str(pod), ["/bin/sh", "-c", 'command -v "$0"', wanted.tool]).exit_code != 0:
        package = adapters.PACKAGES[wanted.tool]
        raise CannotRun(
            f"no {wanted.tool} in {pod}", hint=f"apt-get install {package}, or use the built-in tool='meshlab'"
        )
    for name, text in adapters.files(wanted).items():
        (folder / name).write_text(text)
    done = _fire(lab, pod, adapters.command(wanted, folder), wanted, progress)
    if done.exit_code != 0:
        raise _nothing(pod, wanted, done)
    log = folder / adapters.LOG
    return adapters.read(wanted, done.stdout.decode(errors="replace"), log.read_bytes() if log.exists() else b"")


def _nothing(pod: PodId, wanted: TrafficSpec | ClosedLoop, done: ExecResult) -> MeshlabError:
    words = (done.stderr or done.stdout).decode(errors="replace").strip()[-500:]
    return MeshlabError(
        f"no traffic from {pod} to {wanted.url}: {words}", hint="check the URL and `meshlab get services`"
    )


def _fire(
    lab: Lab,
    pod: PodId,
    command: Sequence[str],
    wanted: TrafficSpec | ClosedLoop,
    progress: Progress,
    *,
    stdin: bytes = b"",
) -> ExecResult:
    """Run the command in the pod, saying how far it is. An interrupt ends it there too."""
    length = wanted.planned_duration_s

    async def run_with_progress() -> ExecResult:
        timeout_s = length + 2 * wanted.timeout_s + _GRACE_S
        call = asyncio.ensure_future(lab._runtime.exec(pod, command, stdin=stdin, timeout_s=timeout_s))
        started = time.monotonic()
        try:
            while not (await asyncio.wait([call], timeout=1.0))[0]:
                progress(
                    f"traffic from {pod} to {wanted.url}: {min(time.monotonic() - started, length):.0f}/{length:g} s"
                )
            return call.result()
        finally:
            call.cancel()  # the daemon sees the call end and ends the generator

    return loop.run(run_with_progress())
