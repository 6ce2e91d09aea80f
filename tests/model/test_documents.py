"""Documents: every problem at once, in the right place; nothing raises."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshlab import assets
from meshlab.model import documents
from meshlab.model.mesh import Mesh
from meshlab.model.policies import AuthorizationPolicy, MtlsMode, PeerAuthentication
from meshlab.model.routes import HTTPRoute
from meshlab.model.workloads import Deployment

ROUTE = "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: r}\n"
POLICY = "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: p}\n"
PEER = "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: p}\n"
PARENT = "{kind: Service, group: '', name: web, port: 80}"


def problem(text: str) -> documents.Problem:
    (only,) = documents.load(text, "f.yaml").problems
    return only


def rule(text: str) -> str:
    return f"{ROUTE}spec: {{parentRefs: [{PARENT}], rules: [{text}]}}"


def test_samples_together_have_no_problem() -> None:
    text = "\n---\n".join(assets.sample_text(name) for name in assets.samples())
    assert documents.validate(text) == ()
    mesh = documents.load(text).mesh
    assert sum(one.replicas for one in mesh.all(Deployment)) == 6
    assert [backend.weight for backend in mesh.all(HTTPRoute)[0].rules[0].backends] == [90, 10]


def test_every_problem_of_a_file_is_reported_with_its_place() -> None:
    text = f"""{POLICY}spec:
  rules:
  - from: [{{source: {{namespaces: [a]}}}}, {{source: {{principal: [x]}}}}]
    to: [{{operation: {{ports: ["99999"]}}}}]
