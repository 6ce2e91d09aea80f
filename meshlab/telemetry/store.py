"""Flows as they came from the proxies: appended to bounded segment files, parsed only by who reads them."""

from __future__ import annotations

import contextlib
import json
import struct
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Any

_HEAD = struct.Struct("<IHIQ")
"""Bytes of payload, bytes of the reporter's name, rows in the payload, time received (ns)."""
_SEGMENT_BYTES = 8 << 20


@dataclass(frozen=True)
class Record:
    """One batch of access log entries from one reporter (`namespace/pod`)."""

    reporter: str
    received_ns: int
    rows: int
    payload: bytes


class FlowStore:
    """At most `max_bytes` on disk: the oldest segment makes room, and what was evicted is counted.

    Each segment begins with a record without a reporter, whose payload says what was counted so far: a new control
    plane goes on counting where the last one ended, whatever was evicted in between.
    Beside them, `peers.jsonl` says who had which address: rows tell addresses only, and outlive pods.
    """

    def __init__(self, folder: Path, max_bytes: int = 256 << 20) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._folder, self._max = folder, max_bytes
        self.rows: Counter[str] = Counter()
        """Rows received, by reporter, since that proxy started."""
        self.evicted_bytes = 0
        self._peers_file = folder / "peers.jsonl"
        self.peers: dict[str, dict[str, Any]] = _peers(self._peers_file)
        """Who has, or had last, each address; in the order in which the addresses came."""
        segments = self._segments()
        if segments:
            self._recount(segments[-1].read_bytes())
        self._number = int(segments[-1].stem) + 1 if segments else 1
        self._file = self._open()

    def _recount(self, raw: bytes) -> None:
        for record in _all(raw):
            if record.reporter:
                self.rows[record.reporter] += record.rows
            else:
                before = json.loads(record.payload)
                self.rows, self.evicted_bytes = Counter(before["rows"]), before["evicted_bytes"]

    def _segments(self) -> list[Path]:
        return sorted(self._folder.glob("*.flows"))

    def _open(self) -> FileIO:
        file = (self._folder / f"{self._number:08d}.flows").open("ab", buffering=0)
        file.write(self._so_far())
        return file

    def _so_far(self) -> bytes:
        counted = json.dumps(self.counters()).encode()
        return _HEAD.pack(len(counted), 0, 0, 0) + counted

    def restarted(self, reporter: str) -> None:
        """A proxy has just started, and counts its rows from 0: so do we."""
        if self.rows.pop(reporter, 0):
            self._file.write(self._so_far())

    def append(self, reporter: str, received_ns: int, payload: bytes, rows: int) -> None:
        name = reporter.encode()
        self._file.write(_HEAD.pack(len(payload), len(name), rows, received_ns) + name + payload)
        self.rows[reporter] += rows
        if self._file.tell() > _SEGMENT_BYTES:
            self._rotate()

    def _rotate(self) -> None:
        self._file.close()
        segments = self._segments()
        total = sum(path.stat().st_size for path in segments)
        while total > self._max and len(segments) > 1:
            oldest = segments.pop(0)
            size = oldest.stat().st_size
            total, self.evicted_bytes = total - size, self.evicted_bytes + size
            oldest.unlink()
        self._number += 1
        self._file = self._open()

    def know(self, peers: Iterable[dict[str, Any]]) -> None:
        """Remember who has which address (`ip`)."""
        news = [peer for peer in peers if self.peers.get(peer["ip"]) != peer]
        if not news:
            return
        with self._peers_file.open("a") as file:  # the first newline ends what a killed control plane left half written
            file.write("".join(f"\n{json.dumps(peer)}" for peer in news))
        self.peers.update((peer["ip"], peer) for peer in news)

    def read(self) -> bytes:
        """Everything that is kept, as `records` reads it."""
        return b"".join(_whole(path.read_bytes()) for path in self._segments())

    def counters(self) -> dict[str, object]:
        """`rows` by reporter, and `evicted_bytes`."""
        return {"rows": dict(self.rows), "evicted_bytes": self.evicted_bytes}


def _peers(path: Path) -> dict[str, dict[str, Any]]:
    known = {}
    for line in path.read_text().splitlines() if path.exists() else []:
        with contextlib.suppress(ValueError):
            peer = json.loads(line)
            known[peer["ip"]] = peer
    return known


def _whole(raw: bytes) -> bytes:
    """Without the record that a killed control plane left half written, which would swallow what follows."""
    end = 0
    for record in _all(raw):
        end += _HEAD.size + len(record.reporter.encode()) + len(record.payload)
    return raw[:end]


def records(raw: bytes) -> Iterator[Record]:
    """The batches in a byte string; a half-written last one is left out."""
    return (record for record in _all(raw) if record.reporter)


def _all(raw: bytes) -> Iterator[Record]:
    at = 0
    while at + _HEAD.size <= len(raw):
        size, name_size, rows, received_ns = _HEAD.unpack_from(raw, at)
        begin = at + _HEAD.size + name_size
        if begin + size > len(raw):
            return
        yield Record(raw[at + _HEAD.size : begin].decode(), received_ns, rows, raw[begin : begin + size])
        at = begin + size
