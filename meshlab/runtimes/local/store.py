"""The wanted documents of the local runtime: kept in memory, written whole and atomically, with ClusterIPs."""

from __future__ import annotations

import ipaddress
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from meshlab.errors import NotFound
from meshlab.model import documents
from meshlab.model.ids import Ref
from meshlab.model.mesh import Mesh
from meshlab.model.nouns import object_ref
from meshlab.model.services import HEADLESS
from meshlab.runtimes.base import Change, Manifest

_SERVICES = ipaddress.ip_network("10.96.0.0/16")


class Store:
    """`revision` grows with every change of a document or of what the pods show (`touch`)."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.manifests: dict[Ref, Manifest] = {}
        self.cluster_ips: dict[tuple[str, str], str] = {}
        self.revision = 1
        if path.exists():
            stored = json.loads(path.read_text())
            self.manifests = {object_ref(manifest): manifest for manifest in stored["manifests"]}
            self.cluster_ips = {(ns, name): ip for ns, name, ip in stored["cluster_ips"]}
            self.revision = stored["revision"] + 1_000_000
        self.mesh = self._nouns()

    def _nouns(self) -> Mesh:
        return Mesh.of(documents.noun(manifest) for manifest in self.manifests.values())

    def touch(self) -> None:
        self.revision += 1

    def apply(self, manifests: Sequence[Manifest]) -> list[Change]:
        """All or nothing; a document that says what is there already is `unchanged`."""
        changes, wanted = [], dict(self.manifests)
        for manifest in manifests:
            ref = object_ref(manifest)
            before = wanted.get(ref)
            created = before["metadata"].get("creationTimestamp", 0) if before else time.time()
            meta = {**manifest["metadata"], "creationTimestamp": created}
            after: dict[str, Any] = {**manifest, "metadata": meta}
            verb = "created" if before is None else "unchanged" if before == after else "configured"
            wanted[ref] = after
            changes.append(Change(ref, verb))
        self._keep(wanted)
        return changes

    def delete(self, refs: Sequence[Ref]) -> list[Change]:
        """NotFound, and nothing removed, if one is not there. A Namespace takes its content with it."""
        missing = [str(ref) for ref in refs if ref not in self.manifests]
        if missing:
            raise NotFound(f"not there: {', '.join(missing)}", hint="nothing was deleted")
        gone = set(refs)
        for ref in refs:
            if ref.kind == "Namespace":
                gone |= {other for other in self.manifests if other.namespace == ref.name}
        self._keep({ref: manifest for ref, manifest in self.manifests.items() if ref not in gone})
        return [Change(ref, "deleted") for ref in sorted(gone)]

    def _keep(self, wanted: dict[Ref, Manifest]) -> None:
        mesh = Mesh.of(documents.noun(manifest) for manifest in wanted.values())
        self.manifests, self.mesh = wanted, mesh
        self._allocate()
        self.revision += 1
        temporary = self._path.with_suffix(".tmp")
        temporary.write_text(
            json.dumps(
                {
                    "manifests": list(self.manifests.values()),
                    "cluster_ips": [[*key, ip] for key, ip in self.cluster_ips.items()],
                    "revision": self.revision,
                }
            )
        )
        temporary.rename(self._path)

    def _allocate(self) -> None:
        specs = {
            (ref.namespace, ref.name): manifest.get("spec", {}).get("clusterIP", "")
            for ref, manifest in self.manifests.items()
            if ref.kind == "Service"
        }
        self.cluster_ips = {key: ip for key, ip in self.cluster_ips.items() if specs.get(key, HEADLESS) in ("", ip)}
        for key, wanted in specs.items():
            if wanted == HEADLESS or key in self.cluster_ips:
                continue
            taken = set(self.cluster_ips.values())
            free = (str(ip) for ip in _SERVICES.hosts() if int(ip) % 256 >= 10 and str(ip) not in taken)
            self.cluster_ips[key] = wanted or next(free)
