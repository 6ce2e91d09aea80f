"""What the compilers make, read by the real Envoy: one static bootstrap out of a snapshot, validated."""

from __future__ import annotations

import dataclasses
import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format
from google.protobuf.any_pb2 import Any as AnyMessage

from meshlab.compile.xds import bundle_resource, compile_node, compile_pod, svid_resource
from meshlab.compile.xds.snapshot import CLUSTER, ENDPOINTS, LISTENER, ROUTE
from meshlab.dataplanes.envoy.binary import envoy_binary
from meshlab.dataplanes.envoy.bootstrap import bootstrap
from meshlab.identity.authority import Authority
from meshlab.model.snapshot import Resource
from meshlab.model.workloads import Mode
from meshlab.model.world import PodId, World
from tests.compile.test_plan import workload
from tests.compile.test_rbac import CONDITIONS, OPERATIONS, SOURCES, policy
from tests.compile.test_routes import route
from tests.compile.worlds import API, WEB, rich, world


def decoded(resource: Resource) -> dict[str, Any]:
    found = json_format.MessageToDict(AnyMessage.FromString(resource.body), preserving_proto_field_name=True)
    found.pop("@type")
    return dict(found)


def static(value: Any, made: dict[str, dict[str, Any]]) -> Any:
    """What would come over ADS, put in its place: routes, endpoints, the SVID and the bundle."""
    if isinstance(value, list):
        return [static(one, made) for one in value]
    if not isinstance(value, dict):
        return value
    found = {key: static(inner, made) for key, inner in value.items()}
    if "rds" in found:
        found["route_config"] = static(made["routes"][found.pop("rds")["route_config_name"]], made)
    if "eds_cluster_config" in found:
        found["load_assignment"] = made["endpoints"][found.pop("eds_cluster_config")["service_name"]]
        found["type"] = "STATIC"
    if found.pop("tls_certificate_sds_secret_configs", None):
        found["tls_certificates"] = [made["secrets"]["svid"]["tls_certificate"]]
    if "combined_validation_context" in found:
        default = found.pop("combined_validation_context")["default_validation_context"]
        found["validation_context"] = {**default, **made["secrets"]["bundle"]["validation_context"]}
    return found


def validate(made: World, pod: PodId, folder: Path) -> None:
    """AssertionError with Envoy's words if it does not take all of it."""
    take(made, pod, compile_pod(made, pod).resources, folder)


def take(made: World, pod: PodId, resources: Mapping[str, Mapping[str, Resource]], folder: Path) -> None:
    endpoint = made.endpoint(pod)
    assert endpoint is not None
    authority = Authority.load_or_create(folder / "ca", made.trust_domain)
    svid = authority.issue(made.identity(endpoint), 3600)
    secrets = (svid_resource("svid", svid.chain_pem, svid.key_pem), bundle_resource("bundle", authority.bundle_pem))
    dynamic = {
        "routes": {name: decoded(one) for name, one in resources[ROUTE].items()},
        "endpoints": {name: decoded(one) for name, one in resources[ENDPOINTS].items()},
        "secrets": {one.name: decoded(one) for one in secrets},
    }
    config = json.loads(bootstrap("test", "test", str(folder / "ads.sock"), "token"))
    del config["dynamic_resources"]
    clusters = [decoded(one) for one in resources[CLUSTER].values()]
    config["static_resources"]["clusters"] += static(clusters, dynamic)
    listeners = [decoded(one) for one in resources[LISTENER].values()]
    config["static_resources"]["listeners"] = static(listeners, dynamic)
    path = folder / "envoy.json"
    path.write_text(json.dumps(config))
    command = [envoy_binary(), "--mode", "validate", "-c", str(path), "-l", "warning"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


def test_envoy_takes_what_a_node_shares(tmp_path: Path) -> None:
    here = [dataclasses.replace(e, mode=Mode.SIDECARLESS, node="n", netns=f"/x/{e.pod.name}") for e in rich().endpoints]
    made = dataclasses.replace(rich(), endpoints=tuple(here))
    take(made, API, compile_node(made, "n").resources, tmp_path)


@pytest.mark.parametrize("pod", [API, WEB], ids=["api", "web"])
def test_envoy_takes_the_rich_world(pod: PodId, tmp_path: Path) -> None:
    validate(rich(), pod, tmp_path)


def test_envoy_takes_every_field_of_authorization_policies(tmp_path: Path) -> None:
    rules = [f"{{from: [{{source: {{{field}: [{value}]}}}}]}}" for field, value, _ in SOURCES]
    rules += [f"{{to: [{{operation: {{{field}: [{value}]}}}}]}}" for field, value, _ in OPERATIONS]
    rules += [f"{{when: [{{key: '{key}', notValues: ['{value.strip(chr(39))}']}}]}}" for key, value, _, _ in CONDITIONS]
    texts = [
        policy(f"{{action: {action}, rules: [{', '.join(rules)}]}}", name=action.lower())
        for action in ("ALLOW", "DENY")
    ]
    validate(world(*texts, policy("{}", name="none"), workload("UNSET", "{90: {mode: STRICT}}")), API, tmp_path)


def test_envoy_takes_every_field_of_routes(tmp_path: Path) -> None:
    to = "backendRefs: [{name: api, port: 80}]"
    prefix = "path: {type: ReplacePrefixMatch, replacePrefixMatch: /x}"
    full = "path: {type: ReplaceFullPath, replaceFullPath: /x}"
    percent, mirror = "{set: [{name: h, value: '%'}]}", "{backendRef: {name: old, port: 70}, percent: 0}"
    rules = [
        f"{{matches: [{{path: {{type: Exact, value: /e}}}}], {to}}}",
        f"{{matches: [{{path: {{type: RegularExpression, value: '/r.*'}}}}], {to}}}",
        f"{{matches: [{{path: {{value: /w/}}, method: GET, headers: [{{name: a, value: b}}]}}], {to}}}",
        f"{{matches: [{{queryParams: [{{type: RegularExpression, name: q, value: '.+'}}]}}], {to}}}",
        f"{{filters: [{{type: URLRewrite, urlRewrite: {{hostname: h, {full}}}}}], {to}}}",
        f"{{matches: [{{path: {{value: /a}}}}], filters: [{{type: URLRewrite, urlRewrite: {{{prefix}}}}}], {to}}}",
        f"{{matches: [{{path: {{value: /b}}}}], filters: [{{type: RequestRedirect, requestRedirect: {{{prefix}}}}}]}}",
        "{filters: [{type: RequestRedirect, requestRedirect: {scheme: https, hostname: h, port: 1, statusCode: 308}}]}",
        f"{{retry: {{attempts: 0, backoff: 0s}}, timeouts: {{request: 0s}}, {to}}}",
        "{backendRefs: [{name: api, port: 80, weight: 0}]}",
        "{backendRefs: [{name: api, port: 80, weight: 0}, {name: old, port: 70, weight: 1000000}]}",
        f"{{filters: [{{type: ResponseHeaderModifier, responseHeaderModifier: {percent}}}], {to}}}",
        f"{{filters: [{{type: RequestMirror, requestMirror: {mirror}}}], {to}}}",
    ]
    validate(world(route(f"[{', '.join(rules)}]")), WEB, tmp_path)


def test_what_envoy_refuses_is_seen(tmp_path: Path) -> None:
    """The check itself: a program larger than RE2's limit passes the document's door and fails here."""
    made = world(route("[{matches: [{path: {type: RegularExpression, value: '/(a{999}){999}'}}]}]"))
    with pytest.raises(AssertionError, match="repetition size"):
        validate(made, WEB, tmp_path)
