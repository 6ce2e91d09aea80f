"""HTTPRoute to RDS: each feature of a route, and the order in which routes are tried."""

from __future__ import annotations

import re
from typing import Any

import pytest

from meshlab.compile.xds import check, compile_pod
from meshlab.compile.xds.snapshot import ROUTE
from tests.compile.worlds import WEB, message, world

HOST = "api.shop.svc.cluster.local"
ROUTES = f"80|{HOST}"


def route(
    rules: str, *, name: str = "r", parents: str = "[{kind: Service, name: api, port: 80}]", more: str = ""
) -> str:
    meta = f"{{name: {name}, namespace: shop}}"
    spec = f"{{parentRefs: {parents}, rules: {rules}{more}}}"
    return f"apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {meta}\nspec: {spec}"


def compiled(*texts: str, of: str = ROUTES) -> list[dict[str, Any]]:
    """The routes of one Service port; all of the world holds together."""
    snapshot = compile_pod(world(*texts), WEB)
    assert check(snapshot) == ()
    [host] = message(snapshot, ROUTE, of)["virtual_hosts"]
    assert host["domains"] == ["*"]
    return list(host["routes"])


def one(rule: str) -> dict[str, Any]:
    [found] = compiled(route(f"[{rule}]"))
    assert found["name"] == "shop/r#0"
    return found


@pytest.mark.parametrize(
    ("match", "wanted"),
    [
        ("{}", {"prefix": "/"}),
        ("{path: {value: /a}}", {"path_separated_prefix": "/a"}),
        ("{path: {value: /a/}}", {"path_separated_prefix": "/a"}),
        ("{path: {type: Exact, value: /a}}", {"path": "/a"}),
        ("{path: {type: RegularExpression, value: '/a.*'}}", {"safe_regex": {"regex": "/a.*"}}),
        ("{method: PUT}", {"prefix": "/", "headers": [{"name": ":method", "string_match": {"exact": "PUT"}}]}),
        (
            "{headers: [{name: X-User, value: ann}, {type: RegularExpression, name: v, value: 'a|b'}]}",
            {
                "prefix": "/",
                "headers": [
                    {"name": "X-User", "string_match": {"exact": "ann"}},
                    {"name": "v", "string_match": {"safe_regex": {"regex": "a|b"}}},
                ],
            },
        ),
        (
            "{queryParams: [{name: q, value: '1'}, {type: RegularExpression, name: p, value: '[0-9]'}]}",
            {
                "prefix": "/",
                "query_parameters": [
                    {"name": "q", "string_match": {"exact": "1"}},
                    {"name": "p", "string_match": {"safe_regex": {"regex": "[0-9]"}}},
                ],
            },
        ),
    ],
)
def test_each_kind_of_match(match: str, wanted: dict[str, Any]) -> None:
    assert one(f"{{matches: [{match}], backendRefs: [{{name: api, port: 80}}]}}")["match"] == wanted


def test_matches_of_a_rule_are_alternatives() -> None:
    found = compiled(route("[{matches: [{path: {value: /a}}, {method: GET}], backendRefs: [{name: api, port: 80}]}]"))
    assert [r["match"].get("path_separated_prefix", "-") for r in found] == ["/a", "-"]
    assert found[0]["route"] == found[1]["route"]


def test_weights_split_and_a_weight_of_zero_gets_nothing() -> None:
    backends = "{name: api, port: 80, weight: 9}, {name: old, port: 70}, {name: peers, port: 7000, weight: 0}"
    clusters = one(f"{{backendRefs: [{backends}]}}")["route"]["weighted_clusters"]["clusters"]
    assert [(c["name"], c["weight"]) for c in clusters] == [
        (f"outbound|80||{HOST}", 9),
        ("outbound|70||old.shop.svc.cluster.local", 1),
    ]


def test_weights_that_are_all_zero_answer_500() -> None:
    found = one("{backendRefs: [{name: api, port: 80, weight: 0}, {name: old, port: 70, weight: 0}]}")
    assert found["direct_response"] == {"status": 500}


def test_a_backend_that_is_not_there_answers_500() -> None:
    assert one("{backendRefs: [{name: nobody, port: 80}]}")["direct_response"] == {"status": 500}


def test_a_rule_without_backends_goes_to_the_service_itself() -> None:
    assert one("{}")["route"]["cluster"] == f"outbound|80||{HOST}"


