"""A plan in names, cut into resources and put together again."""

from __future__ import annotations

import json

import pytest

from meshlab.model.kernel import KernelBackend, KernelPlan, KernelRule, KernelService, KernelWorkload, plan_of

PLAN = KernelPlan(
    "node-1",
    (KernelWorkload("10.0.0.1", "a/b", "spiffe://x/b", "sidecarless", "u", "/n", (KernelRule("proxy", "ok"),)),),
    (KernelService("a/s", "10.96.0.1", 80, False, (KernelBackend("10.0.0.1", 8080, 3),)),),
)


def test_resources_give_the_plan_again() -> None:
    assert set(PLAN.resources()) == {"workload/10.0.0.1", "service/10.96.0.1:80"}
    assert plan_of("node-1", PLAN.resources()) == PLAN


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"rules": [{"verdict": "allow"}]}', '{"rules": [], "more": 1}'])
def test_what_is_no_resource_is_named(text: str) -> None:
    with pytest.raises(ValueError, match=r"resource workload/10\.0\.0\.9: "):
        plan_of("node-1", {**PLAN.resources(), "workload/10.0.0.9": text})


def test_the_json_is_what_dataclasses_say() -> None:
    told = json.loads(PLAN.resources()["service/10.96.0.1:80"])
    assert told["backends"] == [{"ip": "10.0.0.1", "port": 8080, "weight": 3}]
