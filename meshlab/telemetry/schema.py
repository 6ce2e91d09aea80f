"""The columns of every frame: name, dtype, unit, meaning, and OpenTelemetry's name where it has one.

One row of `FLOWS` is one request or one connection as one observer saw it: a call between two sidecars gives a row of
the source's proxy and one of the destination's. Missing values are `<NA>`, never "" or 0. Times are UTC, nanoseconds.
OpenTelemetry names: semantic conventions 1.27 and later (`http.*`, `url.*`, `network.*`, `source.*`, `k8s.*`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

TEXT = "string"
INTEGER = "Int64"
REAL = "Float64"
TRUTH = "boolean"
TIME = "datetime64[ns, UTC]"


@dataclass(frozen=True, slots=True)
class Column:
    """`dtype` as pandas names it; `unit` "" where there is none; `otel` "" where OpenTelemetry has no name."""

    name: str
    dtype: str
    unit: str
    meaning: str
    otel: str = ""


FLOWS: tuple[Column, ...] = (
    Column("time", TIME, "ns since 1970", "when it began, by the observer's clock", "timeUnixNano"),
    Column("kind", TEXT, "", "request or connection"),
    Column("count", INTEGER, "1", "how many requests or connections this row stands for; 1 unless aggregated"),
    Column("plane", TEXT, "", "data plane of the reporter: sidecar, sidecarless or none"),
    Column("observer", TEXT, "", "who saw it: ebpf, envoy or client"),
    Column("reporter", TEXT, "", "the end at which it was seen: source or destination"),
    Column("node", TEXT, "", "node of the reporter", "k8s.node.name"),
    Column("source_namespace", TEXT, "", "namespace of the caller", "k8s.namespace.name"),
    Column("source_workload", TEXT, "", "Deployment (or bare pod) of the caller", "k8s.deployment.name"),
    Column("source_pod", TEXT, "", "pod of the caller", "k8s.pod.name"),
    Column("source_principal", TEXT, "", "identity that the caller's certificate proved, without spiffe://"),
    Column("source_ip", TEXT, "", "address of the caller", "source.address"),
    Column("source_port", INTEGER, "", "port of the caller", "source.port"),
    Column("destination_namespace", TEXT, "", "namespace of what was called", "k8s.namespace.name"),
    Column("destination_service", TEXT, "", "Service that was called, <service>.<namespace>", "k8s.service.name"),
    Column("destination_workload", TEXT, "", "Deployment (or bare pod) that served", "k8s.deployment.name"),
    Column("destination_pod", TEXT, "", "pod that served", "k8s.pod.name"),
    Column("destination_principal", TEXT, "", "identity that the server's certificate proved, without spiffe://"),
    Column("destination_ip", TEXT, "", "address of the pod that served; of what was dialled if none did",
           "destination.address"),
    Column("destination_port", INTEGER, "", "port of the pod that served", "destination.port"),
    Column("protocol", TEXT, "", "tcp, http1, http2, grpc or dns", "network.protocol.name"),
    Column("method", TEXT, "", "HTTP method", "http.request.method"),
    Column("path", TEXT, "", "path and query as the caller sent them", "url.path"),
    Column("path_template", TEXT, "", "path with its variable parts named, where known", "url.template"),
    Column("authority", TEXT, "", "host asked for", "server.address"),
    Column("status", INTEGER, "", "HTTP status; NA if none was sent", "http.response.status_code"),
    Column("grpc_status", INTEGER, "", "gRPC status code", "rpc.grpc.status_code"),
    Column("verdict", TEXT, "", "allowed, denied or failed (meshlab.model.outcomes.Verdict)"),
    Column("reason", TEXT, "", "why, of the closed vocabulary meshlab.model.outcomes.Reason", "error.type"),
    Column("policy", TEXT, "", "policy that decided, <namespace>/<name>"),
    Column("rule", INTEGER, "", "index of the rule of that policy, from 0"),
    Column("route", TEXT, "", "route that was taken, <namespace>/<HTTPRoute>#<rule>, or default", "http.route"),
    Column("mtls", TRUTH, "", "both ends proved who they are by TLS"),
    Column("tls_group", TEXT, "", "key agreement group of the TLS connection", "tls.curve"),
    Column("latency_ms", REAL, "ms", "from the first byte of the request to the last of the answer, at the observer",
           "http.server.request.duration"),
    Column("setup_ms", REAL, "ms", "from having the request to its first byte upstream: filters, connection, TLS"),
    Column("duration_ms", REAL, "ms", "how long the request or connection lasted"),
    Column("request_bytes", INTEGER, "By", "body sent by the caller (tcp: all bytes)", "http.request.body.size"),
    Column("response_bytes", INTEGER, "By", "body sent by the server (tcp: all bytes)", "http.response.body.size"),
    Column("retries", INTEGER, "1", "attempts after the first", "http.request.resend_count"),
    Column("retransmits", INTEGER, "1", "TCP segments sent again"),
    Column("rtt_ms", REAL, "ms", "smoothed TCP round trip time"),
    Column("closed_by", TEXT, "", "who ended it early or last, where known: source, destination or mesh"),
    Column("trace_id", TEXT, "", "W3C trace id, 32 hex digits", "traceId"),
    Column("config_version", TEXT, "", "version of the configuration that the reporter had acknowledged then"),
)  # fmt: skip

EDGES: tuple[Column, ...] = (
    Column("source_namespace", TEXT, "", "namespace of the caller; NA outside the mesh"),
    Column("source_workload", TEXT, "", "workload of the caller"),
    Column("destination_namespace", TEXT, "", "namespace of what was called"),
    Column("destination_workload", TEXT, "", "workload that served, or the Service where none did"),
    Column("protocol", TEXT, "", "tcp, http1, http2 or grpc"),
    Column("requests", INTEGER, "1", "requests (tcp: connections)"),
    Column("rate", REAL, "1/s", "requests over the time from the first to the last flow of the whole frame"),
    Column("errors", INTEGER, "1", "failed, or answered with 5xx or a gRPC status that is not 0; not the denied"),
    Column("error_share", REAL, "1", "errors / requests"),
    Column("denied", INTEGER, "1", "requests that policy refused"),
    Column("p50_ms", REAL, "ms", "median latency of those that were not denied"),
    Column("p90_ms", REAL, "ms", "90th percentile"),
    Column("p99_ms", REAL, "ms", "99th percentile"),
    Column("mtls_share", REAL, "1", "share of requests under mutual TLS"),
    Column("reporter", TEXT, "", "whose rows these figures are made of: source or destination"),
)

PROXIES: tuple[Column, ...] = (
    Column("namespace", TEXT, "", "namespace of the pod"),
    Column("pod", TEXT, "", "pod of the proxy"),
    Column("node", TEXT, "", "node of the pod"),
    Column("connected", TRUTH, "", "its stream to the control plane is open"),
    Column("synced", TRUTH, "", "it acknowledged what is wanted"),
    Column("wanted_version", TEXT, "", "newest version compiled for it"),
    Column("acked_version", TEXT, "", "newest version it acknowledged"),
    Column("wanted_at", TIME, "ns since 1970", "when the wanted version was made"),
    Column("acked_at", TIME, "ns since 1970", "when it was acknowledged"),
    Column("lag_ms", REAL, "ms", "from wanted to acknowledged; NA while it is not"),
    Column("nacks", INTEGER, "1", "refusals so far"),
    Column("nack", TEXT, "", "Envoy's words for the refusal that stands"),
    Column("nack_at", TIME, "ns since 1970", "when it refused"),
    Column("since", TIME, "ns since 1970", "when its stream was opened"),
)

RESOURCES: tuple[Column, ...] = (
    Column("part", TEXT, "", "application, proxy, control-plane or cluster"),
    Column("namespace", TEXT, "", "namespace of the pod", "k8s.namespace.name"),
    Column("pod", TEXT, "", "pod", "k8s.pod.name"),
    Column("node", TEXT, "", "node of the pod", "k8s.node.name"),
    Column("pids", INTEGER, "1", "processes"),
    Column("cpu_s", REAL, "s", "CPU seconds since it started", "process.cpu.time"),
    Column("pss_bytes", INTEGER, "By", "proportional set size: shared pages are split among those who share"),
    Column("rss_bytes", INTEGER, "By", "resident set size", "process.memory.usage"),
)

IDENTITIES: tuple[Column, ...] = (
    Column("namespace", TEXT, "", "namespace of the holder"),
    Column("pod", TEXT, "", "pod that holds it"),
    Column("service_account", TEXT, "", "service account that it stands for"),
    Column("spiffe_id", TEXT, "", "the identity"),
    Column("serial", TEXT, "", "serial number of the certificate, hex"),
    Column("not_before", TIME, "ns since 1970", "valid from"),
    Column("not_after", TIME, "ns since 1970", "valid until"),
    Column("delivered_at", TIME, "ns since 1970", "when it was sent to the proxy"),
    Column("acked", TRUTH, "", "the proxy took it"),
)

FRAMES: dict[str, tuple[Column, ...]] = {
    "flows": FLOWS,
    "edges": EDGES,
    "proxies": PROXIES,
    "resources": RESOURCES,
    "identities": IDENTITIES,
}


def table(name: str = "flows") -> pd.DataFrame:
    """The schema of a frame as a frame: name, dtype, unit, meaning, otel. KeyError names the frames there are."""
    import pandas as pd

    if name not in FRAMES:
        raise KeyError(f"no frame {name!r}; there are: {', '.join(FRAMES)}")
    return pd.DataFrame([{field: getattr(c, field) for field in Column.__slots__} for c in FRAMES[name]])
