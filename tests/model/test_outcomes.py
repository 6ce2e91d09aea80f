"""The vocabulary is closed: each reason has one verdict and one meaning."""

from __future__ import annotations

from meshlab.model.outcomes import MEANING, VERDICT, Reason, Verdict


def test_every_reason_has_a_verdict_and_a_meaning() -> None:
    assert set(VERDICT) == set(MEANING) == set(Reason)
    assert set(VERDICT.values()) == set(Verdict)
