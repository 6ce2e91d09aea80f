"""When each request is due, in seconds from the start: pure and seeded."""

from __future__ import annotations

import math
import random

from meshlab.traffic.spec import TrafficSpec


def schedule(spec: TrafficSpec) -> list[float]:
    """Rising times below `duration_s`, at least one. constant: even; poisson: exponential gaps; ramp: from 0 to twice
    the rate; burst: each second's requests in its first tenth."""
    count = max(1, round(spec.rate * spec.duration_s))
    if spec.profile == "constant":
        return [index / spec.rate for index in range(count)]
    if spec.profile == "ramp":
        return [spec.duration_s * math.sqrt(index / count) for index in range(count)]
    if spec.profile == "burst":
        return _bursts(spec, count)
    generator, now, found = random.Random(spec.seed), 0.0, []
    while (now := now + generator.expovariate(spec.rate)) < spec.duration_s:
        found.append(now)
    return found or [0.0]


def _bursts(spec: TrafficSpec, count: int) -> list[float]:
    """A rate that is no whole number gives seconds of different size, and loses none."""
    found: list[float] = []
    seconds = math.ceil(spec.duration_s)
    for second in range(seconds):
        until = count if second == seconds - 1 else min(count, round(spec.rate * (second + 1)))
        size, width = until - len(found), min(0.1, spec.duration_s - second)
        found += [second + width * index / size for index in range(size)]
    return found
