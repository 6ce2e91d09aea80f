"""A client of the ADS conversation as the protocol describes it, without I/O: applies, answers, subscribes.

A resource's body is JSON: what it names (`{"clusters": [...], "routes": [...], "endpoints": [...]}`) and whether the
client refuses it (`"bad"`).
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Mapping
from typing import Any

from meshlab.model.snapshot import Resource, Snapshot
from meshlab.xds.conversation import CLUSTER, ENDPOINTS, LISTENER, ROUTE, Conversation, Request, Response

TYPES = (CLUSTER, ENDPOINTS, LISTENER, ROUTE)
_SUBSCRIBED_BY = {CLUSTER: ("endpoints", ENDPOINTS), LISTENER: ("routes", ROUTE)}


def resource(name: str, version: str = "1", **body: Any) -> Resource:
    return Resource(name, f"{name}-{version}{'-bad' if body.get('bad') else ''}", json.dumps(body).encode())


def snapshot(version: str, resources: Mapping[str, list[Resource]]) -> Snapshot:
    return Snapshot(version, {url: {one.name: one for one in found} for url, found in resources.items()})


class ModelClient:
    """Holds `held`: type -> name -> resource. `partial`: takes the good ones of a response that it refuses (Envoy);
    otherwise all or nothing. Requests wait in `outbox` until `deliver`."""

    def __init__(self, conversation: Conversation, *, delta: bool, partial: bool) -> None:
        self.held: dict[str, dict[str, Resource]] = {url: {} for url in TYPES}
        self.delta, self.partial = delta, partial
        self.inbox: deque[Response] = deque()
        self.received: list[Response] = []
        self.connect(conversation)

    def connect(self, conversation: Conversation) -> None:
        """A new stream: subscribe anew, in delta with what is held."""
        self.conversation = conversation
        self.outbox: deque[Request] = deque()
        self.inbox.clear()
        self._nonces: dict[str, str] = {}
        names = self._names()
        for url in TYPES:
            if url in (CLUSTER, LISTENER) or names[url]:
                held = {name: one.version for name, one in self.held[url].items()} if self.delta else {}
                self.outbox.append(Request(url, subscribe=tuple(sorted(names[url])), initial=held))
        self._subscribed = names

    def _names(self) -> dict[str, set[str]]:
        """What the held clusters and listeners ask for."""
        found: dict[str, set[str]] = {url: set() for url in TYPES}
        for url, (field, wanted) in _SUBSCRIBED_BY.items():
            for one in self.held[url].values():
                found[wanted].update(json.loads(one.body).get(field, []))
        return found

    def deliver(self) -> None:
        """One request reaches the server."""
        self.conversation.receive(self.outbox.popleft())

    def fetch(self) -> None:
        """What the server has to say now is on its way."""
        self.inbox.extend(self.conversation.responses())

    def take(self) -> None:
        """Apply one response, subscribe to what it asks for, answer."""
        response = self.inbox.popleft()
        self.received.append(response)
        bad = [one.name for one in response.resources if json.loads(one.body).get("bad")]
        held = self.held[response.type_url]
        if not bad or self.partial:
            if not self.delta and response.type_url in (CLUSTER, LISTENER):
                names = {one.name for one in response.resources}
                for name in [name for name in held if name not in names]:
                    del held[name]
            asked = {one.name for one in response.resources}
            if response.type_url in (ENDPOINTS, ROUTE):
                asked &= self._subscribed[response.type_url]
            held.update({one.name: one for one in response.resources if one.name in asked - set(bad)})
            for name in response.removed if self.delta else ():
                held.pop(name, None)
        self._check_order()
        self._nonces[response.type_url] = response.nonce
        self._resubscribe()
        error = f"refused {bad}" if bad else ""
        names = () if self.delta else tuple(sorted(self._subscribed[response.type_url]))
        self.outbox.append(Request(response.type_url, response.nonce, error, names))

    def _resubscribe(self) -> None:
        names = self._names()
        for url in (ENDPOINTS, ROUTE):
            new, old = names[url] - self._subscribed[url], self._subscribed[url] - names[url]
            for name in old:
                self.held[url].pop(name, None)
            self._subscribed[url] = names[url]
            if self.delta and (new or old):
                self.outbox.append(Request(url, subscribe=tuple(sorted(new)), unsubscribe=tuple(sorted(old))))
            elif new or old:
                self.outbox.append(Request(url, self._nonces.get(url, ""), subscribe=tuple(sorted(names[url]))))

    def _check_order(self) -> None:
        for url in (LISTENER, ROUTE):
            for one in self.held[url].values():
                lacking = set(json.loads(one.body).get("clusters", [])) - self.held[CLUSTER].keys()
                assert not lacking, f"{one.name} names {lacking}, which the client does not hold"

    def run(self) -> list[Response]:
        """Until nobody has anything to say; the responses of this run."""
        begin = len(self.received)
        for _ in range(1000):
            while self.outbox:
                self.deliver()
            self.fetch()
            if not self.inbox:
                return self.received[begin:]
            while self.inbox:
                self.take()
        raise AssertionError("the conversation does not come to rest")

    def holds(self, wanted: Snapshot) -> bool:
        """Exactly the snapshot (as far as it is asked for)."""
        names = self._names()
        for url in TYPES:
            have = wanted.resources.get(url, {})
            asked = have if url in (CLUSTER, LISTENER) else {name: have[name] for name in names[url] if name in have}
            if dict(asked) != self.held[url]:
                return False
        return True