def test_header_modifiers_of_requests_responses_and_single_backends() -> None:
    def modify(kind: str) -> str:
        field = kind[0].lower() + kind[1:]
        return (
            f"{{type: {kind}, {field}: {{set: [{{name: s, value: 50%}}], add: [{{name: a, value: b}}], remove: [r]}}}}"
        )

    filters = f"[{modify('RequestHeaderModifier')}, {modify('ResponseHeaderModifier')}]"
    found = one(f"{{filters: {filters}, backendRefs: [{{name: api, port: 80, filters: {filters}}}]}}")
    [cluster] = found["route"]["weighted_clusters"]["clusters"]
    added = [
        {
            "header": {"key": "s", "value": "50%%"},
            "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
            "keep_empty_value": True,
        },
        {"header": {"key": "a", "value": "b"}, "keep_empty_value": True},
    ]
    for where in (found, cluster):
        for kind in ("request", "response"):
            assert where[f"{kind}_headers_to_add"] == added
            assert where[f"{kind}_headers_to_remove"] == ["r"]


@pytest.mark.parametrize(
    ("redirect", "wanted"),
    [
        ("{}", {"response_code": "FOUND"}),
        ("{scheme: https, statusCode: 301}", {"scheme_redirect": "https"}),
        ("{hostname: h, port: 8443, statusCode: 308}", {"host_redirect": "h", "port_redirect": 8443,
                                                         "response_code": "PERMANENT_REDIRECT"}),
        ("{statusCode: 303, path: {type: ReplaceFullPath, replaceFullPath: /x}}",
         {"response_code": "SEE_OTHER", "path_redirect": "/x"}),
        ("{statusCode: 307, path: {type: ReplacePrefixMatch, replacePrefixMatch: /x}}",
         {"response_code": "TEMPORARY_REDIRECT",
          "regex_rewrite": {"pattern": {"regex": "^/a(/?)/*"}, "substitution": r"/x\1"}}),
    ],
)  # fmt: skip
def test_each_field_of_a_redirect(redirect: str, wanted: dict[str, Any]) -> None:
    matches = "[{path: {value: /a}}]"
    found = one(f"{{matches: {matches}, filters: [{{type: RequestRedirect, requestRedirect: {redirect}}}]}}")
    assert found["redirect"] == wanted
    assert "route" not in found


def test_a_rewrite_of_host_and_whole_path() -> None:
    rewrite = "{hostname: h.example, path: {type: ReplaceFullPath, replaceFullPath: /new}}"
    action = one(f"{{filters: [{{type: URLRewrite, urlRewrite: {rewrite}}}], backendRefs: [{{name: api, port: 80}}]}}")
    assert action["route"]["host_rewrite_literal"] == "h.example"
    assert action["route"]["regex_rewrite"] == {"pattern": {"regex": "^[^?]*"}, "substitution": "/new"}


def test_mirrors_take_their_share() -> None:
    def mirror(percent: str) -> str:
        return f"{{type: RequestMirror, requestMirror: {{backendRef: {{name: old, port: 70}}{percent}}}}}"

    found = one(f"{{filters: [{mirror('')}, {mirror(', percent: 1')}], backendRefs: [{{name: api, port: 80}}]}}")
    shares = [(m["cluster"], m["runtime_fraction"]["default_value"]) for m in found["route"]["request_mirror_policies"]]
    old = "outbound|70||old.shop.svc.cluster.local"
    assert shares == [
        (old, {"numerator": 1_000_000, "denominator": "MILLION"}),
        (old, {"numerator": 10_000, "denominator": "MILLION"}),
    ]


def test_timeouts_and_retries() -> None:
    timeouts = "timeouts: {request: 1m, backendRequest: 1500ms}"
    found = one(f"{{{timeouts}, retry: {{attempts: 4, codes: [502, 503], backoff: 100ms}}}}")["route"]
    assert found["timeout"] == "60s"
    retry = found["retry_policy"]
    assert (retry["num_retries"], retry["per_try_timeout"]) == (4, "1.500s")
    assert retry["retry_on"].endswith(",retriable-status-codes")
    assert retry["retriable_status_codes"] == [502, 503]
    assert retry["retry_back_off"] == {"base_interval": "0.100s"}


def test_without_timeouts_there_is_no_limit_and_two_safe_retries() -> None:
    found = one("{}")["route"]
    assert found["timeout"] == "0s"
    assert found["retry_policy"]["num_retries"] == 2
    assert "5xx" not in found["retry_policy"]["retry_on"]


def test_a_service_without_routes_goes_to_itself() -> None:
    [found] = compiled()
    assert (found["name"], found["match"], found["route"]["cluster"]) == (
        "default",
        {"prefix": "/"},
        f"outbound|80||{HOST}",
    )


def test_several_parents_each_get_the_rules() -> None:
    parents = "[{kind: Service, name: api, port: 80}, {kind: Service, name: old}]"
    text = route("[{backendRefs: [{name: old, port: 70}]}]", parents=parents)
    assert compiled(text) == compiled(text, of="70|old.shop.svc.cluster.local")


