"""What a lab made, written down before it is made; `undo_all` removes exactly that, also after a SIGKILL."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
from pathlib import Path

from meshlab.kit import bpffs, cgroups
from meshlab.kit.processes import Proc, run

KINDS = ("folder", "pins", "cgroup", "netns", "process")
"""Undone in the reverse of this order: processes end first, folders go last. `pins` are a folder of the kernel's bpffs:
what is pinned there (programs' links, maps) goes with it."""


class Ledger:
    """Append-only JSON lines, flushed to disk before each creation."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def record(self, kind: str, name: str, **data: float) -> None:
        """Write down a thing that is about to be made."""
        assert kind in KINDS, kind
        self._append({"do": kind, "name": name, **data})

    def forget(self, kind: str, name: str) -> None:
        """The thing was removed."""
        self._append({"undo": kind, "name": name})

    def _append(self, entry: dict[str, object]) -> None:
        with self._path.open("ab+") as file:
            # a line that a kill cut short must not swallow this one
            torn = file.seek(0, os.SEEK_END) > 0 and (file.seek(-1, os.SEEK_END), file.read(1))[1] != b"\n"
            file.write(b"\n" * torn + json.dumps(entry).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def standing(self) -> list[tuple[str, str, dict[str, float]]]:
        """What was made and not removed, in the order of making."""
        found: dict[tuple[str, str], dict[str, float]] = {}
        try:
            lines = self._path.read_text(errors="replace").split("\n")
        except FileNotFoundError:
            return []
        for line in lines:
            with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError):  # a half-written line
                entry = json.loads(line)
                name = entry.pop("name")
                if "undo" in entry:
                    found.pop((entry["undo"], name), None)
                else:
                    found[(entry.pop("do"), name)] = entry
        return [(kind, name, data) for (kind, name), data in found.items()]

    def undo_all(self) -> None:
        """Remove everything that stands, in reverse order by kind. Twice is fine."""
        entries = self.standing()
        for kind in reversed(KINDS):
            for _, name, data in [entry for entry in reversed(entries) if entry[0] == kind]:
                _undo(kind, name, data)


def _undo(kind: str, name: str, data: dict[str, float]) -> None:
    if kind == "process" and data:
        Proc(int(data["pid"]), data["started"]).signal(9)
    elif kind == "cgroup":
        cgroups.remove(Path(name))
    elif kind == "netns":
        remove_netns(name)
    elif kind == "folder":
        shutil.rmtree(name, ignore_errors=True)
    elif kind == "pins":
        bpffs.remove(Path(name))


def remove_netns(name: str) -> None:
    """Unlink a named network namespace; its links go with it. Fine if it is gone."""
    for _ in range(20):
        done = run(["ip", "netns", "delete", name], check=False)
        if done.returncode == 0 or not Path("/run/netns", name).exists():
            return
        time.sleep(0.05)
