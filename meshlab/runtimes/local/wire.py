"""The nouns of `runtimes/base` as JSON and back: what crosses the cluster daemon's socket."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from meshlab.model.ids import Ref
from meshlab.model.workloads import Mode
from meshlab.model.world import Endpoint, PodId
from meshlab.runtimes.base import Change, Observed, PodStatus, ResourceSample


def observed_to(observed: Observed) -> dict[str, Any]:
    return {
        "revision": observed.revision,
        "manifests": list(observed.manifests),
        "endpoints": [asdict(endpoint) for endpoint in observed.endpoints],
        "cluster_ips": [[*key, ip] for key, ip in observed.cluster_ips.items()],
        "pending": list(observed.pending),
    }


def observed_from(data: dict[str, Any]) -> Observed:
    endpoints = tuple(
        Endpoint(**{**row, "pod": PodId(**row["pod"]), "mode": Mode(row["mode"])}) for row in data["endpoints"]
    )
    cluster_ips = {(namespace, name): ip for namespace, name, ip in data["cluster_ips"]}
    pending = tuple(data["pending"])
    return Observed(data["revision"], tuple(data["manifests"]), endpoints, cluster_ips, pending)


def change_from(row: dict[str, Any]) -> Change:
    return Change(Ref(**row["ref"]), row["verb"])


def status_from(row: dict[str, Any]) -> PodStatus:
    fixed = {"pod": PodId(**row["pod"]), "mode": Mode(row["mode"]), "images": tuple(row["images"])}
    return PodStatus(**{**row, **fixed})


def sample_from(row: dict[str, Any]) -> ResourceSample:
    return ResourceSample(**row)
