"""One real Envoy on loopback that plays both sidecars of a call, and the collector that its access logs go to.

`127.0.0.1` (outbound) -> mTLS -> `127.0.0.2` (inbound, RBAC) -> `127.0.0.3` (application, answers itself). The names of
clusters, routes, logs and tags are those of the sidecar plane.
"""

from __future__ import annotations

import datetime
import shutil
import socket
import subprocess
import sys
import time
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from envoy.service.accesslog.v3 import als_pb2, als_pb2_grpc

HOST = "ratings.shop.svc.cluster.local"
TAGS = {
    "upstream_san": "%UPSTREAM_PEER_URI_SAN%",
    "upstream_tls": "%UPSTREAM_TLS_VERSION%",
    "peer_san": "%DOWNSTREAM_PEER_URI_SAN%",
}


class Collector(als_pb2_grpc.AccessLogServiceServicer):  # type: ignore[misc]
    """Keeps each message of each stream as bytes, with the stream's identifier put in front (only the first has it)."""

    def __init__(self) -> None:
        self.payloads: list[bytes] = []
        pool = futures.ThreadPoolExecutor(8)
        self._server = grpc.server(pool)
        als_pb2_grpc.add_AccessLogServiceServicer_to_server(self, self._server)
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()

    def StreamAccessLogs(self, request_iterator: Any, context: Any) -> Any:  # noqa: N802, ARG002
        prefix = b""
        for message in request_iterator:
            if message.HasField("identifier"):
                prefix = als_pb2.StreamAccessLogsMessage(identifier=message.identifier).SerializeToString()
                message.ClearField("identifier")
            self.payloads.append(prefix + message.SerializeToString())
        return als_pb2.StreamAccessLogsResponse()

    def stop(self) -> None:
        self._server.stop(0).wait()


def free_port(address: str) -> int:
    with socket.socket() as probe:
        probe.bind((address, 0))
        port: int = probe.getsockname()[1]
        return port


class Envoy:
    """`http`, `tcp`: ports of the outbound listeners on 127.0.0.1; `plain`: inbound without TLS on 127.0.0.2."""

    def __init__(self, folder: Path, collector_port: int) -> None:
        self.http, self.tcp, self.gone = (free_port("127.0.0.1") for _ in range(3))
        self.inbound_http, self.inbound_tcp, self.plain = (free_port("127.0.0.2") for _ in range(3))
        self.app = free_port("127.0.0.3")
        self._silent = socket.create_server(("127.0.0.4", 0))  # takes connections and never says a word
        self.admin = free_port("127.0.0.1")
        config = folder / "envoy.yaml"
        config.write_text(yaml.safe_dump(self._config(_certificates(folder), collector_port)))
        beside = Path(sys.executable).with_name("envoy")
        binary = str(beside) if beside.exists() else str(shutil.which("envoy"))
        self._log = (folder / "envoy.log").open("wb")
        self._process = subprocess.Popen(
            [binary, "-c", str(config), "--concurrency", "1", "--disable-hot-restart", "-l", "warning"],
            stdout=self._log,
            stderr=self._log,
        )
        self._await_listening(folder)

    def _await_listening(self, folder: Path) -> None:
        for _ in range(400):
            if self._process.poll() is not None:
                raise RuntimeError((folder / "envoy.log").read_text()[-2000:])
            try:
                socket.create_connection(("127.0.0.1", self.http), 1).close()
                return
            except OSError:
                time.sleep(0.05)
        raise RuntimeError("Envoy did not listen")

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(20)
        self._log.close()
        self._silent.close()

    def _config(self, tls: dict[str, Any], collector: int) -> dict[str, Any]:
        def endpoint(name: str, address: str, port: int, **more: Any) -> dict[str, Any]:
            where = {"address": {"socket_address": {"address": address, "port_value": port}}}
            load = {"cluster_name": name, "endpoints": [{"lb_endpoints": [{"endpoint": where}]}]}
            return {"name": name, "type": "STATIC", "connect_timeout": "1s", "load_assignment": load, **more}

        clusters = [
            endpoint(f"outbound|80||{HOST}", "127.0.0.2", self.inbound_http, transport_socket=tls["client"]),
            endpoint(f"outbound|90||{HOST}", "127.0.0.2", self.inbound_tcp, transport_socket=tls["client"]),
            endpoint(f"outbound|91||{HOST}", "127.0.0.2", self.gone),
            endpoint(f"outbound|92||{HOST}", "127.0.0.4", self._silent.getsockname()[1]),
            endpoint("inbound|8080||", "127.0.0.3", self.app),
            endpoint("als", "127.0.0.1", collector, typed_extension_protocol_options=_h2()),
        ]
        listeners = [
            _listener("outbound", "127.0.0.1", self.http, [_hcm("outbound-http", _outbound_routes())]),
            _listener("outbound-tcp", "127.0.0.1", self.tcp, [_tcp("outbound-tcp", f"outbound|90||{HOST}")]),
            _listener(
                "inbound", "127.0.0.2", self.inbound_http, [_hcm("inbound-http", _inbound_routes(), rbac=True)], tls
            ),
            _listener(
                "inbound-tcp", "127.0.0.2", self.inbound_tcp, [_rbac("network"), _tcp("inbound-tcp", "inbound|8080||")],
                tls,
            ),
            _listener("plain", "127.0.0.2", self.plain, [_rbac("network"), _tcp("inbound-tcp", "inbound|8080||")]),
            _listener("app", "127.0.0.3", self.app, [_hcm("", _app_routes())]),
        ]  # fmt: skip
        admin = {"address": {"socket_address": {"address": "127.0.0.1", "port_value": self.admin}}}
        return {
            "admin": admin,
            "node": {"id": "sidecar~127.0.0.1~web-1.shop~shop", "cluster": "web.shop"},
            "static_resources": {"listeners": listeners, "clusters": clusters},
        }


