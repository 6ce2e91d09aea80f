"""The flow schema: every column with dtype, unit, meaning, and OpenTelemetry's name where it has one."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Column:
    name: str
    dtype: str
    unit: str
    meaning: str
    otel: str = ""


_TEXT, _INT, _FLOAT, _BOOL, _TIME = "string", "Int64", "Float64", "boolean", "datetime64[ns, UTC]"

FLOWS: tuple[Column, ...] = (
    Column("time", _TIME, "UTC", "when the request or connection began"),
    Column("kind", _TEXT, "", "request or connection"),
    Column("count", _INT, "", "how many this row stands for"),
    Column("plane", _TEXT, "", "sidecar, sidecarless or none"),
    Column("observer", _TEXT, "", "what saw it: envoy, ebpf or client"),
    Column("reporter", _TEXT, "", "whose side saw it: source or destination"),
    Column("node", _TEXT, "", "node of the reporter", "k8s.node.name"),
    *(
        Column(f"{side}_{name}", dtype, "", meaning, otel)
        for side, ends in (("source", "client"), ("destination", "server"))
        for name, dtype, meaning, otel in (
            ("namespace", _TEXT, f"namespace of the {ends}", ""),
            *((("service", _TEXT, "Service that was called (namespace/name)", ""),) if side == "destination" else ()),
            ("workload", _TEXT, f"workload of the {ends}", ""),
            ("pod", _TEXT, f"pod of the {ends}", ""),
            (
                "principal",
                _TEXT,
                f"SPIFFE ID of the {ends}, proven by its certificate (on one node: by the kernel)",
                "",
            ),
            ("ip", _TEXT, f"address of the {ends}", f"{ends}.address"),
            ("port", _INT, f"port of the {ends}", f"{ends}.port"),
        )
    ),
    Column("protocol", _TEXT, "", "tcp, http1, http2, grpc or dns", "network.protocol.name"),
    Column("method", _TEXT, "", "HTTP method; the type that DNS is asked for", "http.request.method"),
    Column("path", _TEXT, "", "path without the query", "url.path"),
    Column("path_template", _TEXT, "", "path with its variable parts named", "http.route"),
    Column("authority", _TEXT, "", "Host or :authority; the name that DNS is asked for", "server.address"),
    Column("status", _INT, "", "HTTP status; the RCODE of DNS", "http.response.status_code"),
    Column("grpc_status", _INT, "", "gRPC status", "rpc.grpc.status_code"),
    Column("verdict", _TEXT, "", "allowed, denied or failed"),
    Column("reason", _TEXT, "", "why, from a closed vocabulary (model.outcomes)"),
    Column("policy", _TEXT, "", "the policy that decided (namespace/name)"),
    Column("rule", _INT, "", "index of the rule that decided"),
    Column("route", _TEXT, "", "the HTTPRoute and rule (namespace/name#rule)"),
    Column(
        "mtls",
        _BOOL,
        "",
        "was the hop proven mutual TLS (the kernel plane has none inside a node: nothing is on a wire)",
    ),
    Column("tls_group", _TEXT, "", "key exchange group", "tls.curve"),
    Column("latency_ms", _FLOAT, "ms", "first byte in to last byte out, as the reporter saw it"),
    Column("setup_ms", _FLOAT, "ms", "until the first byte went upstream"),
    Column("duration_ms", _FLOAT, "ms", "life of the connection"),
    Column("request_bytes", _INT, "bytes", "body towards the server", "http.request.body.size"),
    Column("response_bytes", _INT, "bytes", "body towards the client", "http.response.body.size"),
    Column("retries", _INT, "", "attempts after the first", "http.request.resend_count"),
    Column("retransmits", _INT, "", "TCP segments sent again"),
    Column("rtt_ms", _FLOAT, "ms", "smoothed round trip time"),
    Column("closed_by", _TEXT, "", "who closed first: source or destination"),
    Column("trace_id", _TEXT, "", "W3C trace id"),
    Column("config_version", _TEXT, "", "configuration that the reporter had acknowledged"),
)


def describe() -> list[dict[str, str]]:
    """One row per column, for people."""
    return [{"name": c.name, "dtype": c.dtype, "unit": c.unit, "meaning": c.meaning, "otel": c.otel} for c in FLOWS]
