"""The door of the store: what a document says is read once more, and what this lab can never run is refused. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

from meshlab.errors import MeshlabError
from meshlab.model import documents
from meshlab.model.mesh import Mesh, Noun, ref_of
from meshlab.model.nouns import object_ref
from meshlab.model.workloads import Deployment, Pod
from meshlab.runtimes.base import Manifest

_PERCENT = re.compile(r"[0-9]{1,3}%")


def admit(manifests: Sequence[Manifest], nodes: Sequence[str]) -> None:
    """MeshlabError for the first document that is not valid, or that would keep the controllers from working: pinned
    to a node that is not there, a rollout bound that is no number."""
    mesh = Mesh.of(_noun(manifest) for manifest in manifests)
    pinned: list[Deployment | Pod] = [*mesh.all(Deployment), *mesh.all(Pod)]
    for noun in pinned:
        pin = noun.template.node_name
        if pin and pin not in nodes:
            raise MeshlabError(
                f"{ref_of(noun)} nodeName: no node {pin!r} in this lab", hint=f"nodes: {', '.join(nodes)}"
            )
    for deployment in mesh.all(Deployment):
        for name, value in (("maxSurge", deployment.max_surge), ("maxUnavailable", deployment.max_unavailable)):
            if (isinstance(value, int) and value < 0) or (isinstance(value, str) and not _PERCENT.fullmatch(value)):
                raise MeshlabError(
                    f"{ref_of(deployment)} spec.strategy.rollingUpdate.{name}:"
                    f" expected a number or a percentage, found {value!r}",
                    hint="for example 1 or 25%",
                )


def _noun(manifest: Manifest) -> Noun:
    try:
        object_ref(manifest)
        return documents.noun(manifest)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise MeshlabError(f"not a valid document: {error}", hint="meshlab validate -f") from error
