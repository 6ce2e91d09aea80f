"""The benchmark itself works: every way is served without a failure and every figure is there."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from meshlab import Lab
from meshlab.bench import data_path


def test_the_data_path_has_every_figure_of_every_way(
    lab_name: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data_path, "ROUNDS", 1)
    monkeypatch.setattr(data_path, "SECONDS", 1.0)
    with Lab(lab_name(), nodes=2) as lab:
        rows = data_path.measure(lab, lambda _: None)
        flows = lab.flows()
    assert not [row for row in rows if row.metric == "failed"]
    figures = {(load.name, metric) for load in data_path.LOADS for metric in load.metrics}
    for mode in ("none", "sidecar", "hand-written", "sidecar against hand-written"):
        assert {(row.load, row.metric) for row in rows if row.mode == mode} == figures
    # The hand-written pair did the same work: its Envoys logged, with the peers' identities proven.
    hand = flows[(flows["source_workload"] == "handwritten-client") & (flows["reporter"] == "destination")]
    assert set(hand["source_principal"]) == {"spiffe://handwritten.local/ns/bench/sa/handwritten-client"}
