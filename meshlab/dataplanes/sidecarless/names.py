"""Numbers for names: the kernel's maps hold numbers, and hold them longer than any agent lives."""

from __future__ import annotations

import json
from pathlib import Path

from meshlab.kit.files import write_whole

_BETWEEN = "|"


class Names:
    """A number from 1 for each name, never given to another one; kept in a file (`save`), which a new agent reads.

    A name is a few words: `number("pod", "shop/web-1", uid)`. 0 is no name.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._names: list[str] = json.loads(path.read_text()) if path.exists() else []
        self._numbers = {name: number for number, name in enumerate(self._names, 1)}
        self._saved = len(self._names)

    def number(self, *words: str) -> int:
        """The number of a name, a new one if it has none. `save` before the kernel is told of it."""
        name = _BETWEEN.join(words)
        if name not in self._numbers:
            self._names.append(name)
            self._numbers[name] = len(self._names)
        return self._numbers[name]

    def words(self, number: int) -> list[str]:
        """The words of a name after its first, which says what it names; none for 0 and for what is not known."""
        return self._names[number - 1].split(_BETWEEN)[1:] if 0 < number <= len(self._names) else []

    def save(self) -> None:
        if self._saved != len(self._names):
            write_whole(self._path, json.dumps(self._names).encode())
            self._saved = len(self._names)
