"""Documents against the real Envoy: two pods, two proxies, one link."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator

import pytest

from tests.compile.test_plan import namespace
from tests.compile.test_rbac import policy
from tests.compile.test_routes import route
from tests.dataplanes.sidecar.pair import Pair

IP, POD = "10.96.0.1", "10.129.0.2"
API_ID, WEB_ID = "spiffe://cluster.local/ns/shop/sa/api", "spiffe://cluster.local/ns/shop/sa/web"
LISTEN = "import socket,sys; print(socket.create_connection((sys.argv[1], 90), 5).recv(99).decode())"
SPEAK = """
import socket, sys
with socket.create_connection((sys.argv[1], 90), 5) as found:
    found.sendall(b"ping")
    found.shutdown(socket.SHUT_WR)
    try:
        while data := found.recv(99):
            print(data.decode())
    except ConnectionError:
        print("reset")
"""


@pytest.fixture(scope="module")
def running() -> Iterator[Pair]:
    with Pair() as made:
        yield made
        assert made.nacks == []


@pytest.fixture
def pair(running: Pair) -> Iterator[Pair]:
    yield running
    running.apply()


@pytest.mark.parametrize(
    ("url", "service"), [(f"http://{IP}", True), (f"http://{IP}:70", True), (f"http://{POD}:8080", False)]
)
def test_a_request_is_mtls_however_the_server_is_called(pair: Pair, url: str, service: bool) -> None:
    path = f"/mtls-{url.rpartition('.')[2].replace(':', '-')}"
    answer = json.loads(pair.curl("client", url + path))
    assert (answer["name"], answer["client"]) == ("server", "10.130.0.2")
    source, destination = sorted(pair.flows(lambda flow: flow.path == path, 2), key=lambda flow: flow.reporter)[::-1]
    assert (source.reporter, source.mtls, source.destination_principal) == ("source", True, API_ID)
    assert (destination.reporter, destination.mtls, destination.source_principal) == ("destination", True, WEB_ID)
    assert (source.destination_pod, destination.source_pod) == ("api-1", "web-1")
    assert (source.destination_service == "shop/api") is service
    assert {source.verdict, destination.verdict} == {"allowed"}


@pytest.mark.parametrize("ip", [IP, POD])
def test_a_server_that_speaks_first_is_heard(pair: Pair, ip: str) -> None:
    assert pair.run("client", sys.executable, "-c", LISTEN, ip).strip() == "220 server ready"


def test_http2_with_prior_knowledge_is_detected_and_served(pair: Pair) -> None:
    found = pair.curl("client", f"http://{IP}:70/h2", "--http2-prior-knowledge", "-w", " %{http_version}")
    assert found.endswith(" 2")
    [row] = pair.flows(lambda flow: flow.path == "/h2" and flow.reporter == "source", 1)
    assert (row.protocol, row.status) == ("http2", 200)


def test_an_application_reaches_itself_through_its_service(pair: Pair) -> None:
    assert pair.status("server", f"http://{IP}/") == "200"


def test_a_denied_path_is_denied_however_it_is_spelt_and_the_row_names_the_rule(pair: Pair) -> None:
    allow, deny = policy("{rules: [{}]}", name="all"), "{to: [{operation: {paths: ['/secret*']}}]}"
    pair.apply(
        allow,
        policy(f"{{action: DENY, rules: [{{to: [{{operation: {{methods: [PUT]}}}}]}}, {deny}]}}", name="no-secrets"),
    )
    for path in ("/secret", "/x/..//secret", "/%73ecret", "/secret?a=b", "//secret"):
        assert pair.status("client", f"http://{IP}{path}", "--path-as-is") == "403", path
    assert pair.status("client", f"http://{IP}/open") == "200"
    rows = pair.flows(lambda flow: flow.path == "/secret" and flow.reporter == "destination", 5)
    assert {(row.verdict, row.reason, row.policy, row.rule, row.source_principal) for row in rows} == {
        ("denied", "policy_deny", "shop/no-secrets", 1, WEB_ID)
    }
    [row] = pair.flows(lambda flow: flow.path == "/open" and flow.reporter == "destination", 1)
    assert (row.verdict, row.reason, row.policy, row.rule) == ("allowed", "policy_allow", "shop/all", 0)


@pytest.mark.parametrize(
    ("source", "allowed"),
    [
        ("principals: [cluster.local/ns/shop/sa/web]", True),
        ("principals: [cluster.local/ns/shop/sa/else]", False),
        ("notPrincipals: ['*/sa/web']", False),
        ("namespaces: [sh*]", True),
        ("notNamespaces: [shop]", False),
        ("serviceAccounts: [web]", True),
        ("serviceAccounts: [ops/web]", False),
        ("ipBlocks: [10.130.0.0/16]", True),
        ("notIpBlocks: [10.130.0.2]", False),
    ],
)
def test_requests_and_connections_are_allowed_by_who_asks(pair: Pair, source: str, allowed: bool) -> None:
    pair.apply(policy(f"{{rules: [{{from: [{{source: {{{source}}}}}]}}]}}"))
    assert pair.status("client", f"http://{IP}/") == ("200" if allowed else "403")
    # what the client says reaches the application, and comes back, or it does not
    assert ("ping" in pair.run("client", sys.executable, "-c", SPEAK, IP)) is allowed


def test_an_allow_policy_without_rules_lets_nobody_in(pair: Pair) -> None:
    pair.apply(policy("{}"))
    assert pair.status("client", f"http://{IP}/nobody") == "403"
    [row] = pair.flows(lambda flow: flow.path == "/nobody" and flow.reporter == "destination", 1)
    assert (row.verdict, row.reason, row.policy) == ("denied", "no_allow_match", None)


def test_strict_refuses_plaintext_and_permissive_takes_it(pair: Pair) -> None:
    """The proxy's own user is not intercepted, so what it sends is plaintext on the link."""
    plain = ("setpriv", "--reuid=1337", "--", "curl", "-s", "-m", "5", "-w", "%{http_code}", "-o", "/dev/null")
    assert pair.run("client", *plain, f"http://{POD}:8080/") == "200"
    pair.apply(namespace("STRICT"))
    assert pair.run("client", *plain, f"http://{POD}:8080/") == "000"
    assert pair.status("client", f"http://{IP}/") == "200"


