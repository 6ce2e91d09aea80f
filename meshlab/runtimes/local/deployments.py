"""What should run, against what runs: the deployment controller and the scheduler. Pure."""

from __future__ import annotations

import hashlib
import math
import uuid
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from meshlab.model.mesh import Mesh
from meshlab.model.workloads import Deployment, Mode, Namespace, Pod, PodTemplate, pod_mode
from meshlab.model.world import PodId
from meshlab.runtimes.local.pod import PodSpec


@dataclass
class Steps:
    """The next steps: pods to start and pods to stop."""

    start: list[PodSpec] = field(default_factory=list)
    stop: list[PodId] = field(default_factory=list)


def revision(template: PodTemplate, mode: Mode) -> str:
    """Eight hex digits of the template's content."""
    return hashlib.sha256(repr((template, mode)).encode()).hexdigest()[:8]


def plan(
    mesh: Mesh,
    running: Sequence[PodSpec],
    leaving: Collection[PodId],
    ready: Mapping[PodId, bool],
    nodes: Sequence[str],
    default: Mode,
) -> Steps:
    """Compare wanted and running. Pods that are leaving count for nothing but their names."""
    steps = Steps()
    labels = {namespace.name: namespace.labels for namespace in mesh.all(Namespace)}
    load = Counter(dict.fromkeys(nodes, 0))
    load.update(spec.node for spec in running)
    names = {spec.pod for spec in running}
    mine: dict[tuple[str, str], list[PodSpec]] = {}
    for spec in running:
        if spec.pod not in leaving:
            mine.setdefault((spec.pod.namespace, spec.workload), []).append(spec)

    def start(pod: PodId, workload: str, template: PodTemplate, mode: Mode) -> None:
        node = template.node_name or min(load, key=lambda one: (load[one], one))
        load[node] += 1
        names.add(pod)
        steps.start.append(PodSpec(pod, str(uuid.uuid4()), node, workload, mode, template, revision(template, mode)))

    for deployment in mesh.all(Deployment):
        mode = pod_mode(deployment.template.labels, labels.get(deployment.namespace, {}), default)
        have = mine.pop((deployment.namespace, deployment.name), [])
        create, steps_stop = _rollout(deployment, mode, have, ready)
        steps.stop += steps_stop
        for _ in range(create):
            pod = _free_name(deployment, names)
            start(pod, deployment.name, deployment.template, mode)
    for bare in mesh.all(Pod):
        mode = pod_mode(bare.template.labels, labels.get(bare.namespace, {}), default)
        pod = PodId(bare.namespace, bare.name)
        have = mine.pop((bare.namespace, bare.name), [])
        if not have and pod not in names:
            start(pod, bare.name, bare.template, mode)
        steps.stop += [spec.pod for spec in have if spec.revision != revision(bare.template, mode)]
    for orphans in mine.values():
        steps.stop += [spec.pod for spec in orphans]
    return steps


def _rollout(
    deployment: Deployment, mode: Mode, have: list[PodSpec], ready: Mapping[PodId, bool]
) -> tuple[int, list[PodId]]:
    """How many pods of the new template to start now, and which pods to stop now (Kubernetes' RollingUpdate)."""
    wanted, current = deployment.replicas, revision(deployment.template, mode)
    new = [spec for spec in have if spec.revision == current]
    old = [spec for spec in have if spec.revision != current]
    surge = _count(deployment.max_surge, wanted, math.ceil)
    unavailable = _count(deployment.max_unavailable, wanted, math.floor)
    if surge == 0 and unavailable == 0:
        surge = 1
    room = wanted + (surge if old else 0) - len(have)
    create = max(0, min(wanted - len(new), room))
    stop = [spec.pod for spec in sorted(new, key=lambda s: ready.get(s.pod, False))[: max(0, len(new) - wanted)]]
    available = sum(ready.get(spec.pod, False) for spec in have if spec.pod not in stop)
    spare = available - (wanted - unavailable)
    for spec in sorted(old, key=lambda s: ready.get(s.pod, False)):
        if not ready.get(spec.pod, False):
            stop.append(spec.pod)
        elif spare > 0:
            stop.append(spec.pod)
            spare -= 1
    return create, stop


def _count(value: int | str, replicas: int, rounding: object) -> int:
    if isinstance(value, int):
        return value
    exact = replicas * float(value.rstrip("%")) / 100
    return math.ceil(exact) if rounding is math.ceil else math.floor(exact)


def _free_name(deployment: Deployment, names: Collection[PodId]) -> PodId:
    number = 1
    while (pod := PodId(deployment.namespace, f"{deployment.name}-{number}")) in names:
        number += 1
    return pod
