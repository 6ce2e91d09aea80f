"""Access logs as bytes. Only the first message of a stream says which log it is; each batch is kept with that name.

Message layout: https://www.envoyproxy.io/docs/envoy/latest/api-v3/service/accesslog/v3/als.proto
(StreamAccessLogsMessage: identifier = 1 {node = 1, log_name = 2}, entries = 2, 3). Entries are never parsed.
"""

from __future__ import annotations

from collections.abc import Iterator

_LENGTH_DELIMITED = 2
_IDENTIFIER, _LOG_NAME = 1, 2


class LogStream:
    """One stream of batches. ValueError on bytes that are no protobuf message."""

    def __init__(self) -> None:
        self._identifier = b""

    def batch(self, raw: bytes) -> bytes:
        """The batch with an identifier that holds the log's name, and without the node (the token says who it is; the
        node alone would be larger than most batches)."""
        if raw[:1] == bytes([_IDENTIFIER << 3 | _LENGTH_DELIMITED]):
            size, start = _varint(raw, 1)
            end = start + size
            if end > len(raw):
                raise ValueError("a field that ends after the message")
            names = [value for number, value in _fields(raw[start:end]) if number == _LOG_NAME]
            self._identifier = _field(_IDENTIFIER, _field(_LOG_NAME, names[-1] if names else b""))
            raw = raw[end:]
        return self._identifier + raw


def _fields(raw: bytes) -> Iterator[tuple[int, bytes]]:
    """Number and bytes of each field of a message that has only length-delimited ones."""
    at = 0
    while at < len(raw):
        tag, at = _varint(raw, at)
        if tag & 7 != _LENGTH_DELIMITED:
            raise ValueError(f"wire type {tag & 7} where none was expected")
        size, at = _varint(raw, at)
        if at + size > len(raw):
            raise ValueError("a field that ends after the message")
        yield tag >> 3, raw[at : at + size]
        at += size


def _field(number: int, value: bytes) -> bytes:
    size, length = bytearray(), len(value)
    while length > 0x7F:
        size.append(length & 0x7F | 0x80)
        length >>= 7
    return bytes([number << 3 | _LENGTH_DELIMITED, *size, length]) + value


def _varint(raw: bytes, at: int) -> tuple[int, int]:
    """The number, and where the next byte is."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(raw):
            break
        byte = raw[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if not byte & 0x80:
            return value, at
    raise ValueError("a number that does not end")
