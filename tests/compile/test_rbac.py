"""AuthorizationPolicy to Envoy's RBAC: each field, each scope, both actions, HTTP and TCP."""

from __future__ import annotations

from typing import Any

import pytest

from meshlab.compile.xds.rbac import compile_rules
from meshlab.model.policies import Action
from tests.compile.worlds import API, plain, world

MESH, SHOP = "spiffe://cluster.local", "spiffe://[^/]+/ns/shop/sa/.+"


def policy(spec: str, *, name: str = "p", namespace: str = "shop") -> str:
    meta = f"{{name: {name}, namespace: {namespace}}}"
    return f"apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {meta}\nspec: {spec}"


def rules(*texts: str, action: Action = Action.ALLOW, http: bool = True) -> dict[str, Any] | None:
    made = world(*texts)
    endpoint = made.endpoint(API)
    assert endpoint is not None
    found = compile_rules(made, endpoint, action, http=http)
    return None if found is None else {"action": "ALLOW", "policies": {}, **plain(found)}


def one(rule: str, *, action: str = "ALLOW", http: bool = True) -> tuple[dict[str, Any], dict[str, Any]]:
    """The permission and the principal of one rule."""
    found = rules(policy(f"{{action: {action}, rules: [{rule}]}}"), action=Action(action), http=http)
    assert found is not None
    assert found["action"] == action
    made = found["policies"]["ns[shop]-policy[p]-rule[0]"]
    [permission], [principal] = made["permissions"], made["principals"]
    return permission, principal


def named(value: dict[str, Any]) -> dict[str, Any]:
    return {"authenticated": {"principal_name": value}}


def regex(text: str) -> dict[str, Any]:
    return {"safe_regex": {"regex": text}}


def block(address: str, length: int) -> dict[str, Any]:
    return {"direct_remote_ip": {"address_prefix": address, "prefix_len": length}}


SOURCES = [
    ("principals", "cluster.local/ns/a/sa/b", named({"exact": f"{MESH}/ns/a/sa/b"})),
    ("principals", "cluster.local/ns/a/*", named({"prefix": f"{MESH}/ns/a/"})),
    ("principals", "'*/sa/b'", named({"suffix": "/sa/b"})),
    ("principals", "'*'", named(regex(".+"))),
    ("namespaces", "shop", named(regex(SHOP))),
    ("namespaces", "sh*", named(regex("spiffe://[^/]+/ns/sh[^/]*/sa/.+"))),
    ("serviceAccounts", "web", named(regex("spiffe://cluster\\.local/ns/shop/sa/web"))),
    ("serviceAccounts", "ops/web-2", named(regex("spiffe://cluster\\.local/ns/ops/sa/web-2"))),
    ("ipBlocks", "10.0.0.0/8", block("10.0.0.0", 8)),
    ("ipBlocks", "10.1.2.3", block("10.1.2.3", 32)),
]


@pytest.mark.parametrize(("field", "value", "wanted"), SOURCES)
@pytest.mark.parametrize("http", [True, False], ids=["http", "tcp"])
def test_each_field_of_a_source_and_its_negation(field: str, value: str, wanted: dict[str, Any], http: bool) -> None:
    permission, principal = one(f"{{from: [{{source: {{{field}: [{value}]}}}}]}}", http=http)
    assert permission == {"any": True}
    some = {"or_ids": {"ids": [wanted]}}
    assert principal == {"and_ids": {"ids": [{"or_ids": {"ids": [{"and_ids": {"ids": [some]}}]}}]}}
    negated = f"not{field[0].upper()}{field[1:]}"
    _, principal = one(f"{{from: [{{source: {{{negated}: [{value}]}}}}]}}", http=http)
    assert principal == {"and_ids": {"ids": [{"or_ids": {"ids": [{"and_ids": {"ids": [{"not_id": some}]}}]}}]}}


def header(name: str, **match: Any) -> dict[str, Any]:
    return {"header": {"name": name, "string_match": match}}


OPERATIONS = [
    ("hosts", "a.example", header(":authority", exact="a.example", ignore_case=True)),
    ("hosts", "'*.example'", header(":authority", suffix=".example", ignore_case=True)),
    ("hosts", "'*'", header(":authority", **regex(".+"))),
    ("methods", "GET", header(":method", exact="GET")),
    ("paths", "/a", {"url_path": {"path": {"exact": "/a"}}}),
    ("paths", "/a/*", {"url_path": {"path": {"prefix": "/a/"}}}),
    ("paths", "'*.html'", {"url_path": {"path": {"suffix": ".html"}}}),
    ("ports", "'90'", {"destination_port": 90}),
]


@pytest.mark.parametrize(("field", "value", "wanted"), OPERATIONS)
def test_each_field_of_an_operation_and_its_negation(field: str, value: str, wanted: dict[str, Any]) -> None:
    permission, principal = one(f"{{to: [{{operation: {{{field}: [{value}]}}}}]}}")
    assert principal == {"any": True}
    some = {"or_rules": {"rules": [wanted]}}
    assert permission == {"and_rules": {"rules": [{"or_rules": {"rules": [{"and_rules": {"rules": [some]}}]}}]}}
    negated = f"not{field[0].upper()}{field[1:]}"
    permission, _ = one(f"{{to: [{{operation: {{{negated}: [{value}]}}}}]}}")
    none = {"not_rule": some}
    assert permission == {"and_rules": {"rules": [{"or_rules": {"rules": [{"and_rules": {"rules": [none]}}]}}]}}


