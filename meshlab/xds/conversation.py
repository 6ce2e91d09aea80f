"""One ADS stream, sans-I/O: requests and snapshots in, responses and events out, in both variants of the protocol.

Order of an update (make before break, https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol): secrets;
clusters that are new or changed; endpoints; then, once those are acknowledged, listeners, then routes; and only when
these are acknowledged too, the clusters and endpoints that nobody needs any more are removed. At most one response a
type is on its way. A response that is refused (NACK) stops the update: nothing that follows is sent, nothing is
removed, and the last acknowledged content of that type is sent again, since Envoy applies the good part of a bad
message. The same content is not offered twice; the next different one is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from meshlab.model.snapshot import CLUSTER, ENDPOINT, LISTENER, ROUTE, SECRET, Resource, Snapshot
from meshlab.xds.subscription import Flight, Subscription, versions


@dataclass(frozen=True)
class Ask:
    """A request. State of the world: `names` is the whole list. Delta: `names` are added, `unsubscribe` dropped and
    `initial` (name -> version) is what the client has from an earlier stream. `error`: a NACK, in the client's words."""

    type_url: str
    names: frozenset[str] = frozenset()
    unsubscribe: frozenset[str] = frozenset()
    initial: Mapping[str, str] = field(default_factory=dict)
    nonce: str = ""
    error: str = ""


@dataclass(frozen=True)
class Response:
    """To be sent. `removed` only in delta."""

    type_url: str
    version: str
    nonce: str
    resources: tuple[Resource, ...]
    removed: tuple[str, ...] = ()


@dataclass(frozen=True)
class Event:
    """Something to record. `kind`: push, ack, nack (`error` has the client's words), or synced: the client has all of
    the snapshot `version`."""

    kind: str
    type_url: str
    version: str
    error: str = ""


Output = Response | Event


