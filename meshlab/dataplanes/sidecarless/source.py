"""One C text out of `bpf/`: every hook, each header once, in the order in which they ask for each other."""

from __future__ import annotations

import re
from pathlib import Path

from meshlab import assets
from meshlab.errors import CannotRun

HOOKS = ("connect.c", "sockops.c", "getsockopt.c", "lookup.c", "egress.c", "ingress.c", "inward.c", "peer.c")
_INCLUDE = re.compile(r'^#include "(?P<name>[^"]+)"[^\n]*\n', re.MULTILINE)
_DEFINE = re.compile(r"^#define (?P<name>[A-Z0-9_]+) (?P<value>\d+)\b", re.MULTILINE)


def program(pin_folder: Path) -> str:
    """The text to compile; its maps are pinned in `pin_folder`."""
    seen: set[Path] = set()
    parts = [_expand(assets.folder("bpf") / name, seen) for name in HOOKS]
    return f'#define PIN_FOLDER "{pin_folder}"\n' + "".join(parts)


def _expand(path: Path, seen: set[Path]) -> str:
    if path in seen:
        return ""
    seen.add(path)
    text = path.read_text(encoding="utf-8")
    return _INCLUDE.sub(lambda found: _expand((path.parent / found["name"]).resolve(), seen), text)


def numbers(header: str, prefix: str) -> dict[str, int]:
    """The numbers that a header defines under a prefix, by the rest of their names: `numbers("reasons", "REASON_")`."""
    text = (assets.folder("bpf") / "include" / f"{header}.h").read_text(encoding="utf-8")
    return {
        found["name"].removeprefix(prefix): int(found["value"])
        for found in _DEFINE.finditer(text)
        if found["name"].startswith(prefix)
    }


def schema() -> int:
    """The version of the maps' layout: part of the path of every pin."""
    found = numbers("types", "SCHEMA")
    if "" not in found:
        raise CannotRun("bpf/include/types.h does not say its SCHEMA", hint="install meshlab again")
    return found[""]