CONDITIONS = [
    ("request.headers[x-a]", "v*", "ids", header("x-a", prefix="v")),
    ("source.ip", "10.0.0.0/8", "ids", block("10.0.0.0", 8)),
    ("source.namespace", "shop", "ids", named(regex(SHOP))),
    ("source.principal", "cluster.local/ns/a/sa/b", "ids", named({"exact": f"{MESH}/ns/a/sa/b"})),
    ("source.serviceAccount", "web", "ids", named(regex("spiffe://cluster\\.local/ns/shop/sa/web"))),
    ("destination.ip", "10.1.2.3", "rules", {"destination_ip": {"address_prefix": "10.1.2.3", "prefix_len": 32}}),
    ("destination.port", "90", "rules", {"destination_port": 90}),
    ("connection.sni", "'*.example'", "rules", {"requested_server_name": {"suffix": ".example"}}),
]


@pytest.mark.parametrize(("key", "value", "set_", "wanted"), CONDITIONS)
def test_each_when_key_with_values_and_not_values(key: str, value: str, set_: str, wanted: dict[str, Any]) -> None:
    both = one(
        f"{{when: [{{key: '{key}', values: ['{value.strip(chr(39))}'], notValues: ['{value.strip(chr(39))}']}}]}}"
    )
    found, other = both if set_ == "rules" else both[::-1]
    some = {f"or_{set_}": {set_: [wanted]}}
    negation = {"not_rule" if set_ == "rules" else "not_id": some}
    assert found == {f"and_{set_}": {set_: [{f"and_{set_}": {set_: [some, negation]}}]}}
    assert other == {"any": True}


def test_values_are_alternatives_fields_and_conditions_all_hold() -> None:
    source = "{source: {namespaces: [a, b], ipBlocks: [10.0.0.0/8]}}, {source: {namespaces: [c]}}"
    when = "{key: source.ip, values: [10.1.0.0/16]}, {key: source.namespace, notValues: [z]}"
    _, principal = one(f"{{from: [{source}], when: [{when}]}}")
    sources, ip, namespace = principal["and_ids"]["ids"]
    first, second = sources["or_ids"]["ids"]
    assert [len(field["or_ids"]["ids"]) for field in first["and_ids"]["ids"]] == [2, 1]
    assert len(second["and_ids"]["ids"]) == 1
    assert ip == {"and_ids": {"ids": [{"or_ids": {"ids": [block("10.1.0.0", 16)]}}]}}
    assert "not_id" in namespace["and_ids"]["ids"][0]


def test_an_allow_policy_without_rules_allows_nothing_and_an_empty_rule_everything() -> None:
    assert rules(policy("{}")) == {"action": "ALLOW", "policies": {}}
    assert one("{}") == ({"any": True}, {"any": True})


def test_no_policy_of_an_action_is_not_the_same_as_no_rules() -> None:
    deny = policy("{action: DENY, rules: [{}]}")
    assert rules(deny) is None
    assert rules(deny, action=Action.DENY) is not None
    assert rules() is None


@pytest.mark.parametrize(
    ("namespace", "selector", "holds"),
    [
        ("shop", "", True),
        ("shop", "selector: {matchLabels: {app: api}}", True),
        ("shop", "selector: {matchLabels: {app: web}}", False),
        ("ops", "", False),
        ("ops", "selector: {matchLabels: {app: api}}", False),
        ("meshlab-system", "", True),
        ("meshlab-system", "selector: {matchLabels: {app: api}}", True),
        ("meshlab-system", "selector: {matchLabels: {app: web}}", False),
    ],
)
def test_a_policy_holds_for_its_selector_its_namespace_or_the_mesh(namespace: str, selector: str, holds: bool) -> None:
    found = rules(policy(f"{{{selector}}}", namespace=namespace))
    assert (found is not None) is holds


def test_every_rule_of_every_policy_is_named() -> None:
    found = rules(policy("{rules: [{}, {}]}"), policy("{rules: [{}]}", name="q", namespace="meshlab-system"))
    assert found is not None
    assert set(found["policies"]) == {
        "ns[shop]-policy[p]-rule[0]",
        "ns[shop]-policy[p]-rule[1]",
        "ns[meshlab-system]-policy[q]-rule[0]",
    }


def test_a_bare_service_account_is_of_the_policys_own_namespace() -> None:
    text = policy("{rules: [{from: [{source: {serviceAccounts: [web]}}]}]}", namespace="meshlab-system")
    assert "ns/meshlab-system/sa/web" in str(rules(text))


LAYER7 = [
    "to: [{operation: {methods: [GET]}}]",
    "to: [{operation: {notPaths: [/a]}}]",
    "to: [{operation: {ports: ['90']}}, {operation: {hosts: [a]}}]",
    "when: [{key: 'request.headers[a]', values: [b]}]",
]


@pytest.mark.parametrize("clause", LAYER7)
def test_on_tcp_an_allow_rule_that_needs_http_never_matches(clause: str) -> None:
    text = policy(f"{{rules: [{{{clause}}}, {{from: [{{source: {{namespaces: [a]}}}}]}}]}}")
    found = rules(text, http=False)
    assert found is not None
    assert list(found["policies"]) == ["ns[shop]-policy[p]-rule[1]"]


@pytest.mark.parametrize("clause", [LAYER7[0], LAYER7[1], LAYER7[3]])
def test_on_tcp_a_deny_rule_is_judged_by_the_rest_of_it(clause: str) -> None:
    permission, principal = one(f"{{{clause}, from: [{{source: {{namespaces: [shop]}}}}]}}", action="DENY", http=False)
    assert "header" not in str(permission)
    assert "url_path" not in str(permission)
    assert SHOP in str(principal)


def test_a_deny_rule_with_a_port_denies_that_port_on_tcp() -> None:
    permission, _ = one("{to: [{operation: {methods: [GET], ports: ['90']}}]}", action="DENY", http=False)
    assert "'destination_port': 90" in str(permission)
