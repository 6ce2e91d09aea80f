"""One ADS stream, sans-I/O: what the client has, what it asked for, what to send next (xDS protocol, both variants).

Order is make before break: clusters, endpoints, listeners, routes, secrets come into being in that order; what
disappears from clusters and endpoints is withdrawn only when listeners and routes were acknowledged without it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from meshlab.model.snapshot import Resource, Snapshot

_PREFIX = "type.googleapis.com/envoy."
SECRET = f"{_PREFIX}extensions.transport_sockets.tls.v3.Secret"
CLUSTER = f"{_PREFIX}config.cluster.v3.Cluster"
ENDPOINTS = f"{_PREFIX}config.endpoint.v3.ClusterLoadAssignment"
LISTENER = f"{_PREFIX}config.listener.v3.Listener"
ROUTE = f"{_PREFIX}config.route.v3.RouteConfiguration"
ORDER = (CLUSTER, ENDPOINTS, SECRET, LISTENER, ROUTE)
_LATE_REMOVAL = (CLUSTER, ENDPOINTS)
_WHOLE = (CLUSTER, LISTENER)


@dataclass(frozen=True)
class Request:
    """A request of either variant; for state of the world `subscribe` is the whole list of names."""

    type_url: str
    nonce: str = ""
    error: str = ""
    subscribe: tuple[str, ...] = ()
    unsubscribe: tuple[str, ...] = ()
    initial: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Response:
    type_url: str
    nonce: str
    version: str
    resources: tuple[Resource, ...]
    removed: tuple[str, ...] = ()


@dataclass(frozen=True)
class Answer:
    """The client's word on a response: `error` is "" for an ACK, its own words for a NACK."""

    type_url: str
    version: str
    error: str


@dataclass
class _Watch:
    """One type on one stream."""

    wildcard: bool = False
    names: set[str] = field(default_factory=set)
    sent: dict[str, str] = field(default_factory=dict)
    pending: Response | None = None
    refused: dict[str, str] = field(default_factory=dict)
    answered: bool = False


class Conversation:
    """Feed requests and snapshots; `responses()` gives what to send now."""

    def __init__(self, *, delta: bool) -> None:
        self._delta = delta
        self._watches: dict[str, _Watch] = {}
        self._snapshot: Snapshot | None = None
        self._count = 0

    def offer(self, snapshot: Snapshot) -> None:
        """The newest snapshot; what was pending before it is superseded."""
        self._snapshot = snapshot

    def receive(self, request: Request) -> Answer | None:
        """Take a request; the client's answer to our last response of that type, if it is one."""
        first = request.type_url not in self._watches
        watch = self._watches.setdefault(request.type_url, _Watch())
        answer = None
        if request.nonce and watch.pending is not None and request.nonce == watch.pending.nonce:
            answer = self._settle(watch, request.error)
        stale = bool(request.nonce) and answer is None and not self._delta
        if not stale:
            self._subscribe(watch, request, first)
        return answer

    def _settle(self, watch: _Watch, error: str) -> Answer:
        response = watch.pending
        assert response is not None
        watch.pending = None
        if error:
            watch.refused = {resource.name: resource.version for resource in response.resources}
        else:
            watch.refused = {}
        return Answer(response.type_url, response.version, error)

    def _subscribe(self, watch: _Watch, request: Request, first: bool) -> None:
        names = {name for name in request.subscribe if name != "*"}
        if self._delta:
            if first:
                watch.wildcard = not request.subscribe and request.type_url in _WHOLE
                watch.sent.update(request.initial)
            watch.wildcard = watch.wildcard or "*" in request.subscribe
            watch.names |= names
            for name in request.unsubscribe:
                watch.names.discard(name)
                watch.sent.pop(name, None)
            for name in names if not first else ():  # a name asked for again wants an answer again
                watch.sent.pop(name, None)
            return
        if names - watch.names:
            watch.answered = False
        watch.names = names
        watch.wildcard = request.type_url in _WHOLE and not names

    def responses(self) -> list[Response]:
        """What can be sent now; each type waits for the answer to its last response."""
        if self._snapshot is None:
            return []
        found = []
        for type_url in ORDER:
            watch = self._watches.get(type_url)
            if watch is None or watch.pending is not None:
                continue
            response = self._difference(type_url, watch, self._snapshot)
            if response is not None:
                watch.pending = response
                found.append(response)
        return found

    def _difference(self, type_url: str, watch: _Watch, snapshot: Snapshot) -> Response | None:
        have = snapshot.resources.get(type_url, {})
        wanted = have if watch.wildcard else {name: have[name] for name in sorted(watch.names) if name in have}
        changed = [
            resource
            for name, resource in wanted.items()
            if watch.sent.get(name) != resource.version and watch.refused.get(name) != resource.version
        ]
        removed = tuple(name for name, version in watch.sent.items() if version and name not in wanted)
        missing: tuple[str, ...] = ()
        if self._delta and not watch.wildcard:
            missing = tuple(name for name in sorted(watch.names) if name not in have and name not in watch.sent)
        if type_url in _LATE_REMOVAL and not self._broken_apart(snapshot):
            removed = ()
        if watch.answered and not changed and not removed and not missing:
            return None
        watch.answered = True
        for resource in changed:
            watch.sent[resource.name] = resource.version
        for name in (*removed, *missing):
            watch.sent.pop(name, None)
            if name in missing:
                watch.sent[name] = ""
        self._count += 1
        resources = tuple(changed) if self._delta else tuple(wanted.values())
        return Response(type_url, str(self._count), snapshot.version, resources, (*removed, *missing))

    def _broken_apart(self, snapshot: Snapshot) -> bool:
        """Have listeners and routes been acknowledged as they are in this snapshot?"""
        for type_url in (LISTENER, ROUTE):
            watch = self._watches.get(type_url)
            if watch is None:
                continue
            if watch.pending is not None or watch.refused:
                return False
            have = snapshot.resources.get(type_url, {})
            names = have if watch.wildcard else watch.names & have.keys()
            if any(watch.sent.get(name) != have[name].version for name in names):
                return False
        return True

    @property
    def settled(self) -> bool:
        """Has the client acknowledged all it subscribed to of the newest snapshot?"""
        if self._snapshot is None:
            return False
        for type_url, watch in self._watches.items():
            if watch.pending is not None or watch.refused:
                return False
            have = self._snapshot.resources.get(type_url, {})
            names = have.keys() if watch.wildcard else watch.names & have.keys()
            if any(watch.sent.get(name) != have[name].version for name in names):
                return False
            if any(version and name not in have for name, version in watch.sent.items()):
                return False
        return True
