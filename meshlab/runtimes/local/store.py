"""The wanted documents of the local runtime: kept in memory, written whole and atomically, with ClusterIPs."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from meshlab.errors import NotFound
from meshlab.kit.files import write_whole
from meshlab.model import documents
from meshlab.model.ids import Ref
from meshlab.model.mesh import Mesh
from meshlab.model.nouns import object_ref
from meshlab.runtimes.base import Change, Manifest
from meshlab.runtimes.local import addresses

_BOOT = 1_000_000
"""How far `revision` jumps when a daemon starts: further than the unwritten `touch`es of the one before it."""


class Store:
    """`revision` grows with every change of a document or of what the pods show (`touch`), also over restarts.

    `path` is the file that holds all of it (0600: documents may carry secrets in `env`); None keeps nothing.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self.manifests: dict[Ref, Manifest] = {}
        self.cluster_ips: dict[tuple[str, str], str] = {}
        self.revision, self._cursor = 1, 0
        if path is not None and path.exists():
            stored = json.loads(path.read_text())
            self.manifests = {object_ref(manifest): manifest for manifest in stored["manifests"]}
            self.cluster_ips = {(ns, name): ip for ns, name, ip in stored["cluster_ips"]}
            self.revision = stored["revision"] + _BOOT
            self._cursor = stored.get("cursor", 0)
            self._write(self.manifests, self.cluster_ips, self._cursor)
        self.mesh = _mesh(self.manifests)

    def touch(self) -> None:
        """What the pods show has changed."""
        self.revision += 1

    def apply(self, manifests: Sequence[Manifest]) -> list[Change]:
        """All or nothing; a document that says what is there already is `unchanged`. Conflict for a `clusterIP` that
        is taken."""
        changes, wanted = [], dict(self.manifests)
        now = time.time()  # one moment for one apply: what it creates has the same age, as in one `kubectl apply`
        for manifest in manifests:
            ref = object_ref(manifest)
            before = wanted.get(ref)
            created = before["metadata"].get("creationTimestamp", now) if before else now
            meta = {**manifest["metadata"], "creationTimestamp": created}
            after: dict[str, Any] = {**manifest, "metadata": meta}
            verb = "created" if before is None else "unchanged" if before == after else "configured"
            if verb != "unchanged":
                wanted[ref] = after
            changes.append(Change(ref, verb))
        if any(change.verb != "unchanged" for change in changes):
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

    def clear(self) -> None:
        """Forget every document."""
        self._keep({})

    def _keep(self, wanted: dict[Ref, Manifest]) -> None:
        """Everything that can fail happens before the first field changes."""
        mesh = _mesh(wanted)
        specs = {
            (ref.namespace, ref.name): manifest.get("spec", {}).get("clusterIP") or ""
            for ref, manifest in wanted.items()
            if ref.kind == "Service"
        }
        cluster_ips, cursor = addresses.allocate(specs, self.cluster_ips, self._cursor)
        self.revision += 1
        self._write(wanted, cluster_ips, cursor)
        self.manifests, self.mesh, self.cluster_ips, self._cursor = wanted, mesh, cluster_ips, cursor

    def _write(self, manifests: dict[Ref, Manifest], cluster_ips: dict[tuple[str, str], str], cursor: int) -> None:
        if self._path is None:
            return
        content = {
            "manifests": list(manifests.values()),
            "cluster_ips": [[*key, ip] for key, ip in cluster_ips.items()],
            "cursor": cursor,
            "revision": self.revision,
        }
        write_whole(self._path, json.dumps(content).encode())


def _mesh(manifests: dict[Ref, Manifest]) -> Mesh:
    return Mesh.of(documents.noun(manifest) for manifest in manifests.values())
