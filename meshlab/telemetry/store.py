"""Batches of access logs on disk, exactly as they were received: bounded, one writer, any number of readers.

A folder of segment files named after the cursor of their first record. Record, little endian:
`cursor u64 | received_ns u64 | payload length u32 | reporter length u16 | reporter | payload`.
Cursors start at 1 and have no gaps, so the number of evicted batches is the first cursor that is left, minus one: it
needs no state of its own and is right after a restart too.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

_HEAD = struct.Struct("<QQIH")
_SUFFIX = ".flows"
_SEGMENTS = 8
DEFAULT_MAX_BYTES = 256 * 1024 * 1024


class Record(NamedTuple):
    """One batch. `reporter`: `<namespace>/<pod>` of the proxy; `payload`: a serialised StreamAccessLogsMessage."""

    cursor: int
    reporter: str
    received_ns: int
    payload: bytes


class Counters(NamedTuple):
    """`appended` and `evicted` batches since the lab began; `held` and `bytes` of what is on disk now."""

    appended: int
    evicted: int
    held: int
    bytes: int


def encode(record: Record) -> bytes:
    """The record's bytes, on disk and in the answer of `GET /flows`."""
    reporter = record.reporter.encode()
    head = _HEAD.pack(record.cursor, record.received_ns, len(record.payload), len(reporter))
    return head + reporter + record.payload


def records(raw: bytes, *, after: int = 0) -> Iterator[Record]:
    """Read records back; stops before an incomplete one (a writer may be in the midst of it)."""
    for start, end in _spans(raw):
        cursor, received_ns, _, name_length = _HEAD.unpack_from(raw, start)
        if cursor > after:
            body = start + _HEAD.size
            reporter = raw[body : body + name_length].decode(errors="replace")
            yield Record(cursor, reporter, received_ns, raw[body + name_length : end])


def _spans(raw: bytes) -> Iterator[tuple[int, int]]:
    """Start and end of each complete record."""
    at = 0
    while at + _HEAD.size <= len(raw):
        _, _, length, name_length = _HEAD.unpack_from(raw, at)
        end = at + _HEAD.size + name_length + length
        if end > len(raw):
            return
        yield at, end
        at = end


class FlowStore:
    """The one writer of a folder, which also reads. Oldest segments go when `max_bytes` would be exceeded: the newest
    batch is always kept. OSError where the folder cannot be written (a full disk)."""

    def __init__(self, folder: Path, max_bytes: int = DEFAULT_MAX_BYTES) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._sizes = {path: path.stat().st_size for path in _segments(folder)}
        self._next = 1
        self._file: int | None = None
        if self._sizes:
            self._recover(list(self._sizes)[-1])

    def append(self, reporter: str, received_ns: int, payload: bytes) -> int:
        """Keep one batch; gives its cursor. One write, so that readers never see half of it for long."""
        data = encode(Record(self._next, reporter, received_ns, payload))
        path = self._segment_for(len(data))
        assert self._file is not None
        written = os.write(self._file, data)
        if written != len(data):
            os.ftruncate(self._file, self._sizes[path])
            raise OSError(f"only {written} of {len(data)} bytes fitted into {path.name}")
        self._sizes[path] += len(data)
        self._next += 1
        return self._next - 1

    def read(self, after: int = 0) -> Iterator[Record]:
        """Batches with a cursor above `after`, oldest first."""
        return read(self._folder, after)

    def stream(self, after: int = 0) -> Iterator[bytes]:
        """The same as bytes, a segment at a time: the body of `GET /flows`."""
        return stream(self._folder, after)

    @property
    def cursor(self) -> int:
        """Cursor of the newest batch; 0 for none."""
        return self._next - 1

    @property
    def counters(self) -> Counters:
        first = _first_cursor(next(iter(self._sizes))) if self._sizes else self._next
        return Counters(self._next - 1, first - 1, self._next - first, sum(self._sizes.values()))

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _segment_for(self, size: int) -> Path:
        """The open segment, or a new one where the record would make it too long."""
        last = next(reversed(self._sizes)) if self._sizes else None
        if last is None or self._sizes[last] + size > self._max_bytes // _SEGMENTS:
            self.close()
            last = self._folder / f"{self._next:020d}{_SUFFIX}"
            self._sizes[last] = 0
        if self._file is None:
            self._file = os.open(last, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._evict(size, last)
        return last

    def _evict(self, size: int, keep: Path) -> None:
        while sum(self._sizes.values()) + size > self._max_bytes:
            oldest = next(iter(self._sizes))
            if oldest == keep:
                return
            oldest.unlink(missing_ok=True)
            del self._sizes[oldest]

    def _recover(self, last: Path) -> None:
        """Continue after the last complete record; a torn one (the writer was killed) is cut off."""
        raw = last.read_bytes()
        self._next, end = _first_cursor(last), 0
        for start, end in _spans(raw):  # noqa: B007
            self._next = _HEAD.unpack_from(raw, start)[0] + 1
        if end != len(raw):
            os.truncate(last, end)
        self._sizes[last] = end


def read(folder: Path, after: int = 0) -> Iterator[Record]:
    """Batches of a folder that another process may be writing; segments evicted meanwhile are skipped."""
    for raw in stream(folder, after):
        yield from records(raw)


def stream(folder: Path, after: int = 0) -> Iterator[bytes]:
    """Whole records with a cursor above `after` as bytes, a segment at a time."""
    segments = _segments(folder)
    for index, path in enumerate(segments):
        if index + 1 < len(segments) and _first_cursor(segments[index + 1]) <= after + 1:
            continue
        try:
            raw = path.read_bytes()
        except FileNotFoundError:
            continue
        wanted = [(start, end) for start, end in _spans(raw) if _HEAD.unpack_from(raw, start)[0] > after]
        if wanted:
            yield raw[wanted[0][0] : wanted[-1][1]]


def _segments(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"*{_SUFFIX}"))


def _first_cursor(path: Path) -> int:
    return int(path.name.removesuffix(_SUFFIX))