---
apiVersion: v1
kind: Servce
metadata: {{name: s}}
---
apiVersion: v1
kind: Deployment
metadata: {{name: d}}
"""
    found = {(p.document, p.object, p.path): p for p in documents.load(text, "f.yaml").problems}
    assert list(found) == [
        (1, "AuthorizationPolicy/p", "spec.rules[0].from[1].source.principal"),
        (1, "AuthorizationPolicy/p", "spec.rules[0].to[0].operation.ports[0]"),
        (2, "", "kind"),
        (3, "Deployment/d", "apiVersion"),
    ]
    first, _, second, _ = found.values()
    assert first.hint == "did you mean principals?"
    assert second.hint == "did you mean Service?"
    assert str(first).startswith("f.yaml#1 AuthorizationPolicy/p spec.rules[0].from[1].source.principal: unknown field")


def test_a_syntax_error_has_its_line_and_hides_no_earlier_problem() -> None:
    found = documents.load("apiVersion: v1\nkind: Nope\n---\na: [1\nb: 2\n").problems
    assert [p.document for p in found] == [1, 2]
    assert found[1].path.startswith("line 5")


@pytest.mark.parametrize(
    "text",
    [
        "a: 1\na: 2",
        "a: &x [1]\nb: *x",
        "[" * 100_000,
        "a: " * 50,
        "{" + "a: {" * 60 + "}" * 61,
        "!!int x",
        "!!bool x",
        "!!python/object:os.system x",
        "a: !!binary aGk=",
        "? [1]\n: 2",
        "n: " + "9" * 6000,
        "\x00",
        "- 1",
        "kind: [1]",
        "apiVersion: v1\nkind: Pod\nmetadata: 3\nspec: {}",
        "apiVersion: v1\nkind: Service\nmetadata: {name: s}\nspec: {ports: [{port: 0x" + "f" * 9000 + "}]}",
        "",
    ],
)
def test_bad_text_is_a_problem_and_never_raises(text: str) -> None:
    assert documents.load(text).problems
    assert documents.validate(text)


@settings(max_examples=100, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["metadata", "spec", "rules", "from", "name", "to", "when"]), inner)
        ),
    ),
    st.sampled_from(["Service", "HTTPRoute", "AuthorizationPolicy", "Deployment", "PeerAuthentication"]),
)
def test_anything_in_a_document_is_read_or_refused(body: object, kind: str) -> None:
    document = {"apiVersion": "security.istio.io/v1", "kind": kind, "metadata": body, "spec": body}
    documents.validate(json.dumps(document))


@pytest.mark.parametrize(
    "pattern", ["a(?=b)", "a(?!b)", "(?<=a)b", "(?<!a)b", r"(a)\1", "(?P<n>a)(?P=n)", "(", "a{1001}"]
)
def test_what_re2_refuses_is_refused(pattern: str) -> None:
    text = rule(f"{{matches: [{{path: {{type: RegularExpression, value: '{pattern}'}}}}]}}")
    assert problem(text).path.startswith("spec.rules[0].matches[0].path")


@pytest.mark.parametrize(
    "pattern", ["/a.*", r"\(?a", "[(?=]", r"(?P<n>a)", r"(?<n>a)", r"a\z", r"\pL+", r"\\1", "(?i)a"]
)
def test_what_re2_takes_is_taken(pattern: str) -> None:
    text = rule(f"{{matches: [{{path: {{type: RegularExpression, value: '{pattern}'}}}}]}}")
    assert not documents.load(text).problems


@pytest.mark.parametrize(
    "text",
    [
        "{timeouts: {request: 1.5s}}",
        "{timeouts: {request: 1s, backendRequest: 2s}}",
        "{filters: [{type: URLRewrite, requestRedirect: {}}]}",
        "{filters: [{type: RequestRedirect, requestRedirect: {}}], backendRefs: [{name: a, port: 80}]}",
        '{filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: a, value: "b\\r\\nc: d"}]}}]}',
        "{backendRefs: [{name: a, port: 80, weight: '1'}]}",
        "{matches: [{path: {value: no-slash}}]}",
    ],
)
def test_a_wrong_rule_is_refused(text: str) -> None:
    assert problem(rule(text)).path.startswith("spec.rules[0]")


def test_durations_are_milliseconds() -> None:
    (route,) = documents.load(rule("{timeouts: {request: 1m30s, backendRequest: 500ms}}")).mesh.all(HTTPRoute)
    assert (route.rules[0].request_timeout_ms, route.rules[0].backend_timeout_ms) == (90_000, 500)


@pytest.mark.parametrize("clause", ["from: []", "from:", "from: [{source: {}}]", "to: [{operation: {}}]", "when: []"])
def test_an_empty_clause_of_a_policy_never_means_everybody(clause: str) -> None:
    assert documents.load(f"{POLICY}spec:\n  rules:\n  - {clause}\n").problems


def test_no_rules_and_an_empty_rule_are_different() -> None:
    (none,) = documents.load(f"{POLICY}spec: {{}}").mesh.all(AuthorizationPolicy)
    (every,) = documents.load(f"{POLICY}spec: {{rules: [{{}}]}}").mesh.all(AuthorizationPolicy)
    assert (len(none.rules), len(every.rules)) == (0, 1)


def test_port_level_mtls_takes_plain_numbers_and_needs_a_selector() -> None:
    ports = "portLevelMtls: {8080: {mode: DISABLE}}"
    (peer,) = documents.load(f"{PEER}spec: {{selector: {{matchLabels: {{a: b}}}}, {ports}}}").mesh.all(
        PeerAuthentication
    )
    assert peer.port_modes == {8080: MtlsMode.DISABLE}
    assert "selector" in problem(f"{PEER}spec: {{{ports}}}").message


def test_the_namespace_is_filled_in_and_noun_gives_the_same_again() -> None:
    loaded = documents.load(f"{POLICY}spec: {{}}", namespace="shop")
    assert loaded.manifests[0]["metadata"]["namespace"] == "shop"
    assert Mesh.of(documents.noun(one) for one in loaded.manifests) == loaded.mesh


def test_the_same_object_twice_is_a_problem() -> None:
    text = "apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n"
    loaded = documents.load(f"{text}---\n{text}")
    assert [p.document for p in loaded.problems] == [2]
    assert len(loaded.manifests) == 1


@pytest.mark.parametrize(
    "modifier", ["set: [{name: Host, value: a}]", "add: [{name: host, value: a}]", "remove: [HOST]"]
)
def test_a_modified_host_header_is_refused_because_envoy_would(modifier: str) -> None:
    text = rule(f"{{filters: [{{type: RequestHeaderModifier, requestHeaderModifier: {{{modifier}}}}}]}}")
    assert "URLRewrite" in problem(text).message
