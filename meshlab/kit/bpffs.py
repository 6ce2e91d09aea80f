"""What a lab pins in the kernel's own file system: where it lies, and how it goes."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

ROOT = Path("/sys/fs/bpf")
_OURS = ROOT / "meshlab"


def pins_of(lab: str) -> Path:
    """The folder of everything that a lab has pinned."""
    return _OURS / lab


def remove(folder: Path) -> None:
    """Remove a folder of pins, and those above it that are ours and empty then. Fine if it is gone."""
    shutil.rmtree(folder, ignore_errors=True)
    for above in folder.parents:
        if not above.is_relative_to(_OURS):
            return
        with contextlib.suppress(OSError):  # gone, or another's pins are in it
            above.rmdir()
