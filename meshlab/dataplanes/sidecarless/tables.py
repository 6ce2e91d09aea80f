"""A map as a Python table of bytes: read whole, compared with what is wanted, changed only where it differs."""

from __future__ import annotations

import ctypes
import errno
import socket
from collections.abc import Callable, Mapping
from typing import Any

from meshlab.dataplanes.sidecarless import libbpf
from meshlab.dataplanes.sidecarless.loader import Layout
from meshlab.errors import MeshlabError


class Table:
    """One hash. Keys and values are ctypes structures of the C text, or their bytes."""

    def __init__(self, layout: Layout) -> None:
        self.name = layout.name
        self._descriptor = layout.descriptor
        self._key, self._leaf = layout.key, layout.leaf
        self.max_entries = int(libbpf.map_info(layout.descriptor).max_entries)

    def key(self, **fields: int) -> Any:
        return self._key(**fields)

    def leaf(self, **fields: Any) -> Any:
        return self._leaf(**fields)

    def get(self, key: Any) -> Any | None:
        """A copy of the value, or None."""
        value = self._leaf()
        return value if libbpf.map_lookup(self._descriptor, key, value) else None

    def put(self, key: Any, value: Any) -> None:
        """Insert or replace. MeshlabError where the map is full."""
        try:
            libbpf.map_update(self._descriptor, key, value)
        except OSError as error:
            if error.errno != errno.E2BIG:
                raise
            raise MeshlabError(
                f"the kernel's table of {self.name} is full ({self.max_entries} entries)",
                hint="fewer of them on this node, or a larger size in bpf/include",
            ) from error

    def remove(self, key: Any) -> bool:
        return libbpf.map_delete(self._descriptor, key)

    def items(self, room: int = 0) -> list[tuple[Any, Any]]:
        """All entries (or about as many as there is `room` for), as structures."""
        return [
            (self._key.from_buffer_copy(key), self._leaf.from_buffer_copy(leaf)) for key, leaf in self.raw(room).items()
        ]

    def raw(self, room: int = 0) -> dict[bytes, bytes]:
        """All entries (or about as many as there is `room` for), as bytes, by one call."""
        room = min(room or self.max_entries, self.max_entries) + 1
        keys, leaves = (
            ctypes.create_string_buffer(room * self._key_size),
            ctypes.create_string_buffer(room * self._leaf_size),
        )
        count = libbpf.map_batch(self._descriptor, keys, leaves, room)
        key_view, leaf_view = memoryview(keys), memoryview(leaves)
        return {
            bytes(key_view[i * self._key_size : (i + 1) * self._key_size]): bytes(
                leaf_view[i * self._leaf_size : (i + 1) * self._leaf_size]
            )
            for i in range(count)
        }

    @property
    def _key_size(self) -> int:
        return ctypes.sizeof(self._key)

    @property
    def _leaf_size(self) -> int:
        return ctypes.sizeof(self._leaf)

    def sync(self, wanted: Mapping[bytes, bytes], mine: Callable[[Any, Any], bool]) -> int:
        """Make the entries for which `mine(key, value)` holds those that are wanted; how many changed."""
        standing = self.raw()
        changed = 0
        for key, leaf in standing.items():
            if key not in wanted and mine(self._key.from_buffer_copy(key), self._leaf.from_buffer_copy(leaf)):
                changed += self.remove(self._key.from_buffer_copy(key))
        for key, leaf in wanted.items():
            if standing.get(key) != leaf:
                self.put(self._key.from_buffer_copy(key), self._leaf.from_buffer_copy(leaf))
                changed += 1
        return changed


def packed(ip: str) -> int:
    """An IPv4 address as the kernel holds it: network byte order in a native integer."""
    return int.from_bytes(socket.inet_aton(ip), "little")


def unpacked(number: int) -> str:
    return socket.inet_ntoa(number.to_bytes(4, "little"))
