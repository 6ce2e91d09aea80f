"""What crosses the cluster daemon's socket comes back as it was, through JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

from meshlab.model.ids import Ref
from meshlab.model.workloads import Mode
from meshlab.runtimes.base import Change, Observed, PodStatus, ResourceSample
from meshlab.runtimes.local import wire
from tests.runtimes.local.worlds import PODS, WORLD
from tests.runtimes.support import manifests


def test_observed() -> None:
    observed = Observed(7, tuple(manifests()), (replace(PODS[0], terminating=True), *PODS[1:]), dict(WORLD.cluster_ips))
    assert wire.observed_from(json.loads(json.dumps(wire.observed_to(observed)))) == observed


def test_nothing_observed() -> None:
    assert wire.observed_from(json.loads(json.dumps(wire.observed_to(Observed())))) == Observed()


def test_rows() -> None:
    change = Change(Ref("Namespace", "", "shop"), "created")
    status = PodStatus(
        PODS[0].pod, "u", "Running", True, 2, "node-1", "10.0.0.1", Mode.SIDECAR, "web", "sa", ("a", "b"), 1.5, "why"
    )
    sample = ResourceSample("proxy", "shop", "web-1", "node-1", 2, 0.25, 5, 7)
    for noun, back in ((change, wire.change_from), (status, wire.status_from), (sample, wire.sample_from)):
        assert back(json.loads(json.dumps(asdict(noun)))) == noun  # type: ignore[operator]
