"""When each request is due, in seconds from the start: pure and seeded."""

from __future__ import annotations

import math
import random

from meshlab.traffic.spec import TrafficSpec


def schedule(spec: TrafficSpec) -> list[float]:
    """Rising times below `duration_s`. constant: even; poisson: exponential gaps; ramp: from 0 to twice the rate;
    burst: each second's requests in its first tenth."""
    count = max(1, round(spec.rate * spec.duration_s))
    if spec.profile == "constant":
        return [index / spec.rate for index in range(count)]
    if spec.profile == "ramp":
        return [spec.duration_s * math.sqrt(index / count) for index in range(count)]
    if spec.profile == "burst":
        per_second = max(1, round(spec.rate))
        times = (index // per_second + 0.1 * (index % per_second) / per_second for index in range(count))
        return [time for time in times if time < spec.duration_s]
    generator, now, found = random.Random(spec.seed), 0.0, []
    while (now := now + generator.expovariate(spec.rate)) < spec.duration_s:
        found.append(now)
    return found
