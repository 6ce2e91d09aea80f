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
_MOST = 20_000_000
Pairs = tuple[tuple[str, str], ...]


def check_target(url: str, method: str, headers: Sequence[tuple[str, str]]) -> None:
    """MeshlabError for what cannot go on the wire as a request."""
    if url.startswith("https://"):
        raise MeshlabError(f"url {url!r}: https is not spoken here", hint="give http://: the mesh adds TLS itself")
    try:
        parts = urlsplit(url)
        good = parts.scheme == "http" and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        good = False
    if not good or not url.isascii() or any(character <= " " for character in url) or "@" in parts.netloc:
        raise MeshlabError(
            f"url {url!r}: expected http://host[:port]/path", hint="for example http://catalog/items?n=1"
        )
    if not _TOKEN.fullmatch(method):
        raise MeshlabError(f"method {method!r}: expected a word such as GET")
    for name, value in headers:
        if not _TOKEN.fullmatch(name) or "\r" in value or "\n" in value:
            raise MeshlabError(f"header {name!r}: expected `name: value` on one line")


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
            raise MeshlabError(f"{self.rate * self.duration_s:.0f} requests: expected at most {_MOST} in one run")

    @property
    def planned_duration_s(self) -> float:
        return self.duration_s

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> TrafficSpec:
        data = json.loads(text)
        return cls(**{**data, "headers": tuple((key, value) for key, value in data["headers"])})
