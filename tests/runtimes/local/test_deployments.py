"""The deployment controller: scale, rolling replacement, names, bare pods."""

from __future__ import annotations

from dataclasses import replace

import pytest

from meshlab.model.mesh import Mesh
from meshlab.model.workloads import Container, Deployment, Mode, Namespace, Pod, PodTemplate
from meshlab.model.world import PodId
from meshlab.runtimes.local import deployments
from meshlab.runtimes.local.deployments import Steps
from meshlab.runtimes.local.pod import PodSpec

NODES = ["node-1", "node-2"]
TEMPLATE = PodTemplate(labels={"app": "web", "tier": "front"}, containers=(Container("app", "meshlab/echo"),))
WEB = Deployment("shop", "web", replicas=3, selector={"app": "web"}, template=TEMPLATE)


def changed(deployment: Deployment, image: str = "meshlab/nginx") -> Deployment:
    return replace(deployment, template=replace(TEMPLATE, containers=(Container("app", image),)))


class Play:
    """Runs the controller's steps; pods get ready or leave when told to."""

    def __init__(self) -> None:
        self.specs: dict[PodId, PodSpec] = {}
        self.leaving: set[PodId] = set()
        self.ready_s: dict[PodId, float] = {}

    def step(self, *nouns: object) -> Steps:
        mesh = Mesh.of(nouns)  # type: ignore[arg-type]
        steps = deployments.plan(mesh, list(self.specs.values()), self.leaving, self.ready_s, NODES, Mode.SIDECAR)
        assert not self.leaving & set(steps.stop)
        self.leaving |= set(steps.stop)
        for pod in steps.stop:
            self.ready_s.pop(pod, None)
        for spec in steps.start:
            assert spec.pod not in self.specs
            self.specs[spec.pod] = spec
        return steps

    def all_ready(self, seconds: float = 60.0) -> None:
        self.ready_s = dict.fromkeys(self.specs.keys() - self.leaving, seconds)

    def all_gone(self) -> None:
        for pod in self.leaving:
            del self.specs[pod]
        self.leaving.clear()

    def names(self) -> list[str]:
        return sorted(pod.name for pod in self.specs)


def test_makes_replicas_with_the_lowest_free_numbers_and_spreads_them() -> None:
    play = Play()
    play.step(WEB)
    assert play.names() == ["web-1", "web-2", "web-3"]
    assert sorted(spec.node for spec in play.specs.values()) == ["node-1", "node-1", "node-2"]
    play.all_ready()
    assert play.step(WEB) == Steps()
    del play.specs[PodId("shop", "web-2")]
    assert [str(spec.pod) for spec in play.step(WEB).start] == ["shop/web-2"]


def test_scale_takes_the_highest_numbers_and_first_what_is_not_ready() -> None:
    play = Play()
    play.step(WEB)
    play.all_ready()
    del play.ready_s[PodId("shop", "web-1")]
    steps = play.step(replace(WEB, replicas=1))
    assert {pod.name for pod in steps.stop} == {"web-1", "web-3"}


def test_scale_to_zero_and_back() -> None:
    play = Play()
    play.step(WEB)
    play.all_ready()
    assert len(play.step(replace(WEB, replicas=0)).stop) == 3
    play.step(WEB)  # names of leaving pods are not free yet
    assert play.names() == [f"web-{n}" for n in range(1, 7)]


@pytest.mark.parametrize(
    ("surge", "unavailable", "replicas"),
    [("25%", "25%", 1), ("25%", "25%", 4), (1, 0, 3), (0, 1, 3), (0, 0, 2), ("100%", 0, 5), (2, "50%", 7)],
)
def test_rolls_within_its_bounds(surge: int | str, unavailable: int | str, replicas: int) -> None:
    web = replace(WEB, replicas=replicas, max_surge=surge, max_unavailable=unavailable)
    new = changed(web)
    play = Play()
    play.step(web)
    play.all_ready()
    most, least = _bounds(surge, unavailable, replicas)
    for _ in range(40):
        steps = play.step(new)
        assert len(play.specs) - len(play.leaving) <= most
        assert len(play.ready_s) >= least
        if steps == Steps():
            break
        play.all_gone()
        play.step(new)
        play.all_ready()
    current = deployments.revision(new.template, Mode.SIDECAR)
    assert [spec.revision for spec in play.specs.values()] == [current] * replicas


