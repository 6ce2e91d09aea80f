"""Kernel headers for the compiler: the running kernel's if they are there, else any that Debian installed.

The programs touch only structures of the user-space interface, so headers of another version serve. Debian keeps them
in two trees (architecture and common), the compiler wants one: they are merged by symbolic links in a temporary folder;
nothing of the host changes.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from meshlab.errors import CannotRun

VARIABLE = "BCC_KERNEL_SOURCE"
BINDINGS = Path("/usr/lib/python3/dist-packages/bcc")
"""Debian's, which no virtual environment has."""
_MARK = "include/linux/kconfig.h"
_MODULES, _SOURCES = Path("/lib/modules"), Path("/usr/src")
_DEPTH = {"include": 1, "arch": 3}
"""Folders that both trees have, to the depth where their children differ."""


@contextlib.contextmanager
def prepared() -> Iterator[Path]:
    """One tree of kernel headers, while the context lasts. CannotRun, with the way out, where there is none."""
    given = os.environ.get(VARIABLE)
    if given:
        yield _checked(Path(given))
        return
    found = trees()
    if not found:
        raise CannotRun(
            "no kernel headers, and the sidecarless plane compiles its programs",
            hint=f"apt-get install linux-headers-amd64 (any version serves), or set {VARIABLE} to a tree with {_MARK}",
        )
    with tempfile.TemporaryDirectory(prefix="meshlab-headers-") as folder:
        for tree in found:
            _merge(tree, Path(folder), "", 0)
        yield _checked(Path(folder))


def _checked(tree: Path) -> Path:
    if not (tree / _MARK).is_file():
        raise CannotRun(
            f"{tree} is no tree of kernel headers: it lacks {_MARK}", hint="apt-get install linux-headers-amd64"
        )
    return tree


def trees() -> list[Path]:
    """What to merge, the first wins: build and source of a kernel's folder, the running one's before others."""
    running = _MODULES / os.uname().release
    others = sorted(_MODULES.glob("*/build"), reverse=True)
    for build in (running / "build", *others):
        both = [path.resolve() for path in (build, build.parent / "source") if path.is_dir()]
        if any((tree / _MARK).is_file() for tree in both):
            return both
    return _debian_sources()


def _debian_sources() -> list[Path]:
    """Headers without links to them: linux-headers-<version>-<flavour> and -common."""
    for common in sorted(_SOURCES.glob("linux-headers-*-common"), reverse=True):
        version = common.name.removesuffix("-common")
        flavours = [path for path in sorted(_SOURCES.glob(f"{version}-*")) if path != common]
        if (common / _MARK).is_file() and flavours:
            return [flavours[0], common]
    return []


def _merge(tree: Path, into: Path, top: str, depth: int) -> None:
    for child in tree.iterdir():
        here, name = into / child.name, top or child.name
        if child.is_dir() and depth < _DEPTH.get(name, 0):
            here.mkdir(exist_ok=True)
            _merge(child, here, name, depth + 1)
        elif not here.exists():
            here.symlink_to(child)
