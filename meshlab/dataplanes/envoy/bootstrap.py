"""Envoy's bootstrap: who it is, and the one socket from which everything else comes. Pure."""

from __future__ import annotations

import json
from typing import Any

from meshlab.model.wire import ADMIN_PORT

_HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


def bootstrap(node_id: str, cluster: str, ads_socket: str, token: str) -> str:
    """JSON for `envoy -c`: delta ADS over a Unix socket, proven by a bound token; admin on loopback only."""
    grpc = {"envoy_grpc": {"cluster_name": "ads"}}
    config: dict[str, Any] = {
        "node": {"id": node_id, "cluster": cluster},
        "admin": {"address": _address("127.0.0.1", ADMIN_PORT)},
        "dynamic_resources": {
            "ads_config": {"api_type": "DELTA_GRPC", "transport_api_version": "V3", "grpc_services": [grpc]},
            "lds_config": {"ads": {}, "resource_api_version": "V3"},
            "cds_config": {"ads": {}, "resource_api_version": "V3"},
        },
        "static_resources": {
            "clusters": [
                control_plane_cluster(ads_socket, token),
                _cluster("admin", _address("127.0.0.1", ADMIN_PORT)),
            ]
        },
        "stats_config": {"stats_matcher": {"exclusion_list": {"patterns": [{"prefix": "cluster.inbound"}]}}},
        "layered_runtime": {"layers": [{"name": "static", "static_layer": {"re2.max_program_size.error_level": 1024}}]},
    }
    return json.dumps(config, indent=1)


def _address(ip: str, port: int) -> dict[str, Any]:
    return {"socket_address": {"address": ip, "port_value": port}}


def _cluster(name: str, address: dict[str, Any]) -> dict[str, Any]:
    host = {"endpoint": {"address": address}}
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "2s",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [host]}]},
    }


def control_plane_cluster(ads_socket: str, token: str) -> dict[str, Any]:
    """The cluster `ads`. The token goes with every stream to the control plane: configuration and access logs alike."""
    header = {"key": "authorization", "value": f"Bearer {token}"}
    mutation = {"append": {"header": header, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}}
    keepalive = {"interval": "30s", "timeout": "10s"}
    options = {
        "@type": f"type.googleapis.com/{_HTTP_OPTIONS}",
        "explicit_http_config": {"http2_protocol_options": {"connection_keepalive": keepalive}},
        "http_filters": [
            _filter("header_mutation", "HeaderMutation", mutations={"request_mutations": [mutation]}),
            _filter("upstream_codec", "UpstreamCodec"),
        ],
    }
    cluster = _cluster("ads", {"pipe": {"path": ads_socket}})
    return {**cluster, "typed_extension_protocol_options": {_HTTP_OPTIONS: options}}


def _filter(name: str, kind: str, **config: Any) -> dict[str, Any]:
    url = f"type.googleapis.com/envoy.extensions.filters.http.{name}.v3.{kind}"
    return {"name": f"envoy.filters.http.{name}", "typed_config": {"@type": url, **config}}
