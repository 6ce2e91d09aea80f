"""What a caller may hand to `apply`: a file, a folder, `sample:NAME`, `-`, YAML text, or parsed documents."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import meshlab.assets as assets
from meshlab.errors import NotFound

Source = str | Path | Mapping[str, Any] | Sequence[Mapping[str, Any]]


def read(source: Source) -> tuple[str, str]:
    """YAML text and the name to call it by in messages. NotFound for a file or sample that is not there."""
    if isinstance(source, Mapping):
        return _dump([source]), "document"
    if not isinstance(source, str | Path):
        return _dump(source), "documents"
    text = str(source)
    if isinstance(source, str) and ("\n" in text or ": " in text):
        return text, "text"
    if text == "-":
        return sys.stdin.read(), "stdin"
    if text.startswith("sample:"):
        return assets.resolve(text).read_text(), text
    path = Path(text)
    if path.is_dir():
        files = sorted([*path.glob("*.yaml"), *path.glob("*.yml")])
        return "\n---\n".join(file.read_text() for file in files), text
    if not path.is_file():
        raise NotFound(f"no such file: {text}", hint="give a YAML file, a folder, `-` for stdin, or `sample:shop`")
    return path.read_text(), text


def _dump(documents: Sequence[Mapping[str, Any]]) -> str:
    import json

    return "\n---\n".join(json.dumps(document) for document in documents)
