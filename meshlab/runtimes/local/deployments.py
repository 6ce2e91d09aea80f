"""What should run, against what runs: the deployment controller. Pure."""

from __future__ import annotations

import hashlib
import json
import math
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field

from meshlab.model.mesh import Mesh
from meshlab.model.workloads import Deployment, Mode, Namespace, Pod, PodTemplate, pod_mode
from meshlab.model.world import PodId
from meshlab.runtimes.local.pod import PodSpec
from meshlab.runtimes.local.scheduler import Scheduler


@dataclass
class Steps:
    """The next steps: pods to start and pods to stop."""

    start: list[PodSpec] = field(default_factory=list)
    stop: list[PodId] = field(default_factory=list)


def revision(template: PodTemplate, mode: Mode) -> str:
    """Eight hex digits of the template's content; the order of labels does not matter."""
    content = json.dumps([asdict(template), mode], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:8]


def plan(
    mesh: Mesh,
    running: Sequence[PodSpec],
    leaving: Collection[PodId],
    ready_s: Mapping[PodId, float],
    nodes: Sequence[str],
    default: Mode,
) -> Steps:
    """Compare wanted and running. Pods that are leaving count for nothing but their names. `ready_s`: seconds that a
    pod has been ready for; pods that are not ready are absent."""
    steps = Steps()
    labels = {namespace.name: namespace.labels for namespace in mesh.all(Namespace)}
    scheduler = Scheduler(nodes, ((spec.node, spec.pod.namespace, spec.workload) for spec in running))
    names = {spec.pod for spec in running}
    mine = _owned(running, leaving)

    def start(pod: PodId, workload: str, template: PodTemplate, mode: Mode) -> None:
        node = scheduler.place(pod.namespace, workload, template.node_name)
        if node is None:  # its pin names no node of this lab: it waits
            return
        names.add(pod)
        steps.start.append(PodSpec(pod, str(uuid.uuid4()), node, workload, mode, template, revision(template, mode)))

    for deployment in mesh.all(Deployment):
        mode = pod_mode(deployment.template.labels, labels.get(deployment.namespace, {}), default)
        have = mine.pop((deployment.namespace, deployment.name, False), [])
        create, stop = _rollout(deployment, mode, have, ready_s)
        steps.stop += stop
        for _ in range(create):
            start(_free_name(deployment, names), deployment.name, deployment.template, mode)
    for bare in mesh.all(Pod):
        mode = pod_mode(bare.template.labels, labels.get(bare.namespace, {}), default)
        pod = PodId(bare.namespace, bare.name)
        found = mine.pop((bare.namespace, bare.name, True), [])
        if not found and pod not in names:
            start(pod, bare.name, bare.template, mode)
        steps.stop += [spec.pod for spec in found if spec.revision != revision(bare.template, mode)]
    for orphans in mine.values():
        steps.stop += [spec.pod for spec in orphans]
    return steps


def _owned(running: Sequence[PodSpec], leaving: Collection[PodId]) -> dict[tuple[str, str, bool], list[PodSpec]]:
    """Pods that stay, by (namespace, workload, bare). A bare pod has its workload's name, one of a Deployment never:
    a Pod and a Deployment may share a name."""
    mine: dict[tuple[str, str, bool], list[PodSpec]] = {}
    for spec in running:
        if spec.pod not in leaving:
            mine.setdefault((spec.pod.namespace, spec.workload, spec.pod.name == spec.workload), []).append(spec)
    return mine


def _rollout(
    deployment: Deployment, mode: Mode, have: list[PodSpec], ready_s: Mapping[PodId, float]
) -> tuple[int, list[PodId]]:
    """How many pods of the new template to start now, and which pods to stop now (Kubernetes' RollingUpdate)."""
    wanted, current = deployment.replicas, revision(deployment.template, mode)
    new = [spec for spec in have if spec.revision == current]
    old = [spec for spec in have if spec.revision != current]
    surge = _count(deployment.max_surge, wanted, math.ceil)
    unavailable = _count(deployment.max_unavailable, wanted, math.floor)
    if surge == 0 and unavailable == 0:
        unavailable = 1  # as Kubernetes resolves what would never move
    room = wanted + (surge if old else 0) - len(have)
    create = max(0, min(wanted - len(new), room))
    # too many of the new: first what is not ready, then the highest numbers
    surplus = sorted(new, key=lambda spec: (spec.pod in ready_s, -_number(spec)))[: max(0, len(new) - wanted)]
    stop = [spec.pod for spec in surplus]
    available = {pod for pod, seconds in ready_s.items() if seconds >= deployment.min_ready_s}
    spare = sum(spec.pod in available for spec in have if spec.pod not in stop) - (wanted - unavailable)
    for spec in sorted(old, key=_number):
        if spec.pod not in ready_s:  # one that is only young still serves, and stays until there is room
            stop.append(spec.pod)
        elif spare > 0:
            stop.append(spec.pod)
            spare -= 1
    return create, stop


def _number(spec: PodSpec) -> int:
    """The n of `<deployment>-<n>`."""
    return int(spec.pod.name.rpartition("-")[2])


def _count(value: int | str, replicas: int, rounding: Callable[[float], int]) -> int:
    """A number of pods, or a percentage of the replicas."""
    return value if isinstance(value, int) else rounding(replicas * int(value.rstrip("%")) / 100)


def _free_name(deployment: Deployment, names: Collection[PodId]) -> PodId:
    number = 1
    while (pod := PodId(deployment.namespace, f"{deployment.name}-{number}")) in names:
        number += 1
    return pod