class Conversation:
    """What one client knows. Feed it with `receive`, `offer` and `release`; each gives what is to be done, in order."""

    def __init__(self, *, delta: bool) -> None:
        self.delta = delta
        self._snapshot: Snapshot | None = None
        self._types: dict[str, Subscription] = {}
        self._count = 0
        self._unclaimed: set[str] = set()
        self._synced: Snapshot | None = None

    def offer(self, snapshot: Snapshot) -> list[Output]:
        """The newest snapshot; one that was not sent yet is skipped."""
        self._snapshot = snapshot
        return self._advance()

    def receive(self, ask: Ask) -> list[Output]:
        type_ = self._types.setdefault(ask.type_url, Subscription(ask.type_url, self.delta))
        flight = type_.flight
        if not self.delta and ask.nonce and flight is not None and ask.nonce != flight.nonce:
            return []  # stale: the client asks again when it has seen the newer response
        answered = self._answer(type_, ask) if ask.nonce else []
        if self.delta:
            self._delta_names(type_, ask)
        else:
            type_.replace(set(ask.names))
        type_.asked = True
        return [*answered, *self._advance()]

    @property
    def waiting(self) -> bool:
        """Does it wait for the client to ask for endpoints? `release` ends that (the shell's patience)."""
        return bool(self._unasked_endpoints())

    def release(self) -> list[Output]:
        """Wait no longer for the client to ask for endpoints of this snapshot: nothing uses them."""
        self._unclaimed |= self._unasked_endpoints()
        return self._advance()

    def _delta_names(self, type_: Subscription, ask: Ask) -> None:
        if not type_.asked:
            type_.held |= ask.initial
            type_.names |= ask.names
            type_.wildcard = not ask.names or "*" in ask.names
        elif ask.names:
            type_.subscribe(set(ask.names))
        if ask.unsubscribe:
            type_.unsubscribe(set(ask.unsubscribe))

    def _answer(self, type_: Subscription, ask: Ask) -> list[Output]:
        flight = type_.flight
        if flight is None or flight.nonce != ask.nonce:
            return []
        type_.flight = None
        if ask.error:
            type_.rejected(flight)
            return [Event("nack", ask.type_url, flight.version, ask.error)]
        type_.acknowledged(flight)
        return [Event("ack", ask.type_url, flight.version)]

    def _advance(self) -> list[Output]:
        """Send whatever may be sent now."""
        if self._snapshot is None:
            return []
        out: list[Output] = []
        known = [*_ORDER, *(url for url in self._types if url not in _ORDER)]
        for url in known:
            type_ = self._types.get(url)
            if type_ is not None and type_.asked and type_.flight is None and not type_.stuck_on(self._offered(url)):
                out += self._send(type_)
        if self._is_synced() and self._synced is not self._snapshot:
            self._synced = self._snapshot
            out.append(Event("synced", "", self._snapshot.version))
        return out

    def _send(self, type_: Subscription) -> list[Output]:
        offered = self._offered(type_.type_url)
        target = type_.target(offered)
        rollback = type_.blocked(offered)
        changed, removed = type_.changed(target), type_.removed(target)
        if rollback:
            changed, removed = type_.unsure(changed), type_.unwanted(removed)
        if not rollback and not self._may_send(type_):
            changed = [resource for resource in changed if type_.type_url == ROUTE and resource.name not in type_.held]
            removed = []
        if not rollback and not self._may_remove(type_):
            removed = []
        if changed and type_.type_url == CLUSTER and ENDPOINT in self._types:
            # a cluster that changed stays in warming until its endpoints arrive once more
            endpoints = self._types[ENDPOINT]
            endpoints.resend(set(endpoints.names))
        first = type_.wildcard and not type_.answered and self._may_send(type_)
        if type_.whole:
            return self._send_whole(type_, target, bool(changed or removed or first), set(removed), rollback=rollback)
        if not self.delta:
            # state of the world has no word for the end of such a resource: its cluster or listener goes
            for name in removed:
                type_.held.pop(name)
                type_.good.pop(name, None)
            removed = []
        removed += type_.absent(target)
        if not (changed or removed or first):
            return []
        return self._fly(type_, tuple(changed), tuple(removed), rollback=rollback)

    def _send_whole(
        self, type_: Subscription, target: Mapping[str, Resource], needed: bool, removed: set[str], *, rollback: bool
    ) -> list[Output]:
        """Everything at once; what must not be removed yet goes with it, as it was."""
        if not needed:
            return []
        kept = [
            type_.good[name] for name in type_.held if name not in target and name not in removed and name in type_.good
        ]
        return self._fly(type_, (*target.values(), *kept), (), rollback=rollback)

    def _fly(
        self, type_: Subscription, resources: tuple[Resource, ...], removed: tuple[str, ...], *, rollback: bool
    ) -> list[Output]:
        assert self._snapshot is not None
        self._count += 1
        version = (type_.good_version or "none") if rollback else self._snapshot.version
        wanted = versions(type_.wanted(self._offered(type_.type_url)))
        type_.flight = Flight(str(self._count), version, resources, removed, wanted, rollback)
        return [
            Response(type_.type_url, version, type_.flight.nonce, resources, removed),
            Event("push", type_.type_url, version),
        ]

    def _may_send(self, type_: Subscription) -> bool:
        """Have those that it refers to arrived?"""
        if type_.type_url not in (LISTENER, ROUTE):
            return True
        before = (CLUSTER, ENDPOINT) if type_.type_url == LISTENER else (CLUSTER, ENDPOINT, LISTENER)
        return all(self._has_new(url) for url in before) and not self._unasked_endpoints()

    def _may_remove(self, type_: Subscription) -> bool:
        """Is nothing left that refers to what is to be removed?"""
        if type_.type_url not in (CLUSTER, ENDPOINT):
            return True
        return all(self._has_new(url, removed=url == LISTENER) for url in (CLUSTER, ENDPOINT, LISTENER, ROUTE))

    def _has_new(self, url: str, *, removed: bool = False) -> bool:
        """Has the client acknowledged all that is new of a type (`removed`: and all that is gone)? A type that it
        never asked for counts as such."""
        type_ = self._types.get(url)
        if type_ is None or not type_.asked:
            return True
        offered = self._offered(url)
        if type_.flight is not None or type_.blocked(offered):
            return False
        target = type_.target(offered)
        return not type_.changed(target) and not (removed and type_.removed(target))

    def _unasked_endpoints(self) -> set[str]:
        """Endpoints of new clusters that the client is about to ask for, having just been told of the clusters."""
        clusters, endpoints = self._types.get(CLUSTER), self._types.get(ENDPOINT)
        if clusters is None or not clusters.asked or (endpoints is not None and endpoints.wildcard):
            return set()
        asked = endpoints.names if endpoints is not None else set()
        return set(self._offered(ENDPOINT)) - asked - self._unclaimed

    def _is_synced(self) -> bool:
        for url in (CLUSTER, LISTENER):
            if self._offered(url) and url not in self._types:
                return False
        return bool(self._types) and all(self._has_new(url, removed=True) for url in self._types)

    def _offered(self, url: str) -> Mapping[str, Resource]:
        return self._snapshot.resources.get(url, {}) if self._snapshot is not None else {}


_ORDER: Iterable[str] = (SECRET, CLUSTER, ENDPOINT, LISTENER, ROUTE)
