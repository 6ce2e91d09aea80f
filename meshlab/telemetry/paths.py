"""Paths with their variable parts named, so that requests for many things of one kind are one kind of request."""

from __future__ import annotations

import re

_VARIABLE = re.compile(
    r"\d+"
    r"|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"  # UUID (RFC 9562)
    r"|(?=[^/]*\d)([0-9a-f]{16,}|[0-9a-z]{20,})",  # hashes, ULIDs and other long names that no person has chosen
    re.IGNORECASE,
)


def template(path: str) -> str:
    """`/items/42/parts` -> `/items/{id}/parts`: each segment that is a number, a UUID, or long and with digits."""
    return "/".join("{id}" if _VARIABLE.fullmatch(segment) else segment for segment in path.split("/"))