def _typed(name: str, **fields: Any) -> dict[str, Any]:
    return {"@type": f"type.googleapis.com/{name}", **fields}


def _h2() -> dict[str, Any]:
    options = _typed(
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions", explicit_http_config={"http2_protocol_options": {}}
    )
    return {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options}


def _als(log: str, kind: str) -> dict[str, Any]:
    tags = [{"tag": tag, "value": value} for tag, value in TAGS.items()]
    common = {
        "log_name": log,
        "transport_api_version": "V3",
        "buffer_flush_interval": "0.1s",
        "grpc_service": {"envoy_grpc": {"cluster_name": "als"}},
        "custom_tags": tags,
    }
    more = {"additional_request_headers_to_log": ["traceparent", "content-type"]} if kind == "Http" else {}
    if kind == "Http":
        more["additional_response_trailers_to_log"] = ["grpc-status"]
        more["additional_response_headers_to_log"] = ["grpc-status"]
    name = f"envoy.extensions.access_loggers.grpc.v3.{kind}GrpcAccessLogConfig"
    return {"name": log, "typed_config": _typed(name, common_config=common, **more)}


def _listener(
    name: str, address: str, port: int, filters: list[dict[str, Any]], tls: dict[str, Any] | None = None
) -> dict[str, Any]:
    chain = {"filters": filters} | ({"transport_socket": tls["server"]} if tls else {})
    where = {"socket_address": {"address": address, "port_value": port}}
    return {"name": name, "address": where, "filter_chains": [chain]}


def _hcm(log: str, routes: list[dict[str, Any]], *, rbac: bool = False) -> dict[str, Any]:
    router = {"name": "router", "typed_config": _typed("envoy.extensions.filters.http.router.v3.Router")}
    fields: dict[str, Any] = {
        "stat_prefix": log or "app",
        "http_filters": [*([_rbac("http")] if rbac else []), router],
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]},
    }
    if log:
        fields["access_log"] = [_als(log, "Http")]
    name = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
    return {"name": "hcm", "typed_config": _typed(name, **fields)}


