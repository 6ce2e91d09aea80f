"""Rules of one pod: of all that a connection may turn out to carry, each verdict in the kernel is the only one."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshlab.compile.bpf import compile_kernel
from meshlab.compile.bpf.rules import of_pod
from meshlab.model.ids import ROOT_NAMESPACE
from meshlab.model.kernel import KernelRule
from meshlab.model.policies import Action, AuthorizationPolicy, Condition, Operation, Rule, Source
from tests.compile.bpf.worlds import API, API_ID, DB_ID, NODE, WEB_ID, policy, rules, world, world_of
from tests.compile.test_judgement import policies

PROXY = KernelRule("proxy", "ok")
PORTS = {8080: True, 90: False}
"""The kernel's ports of the pod: does it speak HTTP there?"""
Outcome = tuple[str, str, str, int | None]


@dataclass(frozen=True)
class Request:
    """All that a policy of this test can ask for; of raw bytes it asks for no method, path or header."""

    namespace: str
    account: str
    port: int
    ip: str
    method: str
    path: str
    header: str

    @property
    def http(self) -> bool:
        return PORTS[self.port]


def requests(identity: str, port: int) -> list[Request]:
    """Whatever a connection from an identity to a port may turn out to carry."""
    _, _, _, _, namespace, _, account = identity.split("/")
    unknown = product(("10.129.0.3", "192.0.2.1"), ("GET", "PUT"), ("/", "/secret/x"), ("1", ""))
    return [Request(namespace, account, port, *rest) for rest in unknown]


def field(values: Sequence[str], others: Sequence[str], test: Callable[[str], bool]) -> bool:
    return (not values or any(map(test, values))) and not any(map(test, others))


def inside(request: Request) -> Callable[[str], bool]:
    return lambda block: ipaddress.ip_address(request.ip) in ipaddress.ip_network(block)


def principal(request: Request) -> Callable[[str], bool]:
    return lambda value: fnmatchcase(f"cluster.local/ns/{request.namespace}/sa/{request.account}", value)


def account(request: Request, own: str) -> Callable[[str], bool]:
    return lambda value: (value if "/" in value else f"{own}/{value}") == f"{request.namespace}/{request.account}"


def from_(one: Source, own: str, request: Request) -> bool:
    return (
        field(one.principals, one.not_principals, principal(request))
        and field(one.namespaces, one.not_namespaces, lambda value: fnmatchcase(request.namespace, value))
        and field(one.service_accounts, one.not_service_accounts, account(request, own))
        and field(one.ip_blocks, one.not_ip_blocks, inside(request))
    )


def to(one: Operation, request: Request) -> bool:
    return field(one.ports, one.not_ports, lambda value: int(value) == request.port) and (
        not request.http
        or (
            field(one.methods, one.not_methods, lambda value: value == request.method)
            and field(one.paths, one.not_paths, lambda value: fnmatchcase(request.path, value))
        )
    )


def when(one: Condition, own: str, request: Request) -> bool:
    tests: dict[str, Callable[[str], bool]] = {
        "source.principal": principal(request),
        "source.namespace": lambda value: fnmatchcase(request.namespace, value),
        "source.serviceAccount": account(request, own),
        "source.ip": inside(request),
        "destination.port": lambda value: int(value) == request.port,
        "request.headers[x-a]": lambda value: not request.http or value == request.header,
    }
    return field(one.values, one.not_values, tests[one.key])


def layer7(rule: Rule) -> bool:
    return any(one.methods or one.not_methods or one.paths or one.not_paths for one in rule.operations) or any(
        one.key.startswith("request.") for one in rule.conditions
    )


def matches(rule: Rule, of: AuthorizationPolicy, request: Request) -> bool:
    if layer7(rule) and of.action is Action.ALLOW and not request.http:
        return False
    return (
        (not rule.sources or any(from_(one, of.namespace, request) for one in rule.sources))
        and (not rule.operations or any(to(one, request) for one in rule.operations))
        and all(when(one, of.namespace, request) for one in rule.conditions)
    )


def outcome(found: Sequence[AuthorizationPolicy], request: Request) -> Outcome:
    """Istio's words, for a request of which all is known."""
    for action, verdict, reason in ((Action.DENY, "deny", "policy_deny"), (Action.ALLOW, "allow", "policy_allow")):
        for one in found:
            for index, rule in enumerate(one.rules if one.action is action else ()):
                if matches(rule, one, request):
                    return verdict, reason, f"{one.namespace}/{one.name}", index
    if any(one.action is Action.ALLOW for one in found):
        return "deny", "no_allow_match", "", None
    return "allow", "ok", "", None


def decidable(found: Sequence[AuthorizationPolicy], http: bool) -> bool:
    """Does no policy ask for anything that only a request or a packet tells?"""
    every = [rule for one in found for rule in one.rules]
    return not any(
        (http and layer7(rule))
        or any(one.ip_blocks or one.not_ip_blocks for one in rule.sources)
        or any(one.key == "source.ip" for one in rule.conditions)
        for rule in every
    )


def most_specific(found: dict[tuple[int, str], KernelRule], port: int, source: str) -> KernelRule:
    keys = ((port, source), (port, ""), (0, source), (0, ""))
    return next(found[key] for key in keys if key in found)


