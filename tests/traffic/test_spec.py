"""What load may be asked for, and that a generator in a pod is told the same."""

from __future__ import annotations

from typing import Any

import pytest

from meshlab.errors import MeshlabError
from meshlab.traffic.spec import TrafficSpec


def test_a_spec_crosses_to_the_pod_as_it_is() -> None:
    spec = TrafficSpec("http://a:81/x?y=z", 7.5, 1.5, "ramp", 9, "POST", (("x-a", "1"), ("x-a", "ü")), "body\n", 2.5)
    assert TrafficSpec.from_json(spec.to_json()) == spec


@pytest.mark.parametrize(
    "wrong",
    [
        {"url": "a"}, {"url": "https://a/"}, {"url": "http://"}, {"url": "http://a:99999/"}, {"url": "http://a:x/"},
        {"url": "http://[::1"}, {"url": "http://a/ b"}, {"url": "http://a/\r\nx: y"},
        {"rate": 0.0}, {"rate": -1.0}, {"rate": float("nan")}, {"rate": 1e9}, {"duration_s": 0.0},
        {"duration_s": float("inf")}, {"timeout_s": 0.0}, {"rate": 1e5, "duration_s": 8e4}, {"profile": "flat"},
        {"method": "G T"}, {"method": ""}, {"headers": (("a b", "c"),)}, {"headers": (("a", "b\r\nc: d"),)},
    ],
    ids=str,
)  # fmt: skip
def test_what_cannot_be_sent_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(MeshlabError, match=r"expected|in one run"):
        TrafficSpec(**{"url": "http://a/", **wrong})
