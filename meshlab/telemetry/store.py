"""Flows as they came from the proxies: appended to bounded segment files, parsed only by who reads them."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

_HEAD = struct.Struct("<IHQ")  # bytes of payload, bytes of the reporter's name, time received (ns)
_SEGMENT_BYTES = 8 << 20


@dataclass(frozen=True)
class Record:
    """One batch of access log entries from one reporter (`namespace/pod`)."""

    reporter: str
    received_ns: int
    payload: bytes


class FlowStore:
    """At most `max_bytes` on disk: the oldest segment makes room, and what was evicted is counted."""

    def __init__(self, folder: Path, max_bytes: int = 256 << 20) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._folder, self._max = folder, max_bytes
        segments = self._segments()
        self._number = int(segments[-1].stem) + 1 if segments else 1
        self._file = self._open()
        self.batches = 0
        self.evicted_bytes = 0

    def _segments(self) -> list[Path]:
        return sorted(self._folder.glob("*.flows"))

    def _open(self) -> FileIO:
        return (self._folder / f"{self._number:08d}.flows").open("ab", buffering=0)

    def append(self, reporter: str, received_ns: int, payload: bytes) -> None:
        name = reporter.encode()
        self._file.write(_HEAD.pack(len(payload), len(name), received_ns) + name + payload)
        self.batches += 1
        if self._file.tell() > _SEGMENT_BYTES:
            self._rotate()

    def _rotate(self) -> None:
        self._file.close()
        self._number += 1
        self._file = self._open()
        segments = self._segments()
        total = sum(path.stat().st_size for path in segments)
        while total > self._max and len(segments) > 1:
            oldest = segments.pop(0)
            total -= oldest.stat().st_size
            self.evicted_bytes += oldest.stat().st_size
            oldest.unlink()

    def read(self) -> bytes:
        """Everything that is kept, as `records` reads it."""
        return b"".join(path.read_bytes() for path in self._segments())

    def counters(self) -> dict[str, int]:
        return {"batches": self.batches, "evicted_bytes": self.evicted_bytes}


def records(raw: bytes) -> Iterator[Record]:
    """The records of a byte string; a half-written last one is left out."""
    at = 0
    while at + _HEAD.size <= len(raw):
        size, name_size, received_ns = _HEAD.unpack_from(raw, at)
        begin = at + _HEAD.size + name_size
        if begin + size > len(raw):
            return
        yield Record(raw[at + _HEAD.size : begin].decode(), received_ns, raw[begin : begin + size])
        at = begin + size
