"""Weighted random choice in one look-up: Vose's alias method, in whole numbers."""

from __future__ import annotations

from collections.abc import Sequence

SCALE = 1 << 32


def table(weights: Sequence[int]) -> list[tuple[int, int, int]]:
    """`(own, alias, threshold)` for each position: a uniform position, then `own` if a uniform number below 2^32 is
    below `threshold`, else `alias`. Weights of 0 get no position; exact to 2^-32 per position."""
    used = [(index, weight) for index, weight in enumerate(weights) if weight > 0]
    total, count = sum(weight for _, weight in used), len(used)
    left = {index: weight * count for index, weight in used}
    small = [index for index in left if left[index] < total]
    large = [index for index in left if left[index] >= total]
    found: list[tuple[int, int, int]] = []
    while small and large:
        own, alias = small.pop(), large[-1]
        found.append((own, alias, left[own] * SCALE // total))
        left[alias] -= total - left[own]
        if left[alias] < total:
            small.append(large.pop())
    return found + [(index, index, SCALE - 1) for index in (*large, *small)]
