"""How requests are routed: HTTPRoute with a Service as parent (Gateway API for Mesh, GAMMA)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class PathMatch(StrEnum):
    EXACT = "Exact"
    PREFIX = "PathPrefix"
    REGEX = "RegularExpression"


class ValueMatch(StrEnum):
    EXACT = "Exact"
    REGEX = "RegularExpression"


@dataclass(frozen=True)
class NamedMatch:
    """A header or a query parameter."""

    name: str
    value: str
    match: ValueMatch = ValueMatch.EXACT


@dataclass(frozen=True)
class HTTPMatch:
    path: str = "/"
    path_match: PathMatch = PathMatch.PREFIX
    headers: tuple[NamedMatch, ...] = ()
    query: tuple[NamedMatch, ...] = ()
    method: str = ""


@dataclass(frozen=True)
class HeaderModifier:
    set: tuple[tuple[str, str], ...] = ()
    add: tuple[tuple[str, str], ...] = ()
    remove: tuple[str, ...] = ()


@dataclass(frozen=True)
class PathModifier:
    """Exactly one is not None."""

    full: str | None = None
    prefix: str | None = None


@dataclass(frozen=True)
class Redirect:
    scheme: str = ""
    hostname: str = ""
    path: PathModifier | None = None
    port: int = 0
    status: int = 302


@dataclass(frozen=True)
class Rewrite:
    hostname: str = ""
    path: PathModifier | None = None


@dataclass(frozen=True)
class Mirror:
    name: str
    namespace: str
    port: int
    percent: float = 100.0


@dataclass(frozen=True)
class Filters:
    request_headers: HeaderModifier | None = None
    response_headers: HeaderModifier | None = None
    redirect: Redirect | None = None
    rewrite: Rewrite | None = None
    mirrors: tuple[Mirror, ...] = ()


@dataclass(frozen=True)
class BackendRef:
    name: str
    namespace: str
    """Filled in from the route where the document leaves it out."""
    port: int
    weight: int = 1
    filters: Filters = Filters()


@dataclass(frozen=True)
class Retry:
    attempts: int = 1
    codes: tuple[int, ...] = ()
    backoff_ms: float = 25.0


@dataclass(frozen=True)
class HTTPRule:
    matches: tuple[HTTPMatch, ...] = (HTTPMatch(),)
    filters: Filters = Filters()
    backends: tuple[BackendRef, ...] = ()
    request_timeout_ms: float | None = None
    """0 disables; None: the route's default (no limit)."""
    backend_timeout_ms: float | None = None
    retry: Retry | None = None
    name: str = ""


@dataclass(frozen=True)
class ParentRef:
    name: str
    namespace: str
    kind: str = "Service"
    port: int = 0
    """0: every port of the parent."""
    section_name: str = ""
    """The name of a port of the parent."""


@dataclass(frozen=True)
class HTTPRoute:
    namespace: str
    name: str
    parents: tuple[ParentRef, ...]
    rules: tuple[HTTPRule, ...]
    hostnames: tuple[str, ...] = ()
    created: float = 0.0
    """Order of precedence between routes of one parent (Gateway API): older first, then namespace/name."""
