"""One ADS stream, sans-I/O: what the client has, what it asked for, what to send next (xDS protocol, both variants).

Order is make before break: listeners and routes wait until every cluster of their snapshot was acknowledged; what
disappears from clusters and endpoints is withdrawn only when listeners and routes were acknowledged without it.
After a NACK of several resources each is sent once more on its own, so that only the refused one is held back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from meshlab.model.kernel import KERNEL_TYPE
from meshlab.model.snapshot import Resource, Snapshot

_PREFIX = "type.googleapis.com/envoy."
SECRET = f"{_PREFIX}extensions.transport_sockets.tls.v3.Secret"
CLUSTER = f"{_PREFIX}config.cluster.v3.Cluster"
ENDPOINTS = f"{_PREFIX}config.endpoint.v3.ClusterLoadAssignment"
LISTENER = f"{_PREFIX}config.listener.v3.Listener"
ROUTE = f"{_PREFIX}config.route.v3.RouteConfiguration"
ORDER = (CLUSTER, ENDPOINTS, SECRET, LISTENER, ROUTE, KERNEL_TYPE)
_MADE_FIRST = (CLUSTER, ENDPOINTS)
_USERS = (LISTENER, ROUTE)
_WHOLE = (CLUSTER, LISTENER)
"""State-of-the-world responses of these types are complete: what is not in them is gone. Only these have a wildcard
without `*`."""
_ABSENT, _UNKNOWN = "", "?"
"""Instead of a version: the client was told that there is none; the client refused, who knows what it holds."""


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
    named: bool = False
    """Did the client ever name a resource? Then an empty list means nothing, not everything."""
    sent: dict[str, str] = field(default_factory=dict)
    """Name -> version given last, acknowledged or on its way; `_ABSENT`, `_UNKNOWN`."""
    good: dict[str, Resource] = field(default_factory=dict)
    """What was acknowledged last."""
    leaving: set[str] = field(default_factory=set)
    """Taken back, not acknowledged: nothing new may lean on these."""
    pending: Response | None = None
    trying: tuple[Resource, ...] = ()
    """Of the pending response, what was new in it."""
    nonce: str = ""
    refused: dict[str, str] = field(default_factory=dict)
    """Name -> version that was refused on its own: not sent again."""
    suspects: set[str] = field(default_factory=set)
    """Refused in company: to be sent alone."""
    answered: bool = False
    resumed: bool = False
    """The client came with versions, and its first answer is still to be acknowledged."""

    def wanted(self, have: Mapping[str, Resource]) -> Mapping[str, Resource]:
        if self.wildcard:
            return have
        return {name: have[name] for name in sorted(self.names) if name in have}

    def gone(self, wanted: Mapping[str, Resource]) -> list[str]:
        return [name for name, version in self.sent.items() if version != _ABSENT and name not in wanted]

    def current(self, have: Mapping[str, Resource]) -> bool:
        """Has the client acknowledged all that it wants of these, and the end of all others?"""
        wanted = self.wanted(have)
        same = all(self.sent.get(name) == resource.version for name, resource in wanted.items())
        return self.pending is None and same and not self.gone(wanted)


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
            answer = self._settle(watch, watch.pending, request.error)
        if self._delta:
            self._subscribe(watch, request, first)
        elif first or request.nonce == watch.nonce:  # else it answers an older response; a newer answer will come
            self._state(watch, request, asks=answer is None)
        return answer

    def _settle(self, watch: _Watch, response: Response, error: str) -> Answer:
        watch.pending, watch.resumed = None, False
        names = {resource.name for resource in watch.trying}
        if error:
            for name in names & watch.sent.keys():
                watch.sent[name] = _UNKNOWN
            if names:  # what was taken back in the same response may still be there
                watch.sent.update(dict.fromkeys(response.removed, _UNKNOWN))
            if len(names) > 1:
                watch.suspects |= names
            else:
                watch.refused |= {resource.name: resource.version for resource in watch.trying}
        else:
            for resource in response.resources:
                if watch.sent.get(resource.name) == resource.version:
                    watch.good[resource.name] = resource
                    watch.leaving.discard(resource.name)
            for name in names:
                watch.refused.pop(name, None)
            for name in response.removed:
                watch.good.pop(name, None)
                watch.leaving.discard(name)
        return Answer(response.type_url, response.version, error)

    def _subscribe(self, watch: _Watch, request: Request, first: bool) -> None:
        """The delta variant: names come and go."""
        names = {name for name in request.subscribe if name != "*"}
        if first:
            watch.wildcard = not request.subscribe and request.type_url in _WHOLE
            watch.sent.update(request.initial)
            watch.good.update({name: Resource(name, version, b"") for name, version in request.initial.items()})
            watch.resumed = bool(request.initial)
        watch.wildcard = (watch.wildcard or "*" in request.subscribe) and "*" not in request.unsubscribe
        watch.names = (watch.names | names) - set(request.unsubscribe)
        # What is asked for again wants an answer again; so does what stays subscribed by the wildcard only.
        for name in (*request.unsubscribe, *(names if not first else ())):
            watch.sent.pop(name, None)
            watch.refused.pop(name, None)
        self._forget(watch)

    def _state(self, watch: _Watch, request: Request, *, asks: bool) -> None:
        """State of the world: the list is all that is subscribed. `asks`: it answers no response, so it wants one
        (a cluster that changed asks for its endpoints again), unless it only takes names back."""
        names = {name for name in request.subscribe if name != "*"}
        if names - watch.names or (asks and not names < watch.names):
            watch.answered = False
        watch.named = watch.named or bool(request.subscribe)
        watch.names = names
        watch.wildcard = "*" in request.subscribe or (request.type_url in _WHOLE and not watch.named)
        self._forget(watch)

    def _forget(self, watch: _Watch) -> None:
        """What a client no longer subscribes to, it drops by itself."""
        if not watch.wildcard:
            for name in watch.sent.keys() - watch.names:
                del watch.sent[name]
            for name in watch.good.keys() - watch.names:
                del watch.good[name]

    def responses(self) -> list[Response]:
        """What can be sent now; each type waits for the answer to its last response."""
        if self._snapshot is None:
            return []
        found = []
        for type_url in ORDER:
            watch = self._watches.get(type_url)
            if watch is None or watch.pending is not None or (type_url in _USERS and not self._made(self._snapshot)):
                continue
            response = self._difference(type_url, watch, self._snapshot)
            if response is not None:
                watch.pending, watch.nonce, watch.answered = response, response.nonce, True
                found.append(response)
                if self._delta and type_url == CLUSTER and any(one.name in watch.good for one in response.resources):
                    self._endpoints_again()
        return found

    def _endpoints_again(self) -> None:
        """A cluster that changes is warm only when its endpoints come once more, and until then Envoy holds back its
        ACK. In state of the world it asks for them; in delta it does not."""
        watch = self._watches.get(ENDPOINTS)
        if watch is not None:
            watch.sent = {name: version for name, version in watch.sent.items() if version == _ABSENT}

    def _difference(self, type_url: str, watch: _Watch, snapshot: Snapshot) -> Response | None:
        have = snapshot.resources.get(type_url, {})
        wanted = watch.wanted(have)
        changed = self._changed(watch, wanted)
        gone = watch.gone(wanted)
        if type_url in _MADE_FIRST and (watch.resumed or not self._taken_over(snapshot)):
            gone = []
        absent: list[str] = []
        if self._delta:
            absent = [name for name in sorted(watch.names) if name not in have and name not in watch.sent]
        elif type_url not in _WHOLE:  # this variant has no words for it
            for name in gone:
                del watch.sent[name]
            gone = []
        if watch.answered and not changed and not gone and not absent:
            return None
        whole = () if self._delta else self._whole(type_url, watch, wanted, changed, gone)
        watch.trying = tuple(changed)
        watch.sent.update({resource.name: resource.version for resource in changed})
        for name in gone:
            del watch.sent[name]
        watch.leaving.update(gone)
        if self._delta:
            watch.sent.update(dict.fromkeys((*absent, *(watch.names & set(gone))), _ABSENT))
        self._count += 1
        resources = tuple(changed) if self._delta else whole
        return Response(type_url, str(self._count), snapshot.version, resources, (*gone, *absent))

    @staticmethod
    def _changed(watch: _Watch, wanted: Mapping[str, Resource]) -> list[Resource]:
        """What to try now: all that differs; of those that were refused in company, one."""
        differs = [
            resource
            for name, resource in wanted.items()
            if watch.sent.get(name) != resource.version and watch.refused.get(name) != resource.version
        ]
        watch.suspects &= {resource.name for resource in differs}
        changed = [resource for resource in differs if resource.name not in watch.suspects] or differs[:1]
        watch.suspects -= {resource.name for resource in changed}
        return changed

    @staticmethod
    def _whole(
        type_url: str, watch: _Watch, wanted: Mapping[str, Resource], changed: list[Resource], gone: list[str]
    ) -> tuple[Resource, ...]:
        """Everything that the client shall hold now: the last good one of what is refused, and what goes later."""
        new = {resource.name for resource in changed}
        found = {
            name: resource
            for name, resource in wanted.items()
            if name in new or watch.sent.get(name) == resource.version
        }
        kept = [name for name in wanted if name not in found]
        if type_url in _WHOLE:
            kept += [name for name in watch.gone(wanted) if name not in gone]
        found |= {name: watch.good[name] for name in kept if name in watch.good}
        return tuple(found.values())

    def _made(self, snapshot: Snapshot) -> bool:
        """Does the client hold every cluster that a listener or a route of this snapshot may name, with endpoints?"""
        for type_url in _MADE_FIRST:
            watch = self._watches.get(type_url)
            if watch is None:
                continue
            missing = watch.wanted(snapshot.resources.get(type_url, {})).keys() - (watch.good.keys() - watch.leaving)
            if type_url == ENDPOINTS:
                missing -= watch.refused.keys()  # the cluster is there; no endpoints are a failure of its own
            if missing:
                return False
        return True

    def _taken_over(self, snapshot: Snapshot) -> bool:
        """Have listeners and routes been acknowledged as they are in this snapshot?"""
        watches = [(url, self._watches[url]) for url in _USERS if url in self._watches]
        return all(watch.current(snapshot.resources.get(url, {})) for url, watch in watches)

    @property
    def settled(self) -> bool:
        """Has the client acknowledged all it subscribed to of the newest snapshot?"""
        if self._snapshot is None:
            return False
        resources = self._snapshot.resources
        return all(watch.current(resources.get(type_url, {})) for type_url, watch in self._watches.items())
