"""A whole set of documents, as typed nouns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar, cast

from meshlab.model.ids import Ref
from meshlab.model.policies import AuthorizationPolicy, PeerAuthentication
from meshlab.model.routes import HTTPRoute
from meshlab.model.services import Service
from meshlab.model.workloads import Deployment, Namespace, Pod, ServiceAccount

Noun = Namespace | ServiceAccount | Service | Deployment | Pod | HTTPRoute | AuthorizationPolicy | PeerAuthentication
N = TypeVar("N", bound=object)


def ref_of(noun: Noun) -> Ref:
    """The reference of a noun; its kind is its class's name."""
    kind = type(noun).__name__
    return Ref(kind, "" if isinstance(noun, Namespace) else noun.namespace, noun.name)


@dataclass(frozen=True)
class Mesh:
    """Everything that is wanted, by reference. Iteration order is the order of the references."""

    nouns: Mapping[Ref, Noun] = field(default_factory=dict)

    @classmethod
    def of(cls, nouns: Iterable[Noun]) -> Mesh:
        return cls(dict(sorted(((ref_of(noun), noun) for noun in nouns), key=lambda pair: pair[0])))

    def all(self, kind: type[N]) -> tuple[N, ...]:
        """All nouns of a class, ordered by namespace and name."""
        return tuple(cast("N", noun) for noun in self.nouns.values() if isinstance(noun, kind))

    def get(self, kind: type[N], namespace: str, name: str) -> N | None:
        noun = self.nouns.get(Ref(kind.__name__, namespace, name))
        return cast("N | None", noun)