@settings(max_examples=300, deadline=None)
@given(policies, st.sampled_from([API_ID, WEB_ID, DB_ID]), st.sampled_from(sorted(PORTS)))
def test_a_verdict_of_the_kernel_is_that_of_every_request_and_what_differs_is_the_proxys(
    given_: list[AuthorizationPolicy], source: str, port: int
) -> None:
    made = world_of(given_)
    chosen = [one for one in made.mesh.all(AuthorizationPolicy) if one.namespace in ("shop", ROOT_NAMESPACE)]
    rule = most_specific(rules(compile_kernel(made, NODE), API), port, source)
    wanted = {outcome(chosen, request) for request in requests(source, port)}
    if rule.verdict != "proxy":
        assert wanted == {(rule.verdict, rule.reason, rule.policy, rule.rule)}
        assert rule.http is PORTS[port]
        assert not (rule.http and rule.verdict == "deny")
    else:
        assert rule == PROXY
        refused_with_a_status = PORTS[port] and {verdict for verdict, *_ in wanted} == {"deny"}
        assert refused_with_a_status or not decidable(chosen, PORTS[port])


@pytest.mark.parametrize("port", [60, 70, 1234])
def test_what_the_kernel_does_not_read_is_the_proxys(port: int) -> None:
    found = rules(compile_kernel(world(), NODE), API)
    assert {most_specific(found, port, source).verdict for source in (API_ID, WEB_ID, "")} == {"proxy"}


def test_nothing_judged_leaves_the_rule_for_all() -> None:
    assert of_pod(()) == (PROXY,)


FROM_WEB = "{from: [{source: {serviceAccounts: [web]}}]}"


@pytest.mark.parametrize(
    ("port", "action", "first"),
    [
        (8080, "ALLOW", "{to: [{operation: {methods: [GET]}}]}"),
        (90, "DENY", "{from: [{source: {ipBlocks: [10.0.0.0/8]}}]}"),
    ],
)
def test_where_a_rule_before_may_match_too_the_proxy_names_the_one_that_did(port: int, action: str, first: str) -> None:
    before = policy(f"{{action: {action}, rules: [{first}]}}", "a")
    sure, after = (policy(f"{{action: {action}, rules: [{FROM_WEB}]}}", "b"), before.replace("name: a", "name: c"))
    assert most_specific(rules(compile_kernel(world(before, sure), NODE), API), port, WEB_ID) == PROXY
    found = most_specific(rules(compile_kernel(world(sure, after), NODE), API), port, WEB_ID)
    assert (found.verdict, found.policy, found.rule) == (action.lower(), "shop/b", 0)


@pytest.mark.parametrize(("key", "value"), [("destination.ip", "10.129.0.2"), ("destination.ip", "10.129.0.0/24")])
def test_the_destinations_own_address_is_known(key: str, value: str) -> None:
    for values, verdict in (("values", "allow"), ("notValues", "deny")):
        made = world(policy(f"{{rules: [{{when: [{{key: {key}, {values}: [{value}]}}]}}]}}"))
        assert rules(compile_kernel(made, NODE), API)[90, WEB_ID].verdict == verdict


@pytest.mark.parametrize("port", [8080, 90])
def test_a_servers_name_is_not_known(port: int) -> None:
    made = world(policy("{action: DENY, rules: [{when: [{key: connection.sni, values: [x]}]}]}"))
    assert most_specific(rules(compile_kernel(made, NODE), API), port, WEB_ID) == PROXY


def test_an_allow_policy_without_rules_denies_all() -> None:
    found = rules(compile_kernel(world(policy("{}")), NODE), API)
    assert found[90, WEB_ID] == KernelRule("deny", "no_allow_match", 90, WEB_ID)
    assert {port for port, _ in found} == {0, 90}


def peer(spec: str) -> str:
    head = "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: peer, namespace: shop}"
    return f"{head}\nspec: {spec}"


DISABLED = peer("{mtls: {mode: DISABLE}}")


def test_where_mtls_is_disabled_policies_know_nobody() -> None:
    web = policy(f"{{rules: [{FROM_WEB}]}}")
    found = rules(compile_kernel(world(DISABLED, web), NODE), API)
    assert found[90, WEB_ID] == KernelRule("deny", "no_allow_match", 90, WEB_ID)
    assert (8080, WEB_ID) not in found
    but_web = policy("{rules: [{from: [{source: {notServiceAccounts: [web]}}]}]}")
    assert rules(compile_kernel(world(DISABLED, but_web), NODE), API)[90, WEB_ID].verdict == "allow"
    assert rules(compile_kernel(world(DISABLED), NODE), API)[8080, WEB_ID] == KernelRule(
        "allow", "ok", 8080, WEB_ID, http=True
    )


def test_mtls_disabled_on_one_port_is_that_ports() -> None:
    one = peer("{selector: {matchLabels: {app: api}}, mtls: {mode: STRICT}, portLevelMtls: {90: {mode: DISABLE}}}")
    found = rules(compile_kernel(world(one, policy(f"{{rules: [{FROM_WEB}]}}")), NODE), API)
    assert {port: found[port, WEB_ID].verdict for port in (8080, 90)} == {8080: "allow", 90: "deny"}


@settings(max_examples=200, deadline=None)
@given(policies, st.sampled_from([API_ID, WEB_ID]), st.sampled_from(sorted(PORTS)))
def test_without_mtls_any_two_identities_are_judged_alike(
    given_: list[AuthorizationPolicy], source: str, port: int
) -> None:
    made = world_of(given_, DISABLED)
    found = rules(compile_kernel(made, NODE), API)
    one, other = most_specific(found, port, source), most_specific(found, port, DB_ID)
    assert (one.verdict, one.reason, one.policy, one.rule) == (other.verdict, other.reason, other.policy, other.rule)
