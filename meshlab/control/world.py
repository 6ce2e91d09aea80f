"""Documents and endpoints, joined into one immutable World. Pure."""

from __future__ import annotations

from meshlab.model import documents
from meshlab.model.mesh import Mesh
from meshlab.model.settings import Settings
from meshlab.model.world import World
from meshlab.runtimes.base import Observed


def join(observed: Observed, settings: Settings) -> tuple[World, tuple[str, ...]]:
    """The World, and the documents that could not be read (left out, and said)."""
    nouns, problems = [], []
    for manifest in observed.manifests:
        try:
            nouns.append(documents.noun(manifest))
        except (ValueError, KeyError, TypeError) as error:
            problems.append(f"{manifest.get('kind')}/{manifest.get('metadata', {}).get('name')}: {error}")
    endpoints = tuple(sorted(observed.endpoints, key=lambda endpoint: endpoint.pod))
    return World(Mesh.of(nouns), endpoints, observed.cluster_ips, settings.trust_domain), tuple(problems)
