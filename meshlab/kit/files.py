"""Files: whole or not at all, whoever is killed while they are written; and as descriptors."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def write_whole(path: Path, content: bytes) -> None:
    """Replace a file's content at once; for its owner only (0600), on the disk when this returns."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    temporary.touch(mode=0o600)
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)


@contextmanager
def opened(path: Path | str) -> Iterator[int]:
    """A descriptor for reading (of a folder or a namespace as well), closed at the end."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def last_words(path: Path) -> str:
    """The last lines of a daemon's log."""
    lines = path.read_text(errors="replace").strip().splitlines() if path.exists() else []
    return "\n".join(lines[-3:]) or "it said nothing"
