"""What load is wanted."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from meshlab.errors import MeshlabError

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
        if not self.url.startswith("http://"):
            raise MeshlabError(f"url {self.url!r}: expected http://host[:port]/path", hint="the mesh adds TLS itself")
        if self.profile not in PROFILES:
            raise MeshlabError(f"profile {self.profile!r}: expected one of {', '.join(PROFILES)}")
        if not (0 < self.rate <= 100_000 and 0 < self.duration_s <= 86_400):
            raise MeshlabError("rate and duration_s must be positive")

    @property
    def planned_duration_s(self) -> float:
        return self.duration_s

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> TrafficSpec:
        data = json.loads(text)
        return cls(**{**data, "headers": tuple((key, value) for key, value in data["headers"])})
