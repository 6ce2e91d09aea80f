"""Starting a `Companion`: its files, its user, its capabilities."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from meshlab.kit import processes
from meshlab.kit.processes import Proc
from meshlab.runtimes.base import Companion
from meshlab.runtimes.local import sandbox

Enter = Callable[[str, Sequence[str]], list[str]]
"""Part and command -> the command inside the walls, in the part's cgroup."""


def start(companion: Companion, folder: Path, log: Path, enter: Enter) -> Proc:
    """Start it in its walls; `folder` is for its files, readable by nobody else."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    os.chown(folder, companion.uid, companion.uid)
    for name, text in companion.files.items():
        path = folder / name
        path.touch(mode=0o600)
        path.write_text(text)
        os.chown(path, companion.uid, companion.uid)
    argv = [word.replace("{dir}", str(folder)) for word in companion.argv]
    user = ["setpriv", f"--reuid={companion.uid}", f"--regid={companion.uid}", "--clear-groups"]
    if companion.capabilities:
        kept = ",".join(f"+{name}" for name in companion.capabilities)
        user += [f"--inh-caps={kept}", f"--ambient-caps={kept}"]
    return processes.spawn(enter(companion.name, [*user, "--", *argv]), log=log, env=sandbox.environment({}))
