"""LDS: readiness (15021) and statistics (15090). Both come by xDS, so that they answer only once the rest is there."""

from __future__ import annotations

from typing import Any

from envoy.config.listener.v3 import listener_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as hcm

from meshlab.compile.xds import http, names
from meshlab.compile.xds.resources import address, resource
from meshlab.model.snapshot import Resource


def listeners() -> list[Resource]:
    """Envoy opens its first listeners together, when the routes and secrets of all of them have arrived."""
    alive = {"match": {"path": names.HEALTH_PATH}, "direct_response": {"status": 200}}
    stats = {"match": {"path": "/stats/prometheus"}, "route": {"cluster": names.ADMIN_CLUSTER}}
    return [_listener("health", names.HEALTH_PORT, alive), _listener("prometheus", names.STATS_PORT, stats)]


def _listener(name: str, port: int, route: dict[str, Any]) -> Resource:
    manager = hcm.HttpConnectionManager(
        stat_prefix=name,
        route_config={"name": name, "virtual_hosts": [{"name": name, "domains": ["*"], "routes": [route]}]},
        http_filters=[http.router()],
    )
    chain = http.chain(name, [http.network_filter("envoy.filters.network.http_connection_manager", manager)])
    return resource(name, listener_pb2.Listener(name=name, address=address("0.0.0.0", port), filter_chains=[chain]))