def test_routes_do_what_they_say(pair: Pair) -> None:
    def rule(match: str, filters: str = "", backends: str = "backendRefs: [{name: api, port: 80}]") -> str:
        return f"{{matches: [{match}], filters: [{filters}], {backends or 'backendRefs: []'}}}"

    rewrite = "{type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /new}}}"
    redirect = (
        "{type: RequestRedirect, requestRedirect: {scheme: https, hostname: new.example, statusCode: 301, "
        "path: {type: ReplacePrefixMatch, replacePrefixMatch: /fresh}}}"
    )
    modify = (
        "{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: x-a, value: 1%}], "
        "add: [{name: x-b, value: new}], remove: [x-c]}}"
    )
    answer = "{type: ResponseHeaderModifier, responseHeaderModifier: {set: [{name: x-sale, value: 50%}]}}"
    nothing = "backendRefs: [{name: api, port: 80, weight: 0}]"
    rules = [
        rule("{path: {value: /old}}", rewrite),
        rule("{path: {value: /moved}}", redirect, ""),
        rule("{path: {value: /headers}}", f"{modify}, {answer}"),
        rule("{path: {value: /nothing}}", "", nothing),
        rule("{path: {type: Exact, value: /exact}}"),
        rule("{path: {type: RegularExpression, value: '/r[0-9]+'}}"),
        rule("{path: {value: /query}, queryParams: [{name: q, value: '1'}]}"),
        rule("{path: {value: /user}, headers: [{name: X-User, value: ann}]}"),
        rule("{path: {value: /put}, method: PUT}"),
        rule("{path: {value: /slow}}", "", "timeouts: {request: 100ms}, backendRefs: [{name: api, port: 80}]"),
    ]
    pair.apply(route(f"[{', '.join(rules)}]"))
    http = f"http://{IP}"
    statuses = {
        "/exact": "200", "/exact/x": "404", "/r12": "200", "/r1x": "404", "/query?q=1": "200", "/query?q=2": "404",
        "/user": "404", "/put": "404", "/oldest": "404", "/none": "404", "/nothing": "500", "/slow?delay=3000": "504",
    }  # fmt: skip
    assert {path: pair.status("client", http + path) for path in statuses} == statuses
    assert pair.status("client", f"{http}/user", "-H", "x-user: ann") == "200"
    assert pair.status("client", f"{http}/put", "-X", "PUT") == "200"
    seen = {path: json.loads(pair.curl("client", http + path))["path"] for path in ("/old", "/old/", "/old/x?y=z")}
    assert {path: found.partition("?")[0] for path, found in seen.items()} == {
        "/old": "/new", "/old/": "/new/", "/old/x?y=z": "/new/x",
    }  # fmt: skip
    where = pair.curl("client", f"{http}/moved/x", "-o", "/dev/null", "-w", "%{http_code} %{redirect_url}")
    assert where == "301 https://new.example/fresh/x"
    text = pair.curl("client", f"{http}/headers", "-i", "-H", "x-a: 0", "-H", "x-b: old", "-H", "x-c: 3")
    assert "x-sale: 50%" in text
    headers = json.loads(text.rpartition("\n\n")[2])["headers"]
    assert "x-c" not in headers
    assert (headers["x-a"], headers["x-b"]) == ("1%", "new")
