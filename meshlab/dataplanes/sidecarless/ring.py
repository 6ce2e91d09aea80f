"""Events out of the kernel's ring buffer: one mapped memory, read as a numpy array, no call per event.

The kernel's layout: a page with the consumer's position (ours to write), a page with the producer's, then the data
twice in a row, so that a record never wraps for the reader. Each record has a header of 8 bytes: length and two flags.
"""

from __future__ import annotations

import mmap
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from meshlab.dataplanes.sidecarless import libbpf

_BUSY, _DISCARDED = np.uint32(1 << 31), np.uint32(1 << 30)
_HEADER_BYTES = 8


def _with_text(record: np.dtype[Any]) -> np.dtype[Any]:
    """Arrays of characters as strings."""
    fields: Mapping[str, Any] = record.fields or {}
    kinds = [np.dtype(f"S{kind.itemsize}") if kind.base == np.dtype("S1") else kind for kind, *_ in fields.values()]
    offsets = [field[1] for field in fields.values()]
    return np.dtype({"names": list(fields), "formats": kinds, "offsets": offsets, "itemsize": record.itemsize})


class Ring:
    """Records of one fixed size. Not for two threads."""

    def __init__(self, descriptor: int, record: type[Any]) -> None:
        size = int(libbpf.map_info(descriptor).max_entries)
        body = _with_text(np.dtype(record))
        self._record = np.dtype([("length", "<u4"), ("page", "<u4"), ("body", body)])
        if self._record.itemsize != _HEADER_BYTES + (body.itemsize + 7) // 8 * 8:
            raise AssertionError("the record of an event must be a multiple of 8 bytes")
        self._mask = size - 1
        page = mmap.PAGESIZE
        self._ours = mmap.mmap(descriptor, page, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE, offset=0)
        self._theirs = mmap.mmap(descriptor, page + 2 * size, mmap.MAP_SHARED, mmap.PROT_READ, offset=page)
        self._consumed: NDArray[np.uint64] = np.frombuffer(self._ours, "<u8", 1)
        self._produced: NDArray[np.uint64] = np.frombuffer(self._theirs, "<u8", 1)

    def read(self) -> NDArray[Any]:
        """Every finished record since the last call, as a structured array (a copy); empty if there is none."""
        found, _, end = self.look()
        self.consume(end)
        return found

    def consume(self, position: int) -> None:
        """What lies before is done with: the kernel may write over it, and nobody reads it again."""
        self._consumed[0] = np.uint64(position)

    def look(self) -> tuple[NDArray[Any], int, int]:
        """As `read`, but they stay in the ring; and the positions at which they begin and end, which only ever grow."""
        start, end = int(self._consumed[0]), int(self._produced[0])
        count = (end - start) // self._record.itemsize
        found = np.frombuffer(self._theirs, self._record, count, mmap.PAGESIZE + (start & self._mask))
        busy = (found["length"] & _BUSY) != 0
        if busy.any():
            found = found[: int(busy.argmax())]
        taken = found.copy()
        finished: NDArray[Any] = taken["body"][(taken["length"] & _DISCARDED) == 0]
        return finished, start, start + taken.nbytes

    def close(self) -> None:
        """Unmap; what is not read stays in the kernel for the next reader."""
        del self._consumed, self._produced
        self._ours.close()
        self._theirs.close()
