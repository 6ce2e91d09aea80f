"""Schedules: as many as asked for, in order, in time, the same for the same seed."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshlab.traffic.profiles import schedule
from meshlab.traffic.spec import PROFILES, TrafficSpec


def times(profile: str, rate: float = 100.0, duration_s: float = 3.0, seed: int = 1) -> list[float]:
    return schedule(TrafficSpec("http://a/", rate, duration_s, profile, seed))


@given(st.sampled_from(PROFILES), st.floats(0.01, 500), st.floats(0.01, 20), st.integers(0, 9))
def test_times_rise_from_0_and_stay_below_the_duration(profile: str, rate: float, duration: float, seed: int) -> None:
    found = times(profile, rate, duration, seed)
    assert found
    assert found == sorted(found)
    assert found[0] >= 0
    assert found[-1] < duration


@given(st.sampled_from([p for p in PROFILES if p != "poisson"]), st.floats(0.01, 500), st.floats(0.01, 20))
def test_there_are_as_many_as_rate_and_duration_say(profile: str, rate: float, duration: float) -> None:
    assert len(times(profile, rate, duration)) == max(1, round(rate * duration))


def test_constant_is_even() -> None:
    assert times("constant", 4, 1) == [0, 0.25, 0.5, 0.75]


def test_poisson_is_seeded_and_has_the_mean_and_spread_of_its_rate() -> None:
    found = times("poisson", 100, 101)
    assert found == times("poisson", 100, 101)
    assert found != times("poisson", 100, 101, seed=2)
    assert abs(len(found) - 10_100) < 4 * 10_100**0.5
    gaps = [later - earlier for earlier, later in pairwise(found)]
    mean = sum(gaps) / len(gaps)
    deviation = (sum((gap - mean) ** 2 for gap in gaps) / len(gaps)) ** 0.5
    assert deviation == pytest.approx(mean, rel=0.05)  # of an exponential distribution they are equal


def test_a_ramp_climbs_from_0_to_twice_the_rate() -> None:
    found = times("ramp", 100, 4)
    per_second = [sum(second <= time < second + 1 for time in found) for second in range(4)]
    assert per_second == [25, 75, 125, 175]


def test_a_burst_has_each_seconds_requests_in_its_first_tenth() -> None:
    found = times("burst", 10, 3)
    assert all(time % 1 < 0.1 for time in found)
    assert [sum(int(time) == second for time in found) for second in range(3)] == [10, 10, 10]


def test_a_burst_of_a_broken_rate_loses_none() -> None:
    found = times("burst", 2.5, 4)
    assert [sum(int(time) == second for time in found) for second in range(4)] == [2, 3, 3, 2]


def test_even_the_shortest_load_sends_one() -> None:
    for profile in PROFILES:
        assert len(times(profile, 0.01, 0.01)) == 1
