"""What load is wanted: checked here, once, before anything is fired."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from urllib.parse import urlsplit

from meshlab.errors import MeshlabError

PROFILES = ("constant", "poisson", "ramp", "burst")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f]*")
_TARGET = re.compile(r"[!-~]+")
_MOST = 10_000_000
Pairs = tuple[tuple[str, str], ...]


def check_target(url: str, method: str, headers: Sequence[tuple[str, str]]) -> None:
    """MeshlabError for what cannot go on the wire as a request."""
    try:
        parts = urlsplit(url)
        good = parts.scheme == "http" and bool(parts.hostname) and parts.port != 0 and bool(_TARGET.fullmatch(url))
    except ValueError:  # a port that is no number or too large, half an IPv6 address
        good = False
    if not good or "@" in parts.netloc:
        hint = "the mesh adds TLS itself" if url.startswith("https:") else "for example http://catalog/items?n=1"
        raise MeshlabError(f"url {url[:200]!r}: expected http://host[:port]/path", hint=hint)
    if not _TOKEN.fullmatch(method):
        raise MeshlabError(f"method {method!r}: expected a word such as GET")
    for name, value in headers:
        if not _TOKEN.fullmatch(name) or not _VALUE.fullmatch(value):
            raise MeshlabError(f"header {name!r}: expected name: value", hint="for example -H 'x-user: ada'")


def check_range(name: str, value: float, least: float, most: float) -> None:
    """MeshlabError unless least <= value <= most."""
    if not least <= value <= most:
        raise MeshlabError(f"{name}={value:g}: expected {least:g} to {most:g}")


@dataclass(frozen=True)
class TrafficSpec:
    """An open loop. `rate` in requests per second (the mean), `duration_s` and `timeout_s` in seconds. Same seed, same
    schedule. `max_in_flight`: so many unanswered at once; more wait (their latency counts from when they were due)."""

    url: str
    rate: float = 50.0
    duration_s: float = 5.0
    profile: str = "constant"
    seed: int = 1
    method: str = "GET"
    headers: Pairs = ()
    body: str = ""
    timeout_s: float = 10.0
    max_in_flight: int = 4096

    def __post_init__(self) -> None:
        check_target(self.url, self.method, self.headers)
        if self.profile not in PROFILES:
            raise MeshlabError(f"profile {self.profile!r}: expected one of {', '.join(PROFILES)}")
        for name, most in (("rate", 100_000), ("duration_s", 86_400), ("timeout_s", 3600), ("max_in_flight", 100_000)):
            value = getattr(self, name)
            if not 0 < value <= most:
                raise MeshlabError(f"{name}={value:g}: expected more than 0, at most {most}")
        if self.rate * self.duration_s > _MOST:
            raise MeshlabError(f"more than {_MOST} requests in one run", hint="a lower rate or a shorter duration")

    @property
    def planned_duration_s(self) -> float:
        return self.duration_s

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> TrafficSpec:
        data = json.loads(text)
        return cls(**{**data, "headers": tuple((key, value) for key, value in data["headers"])})
