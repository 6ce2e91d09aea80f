"""What a node's agent does with its kernel: a plan in names becomes maps, events become batches of rows."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from meshlab.dataplanes.sidecarless import condense, connections, plan
from meshlab.dataplanes.sidecarless.names import Names
from meshlab.dataplanes.sidecarless.node import KernelNode
from meshlab.dataplanes.sidecarless.pods import Pod, other_end
from meshlab.model.kernel import KernelPlan, KernelRule, KernelService, KernelWorkload, plan_of
from meshlab.model.outcomes import Reason

_PLANES = {"sidecar": plan.PlaneOf.SIDECAR, "sidecarless": plan.PlaneOf.SIDECARLESS}
_NUMBERS = ("source_pod", "destination_pod", "source_identity", "destination_identity", "service", "policy")
_PATIENCE_S = 5.0
_MANY = 2_000
"""Events at one reading (ten a second) of which each is kept; of more, those that are alike become one row."""


@dataclass(frozen=True)
class Batch:
    """Rows as `flows.decode` reads them, and where in which ring buffer of the kernel they lay."""

    rows: int
    ring: int
    start: int
    end: int
    payload: bytes


class NodeAgent:
    """One node. `ready` is a folder: a file named after the uid of each pod that the kernel knows and has rules for.
    `links` is the path of the namespace where the other ends of the pods' links lie ("": the caller's own)."""

    def __init__(self, kernel: KernelNode, names: Names, ready: Path, links: str = "") -> None:
        self._kernel, self._names, self._ready, self._links = kernel, names, ready, links
        self._known: dict[str, KernelWorkload] = {}
        self._plan = plan.Plan()
        self._patience = 0.0
        self.written = 0
        """Rows made of the kernel's events since this agent started."""
        ready.mkdir(parents=True, exist_ok=True)

    # plans

    def apply(self, resources: Mapping[str, str]) -> None:
        """Put a whole set of resources in force. On an error nothing of it is.
        ValueError where one is not of the shape, MeshlabError where the plan does not fit."""
        wanted = plan_of(self._kernel.node, resources)
        local = {workload.ip: workload for workload in wanted.workloads if workload.netns}
        numbered = self._numbered(wanted)
        self._names.save()
        for workload in local.values():
            self._meet(workload)
        self._kernel.apply(numbered)
        self._plan = numbered
        self._patience = time.monotonic() + _PATIENCE_S
        for ip in self._kernel.pods().keys() - local:
            self._kernel.remove_pod(ip)
            self._known.pop(ip, None)
        self.attend()
        self._tell({workload.uid for workload in local.values()})

    def attend(self) -> None:
        """Reset connections that the present plan carries otherwise; to be called again and again: those with a request
        on them are waited for, a while."""
        if self._patience:
            patient = time.monotonic() < self._patience
            spaces = {ip: workload.netns for ip, workload in self._known.items()}
            if not connections.reset(self._kernel, self._plan, spaces, patient=patient):
                self._patience = 0.0

    def _meet(self, workload: KernelWorkload) -> None:
        """Make a pod known, once; a pod whose namespace has gone by now is left out."""
        before = self._known.get(workload.ip)
        if before is not None and (before.uid, before.netns) == (workload.uid, workload.netns):
            return
        if before is not None:
            self._kernel.remove_pod(workload.ip)
        number, identity = self._pod(workload), self._identity(workload.identity)
        try:
            link = other_end(workload.netns)
            self._kernel.add_pod(Pod(number, identity, workload.ip, workload.netns, link=link, link_netns=self._links))
        except FileNotFoundError:
            return
        self._known[workload.ip] = workload

    def _tell(self, uids: set[str]) -> None:
        for path in self._ready.iterdir():
            if path.name not in uids:
                path.unlink()
        for uid in uids:
            (self._ready / uid).touch()

    def _pod(self, workload: KernelWorkload) -> int:
        return self._names.number("pod", workload.pod, workload.uid)

    def _identity(self, spiffe_id: str) -> int:
        return self._names.number("identity", spiffe_id)

    def _numbered(self, wanted: KernelPlan) -> plan.Plan:
        return plan.Plan(
            tuple(self._service(service) for service in wanted.services),
            (
                *(
                    self._rule(self._pod(workload), rule)
                    for workload in wanted.workloads
                    if workload.netns
                    for rule in workload.rules
                ),
                *(self._carried(service, source) for service in wanted.services for source in service.carried),
            ),
            tuple(
                plan.Address(one.ip, self._pod(one), self._identity(one.identity), _PLANES[one.plane])
                for one in wanted.workloads
            ),
            divert_unknown=True,
            request_events=True,
        )

    def _number(self, service: KernelService) -> int:
        return self._names.number("service", service.name, str(service.port))

    def _carried(self, service: KernelService, spiffe_id: str) -> plan.Rule:
        source = self._identity(spiffe_id) if spiffe_id else plan.ANY_SOURCE
        return plan.Rule(self._number(service), plan.RuleVerdict.PROXY, Reason.OK, source=source, http=True)

    def _service(self, service: KernelService) -> plan.Service:
        return plan.Service(
            self._number(service), service.ip, service.port, service.backends, proxy=service.proxy, least=True
        )

    def _rule(self, pod: int, rule: KernelRule) -> plan.Rule:
        policy = self._names.number("policy", rule.policy, str(rule.rule)) if rule.policy else 0
        source = self._identity(rule.source) if rule.source else plan.ANY_SOURCE
        verdict = plan.RuleVerdict[rule.verdict.upper()]
        return plan.Rule(pod, verdict, Reason(rule.reason), rule.port, source, policy, http=rule.http)

    # events

    def look(self) -> Batch | None:
        """What the kernel told since what was `taken` last; it stays in the kernel until then, for an heir."""
        told, start, end = self._kernel.ring().look()
        if not len(told):
            self._kernel.ring().consume(end)
            return None
        events = condense.condensed(told) if len(told) > _MANY else condense.each(told)
        self.written += len(events)
        header = json.dumps({"clock_ns": time.time_ns() - time.monotonic_ns(), "names": dict(self._words(events))})
        body = io.BytesIO()
        np.save(body, events, allow_pickle=False)
        payload = header.encode() + b"\n" + body.getvalue()
        return Batch(len(events), self._kernel.ring_id, start, end, payload)

    def taken(self, batch: Batch, position: int) -> None:
        """The receiver has everything up to `position`: the end of this batch, or less or more where it had some of it
        from a former agent and so took none of it."""
        if position != batch.end:
            self.written -= batch.rows
        self._kernel.ring().consume(position)

    def _words(self, events: Any) -> Iterator[tuple[int, list[str]]]:
        """The names of the numbers in a batch: it must be understood when this agent is long gone."""
        for number in np.unique(np.concatenate([events[name] for name in _NUMBERS])):
            yield int(number), self._names.words(int(number))

    def counters(self) -> dict[str, int]:
        """`flows.written`, `flows.dropped`, the kernel's own counters as `kernel.<name>`, what its maps take,
        `maps.bytes`, and how long its programs ran, `program.<name>.ns`."""
        kernel = self._kernel.counters()
        own = {
            "flows.written": self.written,
            "flows.dropped": kernel["events_lost"],
            "maps.bytes": self._kernel.map_bytes(),
        }
        counted = {f"kernel.{name}": value for name, value in kernel.items()}
        return {**own, **counted, **{f"program.{name}.ns": ns for name, ns in self._kernel.run_times_ns().items()}}
