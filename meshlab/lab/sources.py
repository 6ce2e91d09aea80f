"""What a caller may hand to `apply`: a file, a folder, `sample:NAME`, `-`, YAML text, or parsed documents."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import meshlab.assets as assets
from meshlab.errors import MeshlabError, NotFound
from meshlab.model.documents import MAX_BYTES

Source = str | Path | Mapping[str, Any] | Sequence[Mapping[str, Any]]
_WAY_OUT = "give a YAML file, a folder, `-` for stdin, or `sample:shop`"


def read(source: Source) -> tuple[str, str]:
    """YAML text and the name to call it by in messages. NotFound for a file or sample that is not there, MeshlabError
    for what cannot be read as text."""
    if isinstance(source, Mapping):
        return _dump([source]), "document"
    if not isinstance(source, str | Path):
        return _dump(source), "documents"
    text = str(source)
    if isinstance(source, str) and ("\n" in text or ": " in text):
        return text, "text"
    if text == "-":
        return _text(sys.stdin.buffer, "stdin"), "stdin"
    if not text:
        raise NotFound("no file was named", hint=_WAY_OUT)
    path = assets.resolve(text)
    try:
        return (_folder(path) if path.is_dir() else _file(path)), text
    except FileNotFoundError:
        raise NotFound(f"no such file: {text[:200]}", hint=_WAY_OUT) from None
    except OSError as error:
        raise MeshlabError(f"cannot read {text[:200]}: {error.strerror}", hint=_WAY_OUT) from None


def _folder(path: Path) -> str:
    files = sorted([*path.glob("*.yaml"), *path.glob("*.yml")])
    if not files:
        raise NotFound(f"no *.yaml and no *.yml in the folder {path}", hint=_WAY_OUT)
    return "\n---\n".join(_file(file) for file in files)


def _file(path: Path) -> str:
    with path.open("rb") as file:
        return _text(file, str(path))


def _text(file: BinaryIO, name: str) -> str:
    """No more than is taken anyhow: `name` may be a device without an end."""
    raw = file.read(MAX_BYTES + 1)
    if len(raw) > MAX_BYTES:
        raise MeshlabError(f"{name}: more than {MAX_BYTES} bytes", hint="give less at a time")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise MeshlabError(f"{name}: not text in UTF-8 (byte {error.start})", hint="documents are YAML text") from None


def _dump(documents: Sequence[Mapping[str, Any]]) -> str:
    import json

    try:
        return "\n---\n".join(json.dumps(document) for document in documents)
    except (TypeError, ValueError, RecursionError) as error:
        raise MeshlabError(f"documents: not what YAML can say: {error}", hint="give plain dicts and lists") from None
