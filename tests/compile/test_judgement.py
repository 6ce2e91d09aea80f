"""Two compilers, one meaning: what the kernel is told agrees with the RBAC that Envoy is given, for any policies."""

from __future__ import annotations

import re
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from meshlab.compile.judgement import Connection, judge
from meshlab.compile.plan import policies_for
from meshlab.compile.xds.rbac import compile_rules
from meshlab.model.ids import ROOT_NAMESPACE
from meshlab.model.mesh import Mesh
from meshlab.model.outcomes import Reason
from meshlab.model.policies import Action, AuthorizationPolicy, Condition, Operation, Rule, Source
from meshlab.model.world import World
from tests.compile.bpf.worlds import API, API_ID, DB_ID, PODS, WEB_ID

Known = bool | None


def envoy(rules: Any, identity: str, port: int) -> tuple[Known, str]:
    """Does an RBAC match, by which policy (the first by name); None where it, or one before it, asks for what layer 4
    does not know."""
    for name in sorted(rules.policies):
        policy = rules.policies[name]
        permitted = either([permission(one, port) for one in policy.permissions])
        found = both([permitted, either([principal(one, identity) for one in policy.principals])])
        if found is not False:
            return found, name if found else ""
    return False, ""


def permission(one: Any, port: int) -> Known:
    match one.WhichOneof("rule"):
        case "and_rules":
            return both([permission(inner, port) for inner in one.and_rules.rules])
        case "or_rules":
            return either([permission(inner, port) for inner in one.or_rules.rules])
        case "not_rule":
            return opposite(permission(one.not_rule, port))
        case "any":
            return True
        case "destination_port":
            return bool(one.destination_port == port)
    return None


def principal(one: Any, identity: str) -> Known:
    match one.WhichOneof("identifier"):
        case "and_ids":
            return both([principal(inner, identity) for inner in one.and_ids.ids])
        case "or_ids":
            return either([principal(inner, identity) for inner in one.or_ids.ids])
        case "not_id":
            return opposite(principal(one.not_id, identity))
        case "any":
            return True
        case "authenticated":
            return text(one.authenticated.principal_name, identity)
    return None


def text(matcher: Any, value: str) -> bool:
    match matcher.WhichOneof("match_pattern"):
        case "exact":
            return bool(value == matcher.exact)
        case "prefix":
            return value.startswith(matcher.prefix)
        case "suffix":
            return value.endswith(matcher.suffix)
    return re.fullmatch(matcher.safe_regex.regex, value) is not None


def both(parts: list[Known]) -> Known:
    return False if False in parts else None if None in parts else True


def either(parts: list[Known]) -> Known:
    return True if True in parts else None if None in parts else False


def opposite(value: Known) -> Known:
    return None if value is None else not value


NAMES = ["cluster.local/ns/shop/sa/web", "cluster.local/ns/shop/*", "*/sa/db", "*", "cluster.local/ns/data/sa/db"]
PLACES = ["shop", "data", "sh*", "*"]
ACCOUNTS = ["web", "data/db", "shop/api"]


def some(values: list[str]) -> st.SearchStrategy[tuple[str, ...]]:
    return st.lists(st.sampled_from(values), max_size=2).map(tuple)


sources = st.builds(
    Source, principals=some(NAMES), not_principals=some(NAMES), namespaces=some(PLACES), not_namespaces=some(PLACES),
    service_accounts=some(ACCOUNTS), not_service_accounts=some(ACCOUNTS), ip_blocks=some(["10.0.0.0/8"]),
)  # fmt: skip
operations = st.builds(
    Operation, ports=some(["90", "8080"]), not_ports=some(["90"]), methods=some(["GET"]), not_paths=some(["/secret*"])
)
conditions = st.one_of(
    st.builds(Condition, st.just("source.principal"), some(NAMES), some(NAMES)),
    st.builds(Condition, st.just("source.namespace"), some(PLACES), some(PLACES)),
    st.builds(Condition, st.just("source.serviceAccount"), some(ACCOUNTS)),
    st.builds(Condition, st.just("destination.port"), some(["90"]), some(["8080"])),
    st.builds(Condition, st.just("request.headers[x-a]"), some(["1"])),
    st.builds(Condition, st.just("source.ip"), some(["10.0.0.0/8"])),
)


def few(one: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(one, max_size=2).map(tuple)


policies = st.lists(
    st.builds(
        AuthorizationPolicy,
        st.sampled_from(["shop", ROOT_NAMESPACE, "data"]),
        st.sampled_from(["a", "b", "c"]),
        st.sampled_from(Action),
        few(st.builds(Rule, few(sources), few(operations), few(conditions))),
    ),
    max_size=3,
)


@example(
    [AuthorizationPolicy("shop", "a", rules=(Rule(conditions=(Condition("request.headers[x-a]"),)),))],
    API_ID,
    (8080, True),
)
@settings(max_examples=400, deadline=None)
@given(policies, st.sampled_from([API_ID, WEB_ID, DB_ID]), st.sampled_from([(8080, True), (90, False)]))
def test_the_kernels_verdict_is_that_of_envoys_rules(
    given_: list[AuthorizationPolicy], identity: str, at: tuple[int, bool]
) -> None:
    port, http = at
    world = World(Mesh.of(given_), PODS)
    pod = world.endpoint(API)
    assert pod is not None
    found = judge(policies_for(world, pod), Connection(identity, pod.ip, port, http, world.trust_domain))
    deny, allow = (compile_rules(world, pod, action, http=http) for action in (Action.DENY, Action.ALLOW))
    denied, by = envoy(deny, identity, port) if deny is not None else (False, "")
    allowed, name = envoy(allow, identity, port) if allow is not None else (True, "")
    assert found.allowed == both([opposite(denied), allowed] if denied is not None else [None])
    if found.allowed is False:
        assert found.reason is (Reason.POLICY_DENY if denied else Reason.NO_ALLOW_MATCH)
    decided = by if found.allowed is False else name if found.allowed else ""
    if decided:
        namespace, _, policy = found.policy.partition("/")
        assert decided == f"ns[{namespace}]-policy[{policy}]-rule[{found.rule}]"
