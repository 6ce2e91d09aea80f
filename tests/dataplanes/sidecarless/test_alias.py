"""The alias table gives each weight exactly its share."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from meshlab.dataplanes.sidecarless import alias


@given(st.lists(st.integers(0, 1_000_000), max_size=40))
def test_shares_are_the_weights(weights: list[int]) -> None:
    positions = alias.table(weights)
    total = sum(weights)
    assert len(positions) == sum(weight > 0 for weight in weights)
    shares: Counter[int] = Counter()
    for own, other, threshold in positions:
        assert 0 <= threshold < alias.SCALE
        shares[own] += threshold
        shares[other] += alias.SCALE - threshold
    for index, weight in enumerate(weights):
        if weight == 0:
            assert index not in shares
        else:
            got = Fraction(shares[index], alias.SCALE * len(positions))
            assert abs(got - Fraction(weight, total)) <= Fraction(len(positions), alias.SCALE)
