"""What load is wanted."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from urllib.parse import urlsplit

from meshlab.errors import MeshlabError

_MOST = 10_000_000
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f]*")
_TARGET = re.compile(r"[!-~]+")
PROFILES = ("constant", "poisson", "ramp", "burst")


@dataclass(frozen=True)
class TrafficSpec:
    """`rate` in requests per second (the mean), `duration_s` and `timeout_s` in seconds. Same seed, same schedule."""

    url: str
    rate: float = 50.0
    duration_s: float = 5.0
    profile: str = "constant"
    seed: int = 1
    method: str = "GET"
    headers: tuple[tuple[str, str], ...] = ()
    body: str = ""
    timeout_s: float = 10.0

    def __post_init__(self) -> None:
        _check_url(self.url)
        if self.profile not in PROFILES:
            raise MeshlabError(f"profile {self.profile!r}: expected one of {', '.join(PROFILES)}")
        for name, most in (("rate", 100_000), ("duration_s", 86_400), ("timeout_s", 3_600)):
            if not 0 < getattr(self, name) <= most:
                raise MeshlabError(f"{name}={getattr(self, name)}: expected more than 0 and at most {most}")
        if self.rate * self.duration_s > _MOST:
            raise MeshlabError(f"more than {_MOST} requests in one run", hint="a lower rate or a shorter duration")
        if not _TOKEN.fullmatch(self.method):
            raise MeshlabError(f"method {self.method!r}: expected a word such as GET")
        for key, value in self.headers:
            if not _TOKEN.fullmatch(key) or not _VALUE.fullmatch(value):
                raise MeshlabError(f"header {key!r}: expected name: value", hint="for example -H 'x-user: ada'")

    @property
    def planned_duration_s(self) -> float:
        return self.duration_s

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> TrafficSpec:
        data = json.loads(text)
        return cls(**{**data, "headers": tuple((key, value) for key, value in data["headers"])})


def _check_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        good = parts.scheme == "http" and bool(parts.hostname) and parts.port != 0 and bool(_TARGET.fullmatch(url))
    except ValueError:  # a port that is no number or too large, half an IPv6 address
        good = False
    if not good:
        raise MeshlabError(f"url {url[:200]!r}: expected http://host[:port]/path", hint="the mesh adds TLS itself")
