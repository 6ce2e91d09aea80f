"""The file that one Envoy starts from: who it is, where its configuration comes from, nothing else."""

from __future__ import annotations

import json
from typing import Any

from meshlab.model.world import Endpoint

ADMIN_PORT = 15000
_H2 = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


def node_id(endpoint: Endpoint) -> str:
    """`sidecar~<pod ip>~<pod>.<namespace>~<namespace>`, Istio's form."""
    namespace = endpoint.pod.namespace
    return f"sidecar~{endpoint.ip}~{endpoint.pod.name}.{namespace}~{namespace}"


def bootstrap(endpoint: Endpoint, ads_socket: str, token: str) -> str:
    """JSON of `envoy.config.bootstrap.v3.Bootstrap`. `token` proves to the control plane which pod this is."""
    return json.dumps(_document(endpoint, ads_socket, token), indent=1)


def _document(endpoint: Endpoint, ads_socket: str, token: str) -> dict[str, Any]:
    metadata = [{"key": "authorization", "value": f"Bearer {token}"}]
    services = [{"envoy_grpc": {"cluster_name": "ads"}, "initial_metadata": metadata}]
    source = {"ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": "0s"}
    return {
        "node": {
            "id": node_id(endpoint),
            "cluster": f"{endpoint.workload}.{endpoint.pod.namespace}",
            "locality": {"zone": endpoint.node},
        },
        "admin": {"address": _tcp(ADMIN_PORT)},
        "dynamic_resources": {
            "lds_config": source,
            "cds_config": source,
            "ads_config": {
                "api_type": "DELTA_GRPC",
                "transport_api_version": "V3",
                "grpc_services": services,
                "set_node_on_first_message_only": True,
            },
        },
        "static_resources": {"clusters": [_ads(ads_socket), _admin()]},
        "stats_config": {
            "stats_matcher": {"exclusion_list": {"patterns": [{"contains": ".circuit_breakers."}]}},
        },
        "deferred_stat_options": {"enable_deferred_creation_stats": True},
    }


def _tcp(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def _static(name: str, address: dict[str, Any]) -> dict[str, Any]:
    member = {"endpoint": {"address": address}}
    load = {"cluster_name": name, "endpoints": [{"lb_endpoints": [member]}]}
    return {"name": name, "type": "STATIC", "connect_timeout": "1s", "load_assignment": load}


def _ads(path: str) -> dict[str, Any]:
    """gRPC to the control plane over its socket; a dead one is noticed within seconds and dialled again."""
    options = {
        "@type": f"type.googleapis.com/{_H2}",
        "explicit_http_config": {
            "http2_protocol_options": {"connection_keepalive": {"interval": "10s", "timeout": "5s"}}
        },
    }
    return {**_static("ads", {"pipe": {"path": path}}), "typed_extension_protocol_options": {_H2: options}}


def _admin() -> dict[str, Any]:
    return _static("admin", _tcp(ADMIN_PORT))
