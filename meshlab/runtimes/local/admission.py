"""The door of the store: what a document says is read once more, and what this lab can never run is refused. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from meshlab.errors import MeshlabError
from meshlab.model import documents
from meshlab.model.mesh import Mesh, Noun, ref_of
from meshlab.model.nouns import object_ref
from meshlab.model.workloads import Deployment, Pod
from meshlab.runtimes.base import Manifest


def admit(manifests: Sequence[Manifest], nodes: Sequence[str]) -> None:
    """MeshlabError for the first document that is not valid, or that is pinned to a node that is not there."""
    mesh = Mesh.of(_noun(manifest) for manifest in manifests)
    pinned: list[Deployment | Pod] = [*mesh.all(Deployment), *mesh.all(Pod)]
    for noun in pinned:
        pin = noun.template.node_name
        if pin and pin not in nodes:
            raise MeshlabError(
                f"{ref_of(noun)} nodeName: no node {pin!r} in this lab", hint=f"nodes: {', '.join(nodes)}"
            )


def _noun(manifest: Manifest) -> Noun:
    try:
        object_ref(manifest)
        return documents.noun(manifest)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise MeshlabError(f"not a valid document: {error}", hint="meshlab validate -f") from error