@pytest.mark.parametrize(
    ("parent", "ports"),
    [
        ("", {"80", "70|h1", "70|h2"}),
        (", port: 80", {"80"}),
        (", sectionName: http", {"80"}),
        (", sectionName: any", {"70|h1", "70|h2"}),
        (", port: 80, sectionName: any", set()),
    ],
)
def test_port_and_section_name_choose_the_ports_of_the_parent(parent: str, ports: set[str]) -> None:
    text = route("[{}]", parents=f"[{{kind: Service, name: api{parent}}}]")
    names = {"80": ROUTES, "70|h1": f"70|{HOST}|h1", "70|h2": f"70|{HOST}|h2"}
    assert {key for key, name in names.items() if compiled(text, of=name)[0]["name"] == "shop/r#0"} == ports


def test_hostnames_have_no_effect_with_a_service_as_parent() -> None:
    assert compiled(route("[{}]", more=", hostnames: [else.example]")) == compiled(route("[{}]"))


def test_an_undeclared_port_routes_to_the_variant_that_was_spoken() -> None:
    parents = "[{kind: Service, name: api, port: 70}]"
    text = route("[{backendRefs: [{name: api, port: 70}]}]", parents=parents)
    for variant in ("h1", "h2"):
        [found] = compiled(text, of=f"70|{HOST}|{variant}")
        [cluster] = found["route"]["weighted_clusters"]["clusters"]
        assert cluster["name"] == f"outbound|70|{variant}|{HOST}"


def test_precedence_is_the_gateway_apis() -> None:
    """Exact path, longest prefix, method, most headers, most query parameters; then the order of the rules."""
    matches = [
        "{}",
        "{path: {value: /a}}",
        "{path: {value: /a/b}}",
        "{path: {value: /a}, headers: [{name: h, value: v}]}",
        "{path: {value: /a}, headers: [{name: h, value: v}, {name: i, value: v}]}",
        "{path: {value: /a}, queryParams: [{name: q, value: v}]}",
        "{path: {value: /a}, method: GET}",
        "{path: {type: Exact, value: /}}",
        "{path: {value: /a}}",
    ]
    rules = ", ".join(f"{{matches: [{match}]}}" for match in matches)
    order = [int(found["name"].rpartition("#")[2]) for found in compiled(route(f"[{rules}]"))]
    assert order == [7, 2, 6, 4, 3, 5, 1, 8, 0]


def test_of_equal_matches_the_older_route_wins_and_then_the_first_by_name() -> None:
    def created(name: str, when: str) -> str:
        text = route("[{}]", name=name)
        return text.replace("namespace: shop}", f"namespace: shop{when}}}", 1)

    texts = [
        created("a", ", creationTimestamp: 300.0"),
        created("c", ", creationTimestamp: 100.0"),
        created("b", ", creationTimestamp: 100.0"),
    ]
    assert [found["name"] for found in compiled(*texts)] == ["shop/b#0", "shop/c#0", "shop/a#0"]


@pytest.mark.parametrize(
    ("path", "prefix", "by", "wanted"),
    [
        ("/foo/bar", "/foo", "/xyz", "/xyz/bar"),
        ("/foo/bar", "/foo", "/xyz/", "/xyz/bar"),
        ("/foo/bar", "/foo/", "/xyz", "/xyz/bar"),
        ("/foo/bar", "/foo/", "/xyz/", "/xyz/bar"),
        ("/foo", "/foo", "/xyz", "/xyz"),
        ("/foo/", "/foo", "/xyz", "/xyz/"),
        ("/foo/bar", "/foo", "", "/bar"),
        ("/foo/", "/foo", "", "/"),
        ("/foo", "/foo", "", "/"),
        ("/foo/", "/foo", "/", "/"),
        ("/foo", "/foo", "/", "/"),
        ("/bar", "/", "/xyz", "/xyz/bar"),
        ("/a.b/c", "/a.b", r"/x\1", r"/x\1/c"),
    ],
)
def test_a_prefix_is_replaced_as_in_the_gateway_apis_table(path: str, prefix: str, by: str, wanted: str) -> None:
    rewrite = f"{{type: URLRewrite, urlRewrite: {{path: {{type: ReplacePrefixMatch, replacePrefixMatch: '{by}'}}}}}}"
    found = one(f"{{matches: [{{path: {{value: {prefix}}}}}], filters: [{rewrite}]}}")["route"]["regex_rewrite"]
    # RE2's meaning of these patterns and substitutions is Python's
    assert re.sub(found["pattern"]["regex"], found["substitution"], path) == wanted