def _tcp(log: str, cluster: str) -> dict[str, Any]:
    name = "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"
    fields = {"stat_prefix": log, "cluster": cluster, "access_log": [_als(log, "Tcp")]}
    return {"name": "tcp", "typed_config": _typed(name, **fields)}


def _rbac(kind: str) -> dict[str, Any]:
    """HTTP: DENY of /secret. Network: DENY of plaintext (the inbound listener that has no TLS)."""
    path = {"url_path": {"path": {"prefix": "/secret"}}} if kind == "http" else {"any": True}
    plain = {"source_ip": {"address_prefix": "127.0.0.9", "prefix_len": 32}}
    who = {"any": True} if kind == "http" else plain
    policies = {"ns[shop]-policy[no-secrets]-rule[1]": {"permissions": [path], "principals": [who]}}
    name = f"envoy.extensions.filters.{kind}.rbac.v3.RBAC"
    more = {"stat_prefix": "r"} if kind == "network" else {}
    return {"name": "rbac", "typed_config": _typed(name, rules={"action": "DENY", "policies": policies}, **more)}


def _outbound_routes() -> list[dict[str, Any]]:
    retry = {"retry_on": "connect-failure,reset", "num_retries": 2}
    return [
        {
            "name": "default",
            "match": {"prefix": "/gone"},
            "route": {"cluster": f"outbound|91||{HOST}", "retry_policy": retry},
        },
        {"match": {"prefix": "/silent"}, "route": {"cluster": f"outbound|92||{HOST}"}},
        {"match": {"prefix": "/late"}, "route": {"cluster": f"outbound|92||{HOST}", "timeout": "0.1s"}},
        {"name": "shop/split#0", "match": {"prefix": "/"}, "route": {"cluster": f"outbound|80||{HOST}"}},
    ]


def _inbound_routes() -> list[dict[str, Any]]:
    return [{"name": "default", "match": {"prefix": "/"}, "route": {"cluster": "inbound|8080||"}}]


def _app_routes() -> list[dict[str, Any]]:
    def answer(path: str, status: int) -> dict[str, Any]:
        return {"match": {"prefix": path}, "direct_response": {"status": status, "body": {"inline_string": "hello"}}}

    return [answer("/broken", 503), answer("/", 200)]


def _certificates(folder: Path) -> dict[str, Any]:
    """A CA, an SVID for each end, and the TLS contexts of both."""
    ca_key = ec.generate_private_key(ec.SECP256R1())
    ca = _certificate("ca", ca_key, ca_key, "", ca=True)
    (folder / "ca.pem").write_bytes(ca.public_bytes(serialization.Encoding.PEM))
    contexts = {}
    for side, context in (("client", "Upstream"), ("server", "Downstream")):
        key = ec.generate_private_key(ec.SECP256R1())
        account = {"client": "web", "server": "ratings"}[side]
        svid = _certificate("ca", key, ca_key, f"spiffe://cluster.local/ns/shop/sa/{account}", ca=False)
        (folder / f"{side}.pem").write_bytes(svid.public_bytes(serialization.Encoding.PEM))
        pem = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        (folder / f"{side}.key").write_bytes(key.private_bytes(*pem))
        common = {
            "tls_params": {"tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_3"},
            "tls_certificates": [{"certificate_chain": {"filename": str(folder / f"{side}.pem")},
                                  "private_key": {"filename": str(folder / f"{side}.key")}}],
            "validation_context": {"trusted_ca": {"filename": str(folder / "ca.pem")}},
        }  # fmt: skip
        more = {"require_client_certificate": True} if side == "server" else {}
        name = f"envoy.extensions.transport_sockets.tls.v3.{context}TlsContext"
        contexts[side] = {"name": "tls", "typed_config": _typed(name, common_tls_context=common, **more)}
    return contexts


def _certificate(issuer: str, key: Any, signer: Any, uri: str, *, ca: bool) -> x509.Certificate:
    now = datetime.datetime.now(datetime.UTC)
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, issuer if ca else "leaf")])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    )
    if uri:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri)]), True)
    return builder.sign(signer, hashes.SHA256())
