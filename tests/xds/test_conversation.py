"""The ADS conversation against the words of the xDS protocol, and against a client that takes it at its word."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from meshlab.model.snapshot import Resource, Snapshot
from meshlab.xds.conversation import CLUSTER, ENDPOINTS, LISTENER, ROUTE, Conversation, Request, Response
from tests.xds.model_client import ModelClient, resource, snapshot

VARIANTS = pytest.mark.parametrize("delta", [False, True], ids=["sotw", "delta"])
A1 = snapshot("v1", {CLUSTER: [resource("a")], ENDPOINTS: [resource("e")]})


def only(responses: list[Response]) -> Response:
    [response] = responses
    return response


def names(response: Response) -> list[str]:
    return [one.name for one in response.resources]


def opened(delta: bool, *urls: str, offer: Snapshot = A1) -> Conversation:
    """A conversation whose client has acknowledged `offer` of these wildcard types."""
    made = Conversation(delta=delta)
    made.offer(offer)
    for url in urls:
        made.receive(Request(url))
    acknowledge(made)
    return made


def acknowledge(conversation: Conversation, **subscribe: tuple[str, ...]) -> list[Response]:
    """ACK everything until there is silence."""
    found = []
    while responses := conversation.responses():
        for one in responses:
            conversation.receive(Request(one.type_url, one.nonce, subscribe=subscribe.get(one.type_url, ())))
        found += responses
    return found


@VARIANTS
def test_nothing_is_said_before_there_is_a_snapshot(delta: bool) -> None:
    made = Conversation(delta=delta)
    made.receive(Request(CLUSTER))
    assert made.responses() == []
    assert not made.settled
    made.offer(A1)
    assert names(only(made.responses())) == ["a"]


@VARIANTS
def test_an_ack_is_an_answer_with_the_version_and_settles(delta: bool) -> None:
    made = Conversation(delta=delta)
    made.offer(A1)
    made.receive(Request(CLUSTER))
    sent = only(made.responses())
    assert sent.version == "v1"
    assert not made.settled
    answer = made.receive(Request(CLUSTER, sent.nonce))
    assert answer is not None
    assert (answer.type_url, answer.version, answer.error) == (CLUSTER, "v1", "")
    assert made.settled
    assert made.responses() == []


@VARIANTS
def test_a_type_waits_for_its_answer_and_the_newest_snapshot_supersedes(delta: bool) -> None:
    made = Conversation(delta=delta)
    made.offer(A1)
    made.receive(Request(CLUSTER))
    first = only(made.responses())
    for number in (2, 3):
        made.offer(snapshot(f"v{number}", {CLUSTER: [resource("a", str(number))]}))
        assert made.responses() == []
    made.receive(Request(CLUSTER, first.nonce))
    second = only(made.responses())
    assert (second.version, [one.version for one in second.resources]) == ("v3", ["a-3"])
    assert second.nonce != first.nonce


@VARIANTS
def test_a_refused_version_is_not_sent_again_and_its_successor_is(delta: bool) -> None:
    made = opened(delta, CLUSTER)
    made.offer(snapshot("v2", {CLUSTER: [resource("a", "2")]}))
    answer = made.receive(Request(CLUSTER, only(made.responses()).nonce, "no such thing"))
    assert answer is not None
    assert (answer.version, answer.error) == ("v2", "no such thing")
    assert made.responses() == []
    assert not made.settled
    made.offer(snapshot("v3", {CLUSTER: [resource("a", "3")]}))
    assert [one.version for one in only(made.responses()).resources] == ["a-3"]


@VARIANTS
def test_going_back_to_the_last_good_version_settles_after_a_nack(delta: bool) -> None:
    made = opened(delta, CLUSTER)
    made.offer(snapshot("v2", {CLUSTER: [resource("a", "2")]}))
    made.receive(Request(CLUSTER, only(made.responses()).nonce, "no"))
    made.offer(A1)
    acknowledge(made)
    assert made.settled


@VARIANTS
def test_an_ack_of_another_resource_does_not_make_a_refused_one_count(delta: bool) -> None:
    made = opened(delta, CLUSTER)
    made.offer(snapshot("v2", {CLUSTER: [resource("a", "2")]}))
    made.receive(Request(CLUSTER, only(made.responses()).nonce, "no"))
    made.offer(snapshot("v3", {CLUSTER: [resource("a", "2"), resource("b")]}))
    sent = only(acknowledge(made))
    assert [one.version for one in sent.resources if one.name == "a"] == ([] if delta else ["a-1"])
    assert "b" in names(sent)
    assert not made.settled


@VARIANTS
@pytest.mark.parametrize("partial", [False, True])
def test_one_refused_resource_does_not_hold_back_those_that_came_with_it(delta: bool, partial: bool) -> None:
    conversation = Conversation(delta=delta)
    client = ModelClient(conversation, delta=delta, partial=partial)
    conversation.offer(
        snapshot("v1", {CLUSTER: [resource("a"), resource("b", bad=True), resource("c"), resource("d", bad=True)]})
    )
    client.run()
    assert set(client.held[CLUSTER]) == {"a", "c"}
    assert not conversation.settled
    conversation.offer(snapshot("v2", {CLUSTER: [resource(name) for name in "abcd"]}))
    client.run()
    assert set(client.held[CLUSTER]) == set("abcd")
    assert conversation.settled


def test_state_of_the_world_keeps_the_last_good_one_of_what_is_refused() -> None:
    made = opened(False, CLUSTER)
    made.offer(snapshot("v2", {CLUSTER: [resource("a", "2")]}))
    made.receive(Request(CLUSTER, only(made.responses()).nonce, "no"))
    made.offer(snapshot("v3", {CLUSTER: [resource("a", "2"), resource("b")]}))
    assert sorted(one.version for one in only(made.responses()).resources) == ["a-1", "b-1"]


WORLD1 = {
    CLUSTER: [resource("a")],
    LISTENER: [resource("l", routes=["r"])],
    ROUTE: [resource("r", clusters=["a"])],
}
WORLD2 = {
    CLUSTER: [resource("b")],
    LISTENER: [resource("l", routes=["r"])],
    ROUTE: [resource("r", "2", clusters=["b"])],
}


def client_of(delta: bool, first: dict[str, list[Resource]]) -> ModelClient:
    conversation = Conversation(delta=delta)
    conversation.offer(snapshot("v1", first))
    client = ModelClient(conversation, delta=delta, partial=True)
    client.run()
    assert client.holds(snapshot("v1", first))
    return client


@VARIANTS
def test_a_new_cluster_comes_before_the_route_and_the_old_one_goes_after_it(delta: bool) -> None:
    client = client_of(delta, WORLD1)
    client.conversation.offer(snapshot("v2", WORLD2))
    made, moved, broken = client.run()
    assert [one.type_url for one in (made, moved, broken)] == [CLUSTER, ROUTE, CLUSTER]
    if delta:
        assert (names(made), made.removed) == (["b"], ())
        assert (names(broken), broken.removed) == ([], ("a",))
    else:
        assert (sorted(names(made)), names(broken)) == (["a", "b"], ["b"])


@VARIANTS
def test_a_cluster_stays_until_the_listener_that_used_it_is_acknowledged_gone(delta: bool) -> None:
    first = {CLUSTER: [resource("a"), resource("b")], LISTENER: [resource("l", clusters=["a"]), resource("m")]}
    client = client_of(delta, first)
    client.conversation.offer(snapshot("v2", {CLUSTER: [resource("b")], LISTENER: [resource("m")]}))
    assert [one.type_url for one in client.run()] == [LISTENER, CLUSTER]
    assert set(client.held[CLUSTER]) == {"b"}


@VARIANTS
def test_a_route_waits_while_a_cluster_of_its_snapshot_cannot_be_sent_yet(delta: bool) -> None:
    client = client_of(delta, WORLD1)
    conversation = client.conversation
    conversation.offer(snapshot("v2", {**WORLD1, CLUSTER: [resource("a", "2")]}))
    pending = only(conversation.responses())
    conversation.offer(snapshot("v3", WORLD2))
    assert conversation.responses() == []
    conversation.receive(Request(CLUSTER, pending.nonce))
    assert only(conversation.responses()).type_url == CLUSTER


@VARIANTS
def test_routes_stay_as_they_were_while_a_new_cluster_is_refused(delta: bool) -> None:
    client = client_of(delta, WORLD1)
    client.conversation.offer(snapshot("v2", {**WORLD2, CLUSTER: [resource("b", bad=True)]}))
    client.run()
    assert client.held[ROUTE]["r"].version == "r-1"
    assert "a" in client.held[CLUSTER]
    client.conversation.offer(snapshot("v3", WORLD2))
    client.run()
    assert client.holds(snapshot("v3", WORLD2))
    assert client.conversation.settled


@VARIANTS
def test_endpoints_that_are_refused_do_not_hold_back_the_routes(delta: bool) -> None:
    first = {**WORLD1, CLUSTER: [resource("a", endpoints=["e"])], ENDPOINTS: [resource("e", bad=True)]}
    conversation = Conversation(delta=delta)
    conversation.offer(snapshot("v1", first))
    client = ModelClient(conversation, delta=delta, partial=True)
    client.run()
    assert (set(client.held[ENDPOINTS]), set(client.held[ROUTE])) == (set(), {"r"})
    assert not conversation.settled


def test_after_a_reconnect_with_versions_nothing_is_sent_again() -> None:
    client = client_of(True, WORLD1)
    conversation = Conversation(delta=True)
    conversation.offer(snapshot("v1", WORLD1))
    client.connect(conversation)
    assert [(one.resources, one.removed) for one in client.run()] == [((), ())] * 3
    assert conversation.settled
    assert client.holds(snapshot("v1", WORLD1))


def test_after_a_reconnect_only_the_difference_is_sent_and_the_old_cluster_goes_last() -> None:
    client = client_of(True, WORLD1)
    conversation = Conversation(delta=True)
    conversation.offer(snapshot("v2", WORLD2))
    client.connect(conversation)
    said = [(one.type_url, names(one), one.removed) for one in client.run()]
    assert said[0] == (CLUSTER, ["b"], ())
    assert said[-1] == (CLUSTER, [], ("a",))
    assert client.holds(snapshot("v2", WORLD2))


def test_a_client_that_only_watches_clusters_is_told_of_their_end_after_a_reconnect() -> None:
    made = Conversation(delta=True)
    made.offer(A1)
    made.receive(Request(CLUSTER, initial={"a": "a-1", "old": "old-1"}))
    assert [one.removed for one in acknowledge(made)] == [(), ("old",)]
    assert made.settled


def test_delta_sends_only_what_changed_and_says_what_is_gone() -> None:
    made = opened(True, LISTENER, offer=snapshot("v1", {LISTENER: [resource("l"), resource("m"), resource("n")]}))
    made.offer(snapshot("v2", {LISTENER: [resource("l"), resource("m", "2")]}))
    sent = only(made.responses())
    assert (names(sent), sent.removed) == (["m"], ("n",))


def test_state_of_the_world_sends_all_listeners_so_that_the_missing_one_is_gone() -> None:
    made = opened(False, LISTENER, offer=snapshot("v1", {LISTENER: [resource("l"), resource("m")]}))
    made.offer(snapshot("v2", {LISTENER: [resource("l")]}))
    assert names(only(made.responses())) == ["l"]


def test_a_name_that_is_not_there_is_said_once_and_comes_when_it_is() -> None:
    made = Conversation(delta=True)
    made.offer(A1)
    made.receive(Request(ENDPOINTS, subscribe=("e", "f")))
    sent = only(acknowledge(made))
    assert (names(sent), sent.removed) == (["e"], ("f",))
    made.offer(snapshot("v2", {ENDPOINTS: [resource("e"), resource("f")]}))
    assert names(only(acknowledge(made))) == ["f"]
    made.offer(A1)
    assert [one.removed for one in acknowledge(made)] == [("f",)]
    assert made.settled


def test_a_name_asked_for_again_is_answered_again() -> None:
    made = Conversation(delta=True)
    made.offer(A1)
    made.receive(Request(ENDPOINTS, subscribe=("e",)))
    acknowledge(made)
    made.receive(Request(ENDPOINTS, subscribe=("e",)))
    assert names(only(acknowledge(made))) == ["e"]
    made.receive(Request(ENDPOINTS, unsubscribe=("e",)))
    made.offer(snapshot("v2", {ENDPOINTS: [resource("e", "2")]}))
    assert acknowledge(made) == []
    assert made.settled


def test_the_wildcard_can_be_asked_for_and_taken_back_by_its_name() -> None:
    made = Conversation(delta=True)
    made.offer(snapshot("v1", {CLUSTER: [resource("a"), resource("b")]}))
    made.receive(Request(CLUSTER, subscribe=("*", "a")))
    assert names(only(acknowledge(made))) == ["a", "b"]
    made.receive(Request(CLUSTER, unsubscribe=("*",)))
    made.offer(snapshot("v2", {CLUSTER: [resource("a", "2"), resource("b", "2")]}))
    sent = only(acknowledge(made))
    assert (names(sent), sent.removed) == (["a"], ())


def test_what_stays_subscribed_by_the_wildcard_is_sent_again_when_its_name_is_taken_back() -> None:
    made = Conversation(delta=True)
    made.offer(A1)
    made.receive(Request(CLUSTER, subscribe=("*", "a")))
    acknowledge(made)
    made.receive(Request(CLUSTER, unsubscribe=("a",)))
    assert names(only(acknowledge(made))) == ["a"]


def test_state_of_the_world_answers_a_changed_list_under_the_acknowledged_nonce() -> None:
    made = Conversation(delta=False)
    made.offer(snapshot("v1", {ENDPOINTS: [resource("e"), resource("f")]}))
    made.receive(Request(ENDPOINTS, subscribe=("e",)))
    first = only(made.responses())
    made.receive(Request(ENDPOINTS, first.nonce, subscribe=("e",)))
    assert made.responses() == []
    made.receive(Request(ENDPOINTS, first.nonce, subscribe=("e", "f")))
    assert names(only(made.responses())) == ["e", "f"]


def test_state_of_the_world_answers_the_same_list_again_when_it_is_no_ack() -> None:
    """A cluster that changed is warm only after its endpoints came again, though they are the same."""
    made = Conversation(delta=False)
    made.offer(A1)
    made.receive(Request(ENDPOINTS, subscribe=("e",)))
    first = only(made.responses())
    made.receive(Request(ENDPOINTS, first.nonce, subscribe=("e",)))
    made.receive(Request(ENDPOINTS, first.nonce, subscribe=("e",)))
    again = only(made.responses())
    assert names(again) == ["e"]
    made.receive(Request(ENDPOINTS, again.nonce, subscribe=("e",)))
    assert made.responses() == []


def test_delta_sends_the_endpoints_again_when_a_cluster_changes_and_only_then() -> None:
    made = Conversation(delta=True)
    made.offer(A1)
    made.receive(Request(CLUSTER))
    made.receive(Request(ENDPOINTS, subscribe=("e",)))
    acknowledge(made)
    new = {CLUSTER: [resource("a"), resource("b")], ENDPOINTS: [resource("e")]}
    made.offer(snapshot("v2", new))
    assert [names(one) for one in acknowledge(made)] == [["b"]]
    made.offer(snapshot("v3", {**new, CLUSTER: [resource("a", "2"), resource("b")]}))
    assert [names(one) for one in acknowledge(made)] == [["a"], ["e"]]
    assert made.settled


def test_state_of_the_world_ignores_a_stale_nonce() -> None:
    made = Conversation(delta=False)
    made.offer(A1)
    made.receive(Request(ENDPOINTS, subscribe=("e",)))
    old = only(made.responses())
    made.receive(Request(ENDPOINTS, old.nonce, subscribe=("e",)))
    made.offer(snapshot("v2", {ENDPOINTS: [resource("e", "2"), resource("f")]}))
    new = only(made.responses())
    assert made.receive(Request(ENDPOINTS, old.nonce, subscribe=("e", "f"))) is None
    assert made.responses() == []
    made.receive(Request(ENDPOINTS, new.nonce, subscribe=("e",)))
    assert made.responses() == []
    assert made.settled


def test_state_of_the_world_takes_names_back_without_an_answer() -> None:
    made = Conversation(delta=False)
    made.offer(snapshot("v1", {ENDPOINTS: [resource("e"), resource("f")]}))
    made.receive(Request(ENDPOINTS, subscribe=("e", "f")))
    first = only(made.responses())
    made.receive(Request(ENDPOINTS, first.nonce, subscribe=("e", "f")))
    made.receive(Request(ENDPOINTS, first.nonce, subscribe=("e",)))
    made.offer(snapshot("v2", {ENDPOINTS: [resource("e"), resource("f", "2")]}))
    assert made.responses() == []
    assert made.settled


def test_an_empty_list_means_everything_only_to_who_never_named_anything() -> None:
    made = Conversation(delta=False)
    made.offer(A1)
    made.receive(Request(CLUSTER, subscribe=("a",)))
    first = only(made.responses())
    made.receive(Request(CLUSTER, first.nonce))
    made.offer(snapshot("v2", {CLUSTER: [resource("a", "2"), resource("b")]}))
    assert all(not one.resources for one in made.responses())


def test_a_name_beside_the_wildcard_does_not_end_it() -> None:
    made = Conversation(delta=False)
    made.offer(snapshot("v1", {CLUSTER: [resource("a"), resource("b")]}))
    made.receive(Request(CLUSTER, subscribe=("*", "a")))
    assert names(only(made.responses())) == ["a", "b"]


# Any order of events


KEYS = ("a", "b", "c")


@st.composite
def worlds(draw: st.DrawFn, *, bad: bool = True) -> dict[str, list[Resource]]:
    """Clusters with endpoints, listeners with routes; nothing dangles."""

    def body(name: str, **more: Any) -> Resource:
        if bad and draw(st.integers(0, 5)) == 0:
            more["bad"] = True
        return resource(name, str(draw(st.integers(1, 2))), **more)

    clusters = draw(st.sets(st.sampled_from(KEYS), min_size=1))
    targets = st.sampled_from(sorted(clusters))
    listeners = draw(st.sets(st.sampled_from(KEYS)))
    return {
        CLUSTER: [body(key, endpoints=[f"e{key}"]) for key in sorted(clusters)],
        ENDPOINTS: [body(f"e{key}") for key in sorted(clusters)],
        LISTENER: [_tied(body(f"l{key}", routes=[f"r{key}"], clusters=[draw(targets)])) for key in sorted(listeners)],
        ROUTE: [_tied(body(f"r{key}", clusters=[draw(targets)])) for key in sorted(listeners)],
    }


def _tied(one: Resource) -> Resource:
    """The version tells the content, as a hash would."""
    return dataclasses.replace(one, version=one.version + one.body.decode())


class AnyOrder(RuleBasedStateMachine):
    """Requests, responses, new snapshots and (in delta) broken streams in any order: the client never lacks a cluster
    that it uses (it looks after each response), and when the last snapshot is good it holds exactly that."""

    delta = True

    @initialize(partial=st.booleans(), first=worlds())
    def begin(self, partial: bool, first: dict[str, list[Resource]]) -> None:
        self.count = 0
        self.conversation = Conversation(delta=self.delta)
        self.client = ModelClient(self.conversation, delta=self.delta, partial=partial)
        self.offer(first)

    @rule(found=worlds())
    def offer(self, found: dict[str, list[Resource]]) -> None:
        self.count += 1
        self.latest = snapshot(str(self.count), found)
        self.conversation.offer(self.latest)

    @precondition(lambda self: self.client.outbox)
    @rule(count=st.integers(1, 4))
    def requests_arrive(self, count: int) -> None:
        for _ in range(min(count, len(self.client.outbox))):
            self.client.deliver()

    @rule()
    def server_speaks(self) -> None:
        self.client.fetch()

    @precondition(lambda self: self.client.inbox)
    @rule()
    def response_arrives(self) -> None:
        self.client.take()

    @precondition(lambda self: self.delta)
    @rule()
    def stream_breaks(self) -> None:
        self.conversation = Conversation(delta=self.delta)
        self.conversation.offer(self.latest)
        self.client.connect(self.conversation)

    @rule()
    def all_comes_to_rest(self) -> None:
        self.client.run()

    @invariant()
    def settled_means_held(self) -> None:
        client = self.client
        if self.conversation.settled and not client.outbox and not client.inbox:
            assert client.holds(self.latest)

    @rule(found=worlds(bad=False))
    def a_good_snapshot_is_held_in_the_end(self, found: dict[str, list[Resource]]) -> None:
        self.offer(found)
        self.client.run()
        assert self.client.holds(self.latest)
        assert self.conversation.settled


class AnyOrderStateOfTheWorld(AnyOrder):
    delta = False


_SETTINGS = settings(
    max_examples=100, stateful_step_count=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestAnyOrderDelta = AnyOrder.TestCase
TestAnyOrderStateOfTheWorld = AnyOrderStateOfTheWorld.TestCase
TestAnyOrderDelta.settings = TestAnyOrderStateOfTheWorld.settings = _SETTINGS
