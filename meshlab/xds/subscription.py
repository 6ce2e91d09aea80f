"""What one client has of one resource type, and what is on its way to it. No I/O, no clock."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from meshlab.model.snapshot import CLUSTER, LISTENER, Resource

UNSURE = ""
"""Version of a resource that the client may have in a form we do not know (a refused message is applied in parts)."""
GONE = "-"
"""Version of a name that the client asked for and was told that it does not exist."""
WHOLE_TYPES = (CLUSTER, LISTENER)
"""Types whose state-of-the-world responses hold everything: what is left out is removed."""


@dataclass
class Flight:
    """One response that is not answered yet."""

    nonce: str
    version: str
    resources: tuple[Resource, ...]
    removed: tuple[str, ...]
    wanted: Mapping[str, str]
    """Name -> version of all that was wanted when it was sent."""
    rollback: bool = False
    again: set[str] = field(default_factory=set)
    """Names to send once more, whatever the answer: the client asked again, or needs them anew."""


@dataclass
class Subscription:
    """State of one type on one stream. `whole`: responses hold everything (state of the world, CDS and LDS)."""

    type_url: str
    delta: bool
    asked: bool = False
    wildcard: bool = False
    answered: bool = False
    names: set[str] = field(default_factory=set)
    held: dict[str, str] = field(default_factory=dict)
    """Name -> version that the client acknowledged."""
    good: dict[str, Resource] = field(default_factory=dict)
    """The content of what it acknowledged on this stream."""
    good_version: str = ""
    flight: Flight | None = None
    refused: Mapping[str, str] | None = None
    stuck: bool = False
    brought: set[str] = field(default_factory=set)
    """Names that the client first saw in the message that it refused."""

    @property
    def whole(self) -> bool:
        return not self.delta and self.type_url in WHOLE_TYPES

    def wanted(self, offered: Mapping[str, Resource]) -> dict[str, Resource]:
        if self.wildcard:
            return dict(offered)
        return {name: offered[name] for name in sorted(self.names) if name in offered}

    def blocked(self, offered: Mapping[str, Resource]) -> bool:
        """Was exactly this refused? Forgets a refusal of anything else."""
        if self.refused is None:
            return False
        if versions(self.wanted(offered)) == self.refused:
            return True
        self.refused, self.stuck = None, False
        return False

    def target(self, offered: Mapping[str, Resource]) -> dict[str, Resource]:
        """What the client is to have now: what is offered, or the last good content where that was refused."""
        return dict(self.good) if self.blocked(offered) else self.wanted(offered)

    def stuck_on(self, offered: Mapping[str, Resource]) -> bool:
        """Was even the way back refused? Then nothing is sent until something else is offered."""
        return self.blocked(offered) and self.stuck

    def changed(self, target: Mapping[str, Resource]) -> list[Resource]:
        return [resource for name, resource in target.items() if self.held.get(name) != resource.version]

    def removed(self, target: Mapping[str, Resource]) -> list[str]:
        """Names that the client has and is to lose."""
        return [name for name, version in self.held.items() if name not in target and version != GONE]

    def unsure(self, changed: list[Resource]) -> list[Resource]:
        """The part of a way back that is needed: what the refused message may have altered."""
        return [resource for resource in changed if self.held.get(resource.name) == UNSURE]

    def unwanted(self, removed: list[str]) -> list[str]:
        """The part of a way back that removes: only what the refused message brought. Something held from an earlier
        stream, whose content we do not know, stays as it is."""
        return [name for name in removed if name in self.brought]

    def absent(self, target: Mapping[str, Resource]) -> list[str]:
        """Names that it asked for, never had, and that do not exist: only delta can say so."""
        return sorted(self.names - target.keys() - self.held.keys() - {"*"}) if self.delta else []

    def resend(self, names: set[str]) -> None:
        """Forget that the client has these, also where a response is on its way."""
        for name in names & self.held.keys():
            self.held[name] = UNSURE
        if self.flight is not None:
            self.flight.again |= names

    def acknowledged(self, flight: Flight) -> None:
        self.answered, self.good_version = True, flight.version
        sent = {resource.name: resource for resource in flight.resources}
        if self.whole:
            self.held, self.good = {}, {}
        self.held |= {name: resource.version for name, resource in sent.items()}
        self.good |= sent
        for name in flight.removed:
            self.good.pop(name, None)
            self.held.pop(name, None)
            if name in self.names:
                self.held[name] = GONE
        for name in flight.again & self.held.keys():
            self.held[name] = UNSURE
        if not self.wildcard:
            self._forget(self.held.keys() - self.names)

    def rejected(self, flight: Flight) -> None:
        """Envoy applies the good part of a bad message: nothing is known of the names in it."""
        self.answered = True
        if not flight.rollback:
            self.brought = {resource.name for resource in flight.resources} - self.held.keys()
        self.held |= dict.fromkeys((*(resource.name for resource in flight.resources), *flight.removed), UNSURE)
        if flight.rollback:
            self.stuck = True
        else:
            self.refused, self.stuck = flight.wanted, False

    def subscribe(self, names: set[str]) -> None:
        """Delta: names to be sent, also such as it has."""
        self.names |= names
        self.wildcard = self.wildcard or "*" in names
        self.resend(names)
        for name in names:
            if self.held.get(name) == GONE:
                del self.held[name]

    def unsubscribe(self, names: set[str]) -> None:
        self.names -= names
        if "*" in names:
            self.wildcard = False
        if not self.wildcard:
            self._forget(names)

    def replace(self, names: set[str]) -> None:
        """State of the world: the whole list of names. None at all is everything, for types that know a wildcard."""
        self.wildcard = "*" in names or (not names and self.type_url in WHOLE_TYPES)
        if not self.wildcard:
            self._forget(self.held.keys() - names)
        self.names = names

    def _forget(self, names: set[str]) -> None:
        for name in names:
            self.held.pop(name, None)
            self.good.pop(name, None)


def versions(resources: Mapping[str, Resource]) -> dict[str, str]:
    return {name: resource.version for name, resource in resources.items()}