def _bounds(surge: int | str, unavailable: int | str, replicas: int) -> tuple[int, int]:
    known = {("25%", 1): 1, ("25%", 4): 1, ("100%", 5): 5, ("50%", 7): 3}
    up = surge if isinstance(surge, int) else known[(surge, replicas)]
    down = unavailable if isinstance(unavailable, int) else 0 if replicas == 1 else known[(unavailable, replicas)]
    return replicas + up, replicas - (down or (0 if up else 1))


def test_one_replica_is_replaced_only_when_the_new_one_is_ready_for_long_enough() -> None:
    web = replace(WEB, replicas=1, min_ready_s=10.0)
    new = changed(web)
    play = Play()
    play.step(web)
    play.all_ready()
    assert [spec.pod.name for spec in play.step(new).start] == ["web-2"]
    assert play.step(new).stop == []
    play.ready_s[PodId("shop", "web-2")] = 9.0
    assert play.step(new).stop == []
    play.ready_s[PodId("shop", "web-2")] = 10.0
    assert play.step(new).stop == [PodId("shop", "web-1")]


def test_a_new_template_that_never_gets_ready_leaves_the_old_pods() -> None:
    play = Play()
    play.step(WEB)
    play.all_ready()
    for _ in range(5):
        play.step(changed(WEB))
        play.all_gone()
    assert len(play.ready_s) == 3
    play.step(WEB)  # back again: the old ones are the wanted ones
    play.all_gone()
    assert play.names() == ["web-1", "web-2", "web-3"]
    assert play.step(WEB) == Steps()


def test_the_mode_is_part_of_what_runs() -> None:
    play = Play()
    play.step(WEB, Namespace("shop"))
    play.all_ready()
    steps = play.step(WEB, Namespace("shop", {"meshlab.io/mode": "none"}))
    assert [spec.mode for spec in steps.start] == [Mode.NONE]


def test_the_order_of_labels_is_no_change() -> None:
    turned = replace(TEMPLATE, labels=dict(reversed(list(TEMPLATE.labels.items()))))
    assert deployments.revision(turned, Mode.NONE) == deployments.revision(TEMPLATE, Mode.NONE)
    assert deployments.revision(TEMPLATE, Mode.SIDECAR) != deployments.revision(TEMPLATE, Mode.NONE)


def test_a_pod_and_a_deployment_may_share_a_name() -> None:
    play = Play()
    bare = Pod("shop", "web", TEMPLATE)
    play.step(WEB, bare)
    play.all_ready()
    assert play.names() == ["web", "web-1", "web-2", "web-3"]
    assert play.step(WEB, bare) == Steps()


def test_a_bare_pod_is_made_anew_when_it_changes_and_ends_when_it_is_deleted() -> None:
    play = Play()
    play.step(Pod("shop", "one", TEMPLATE))
    play.all_ready()
    other = Pod("shop", "one", replace(TEMPLATE, labels={"app": "other"}))
    steps = play.step(other)
    assert (steps.stop, steps.start) == ([PodId("shop", "one")], [])
    play.all_gone()
    assert [spec.pod.name for spec in play.step(other).start] == ["one"]
    assert play.step().stop == [PodId("shop", "one")]


def test_a_deleted_deployment_takes_its_pods() -> None:
    play = Play()
    play.step(WEB)
    assert len(play.step().stop) == 3


def test_a_pin_to_no_node_waits() -> None:
    pinned = replace(WEB, replicas=1, template=replace(TEMPLATE, node_name="node-9"))
    assert Play().step(pinned) == Steps()


def test_a_pin_places_every_pod_on_its_node() -> None:
    pinned = replace(WEB, template=replace(TEMPLATE, node_name="node-2"))
    assert [spec.node for spec in Play().step(pinned).start] == ["node-2"] * 3
