"""One closed vocabulary of what became of a flow, from the data planes to the charts.

A flow has one `Verdict` and one `Reason`; each reason belongs to exactly one verdict. The planes translate their own
dialect (Envoy's response flags and RBAC details, the kernel's codes) into these words and nothing else, so that a
column of a frame can be compared between planes.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class Verdict(StrEnum):
    """`ALLOWED`: it reached the application. `DENIED`: the mesh refused it on purpose. `FAILED`: neither."""

    ALLOWED = "allowed"
    DENIED = "denied"
    FAILED = "failed"


class Reason(StrEnum):
    """Why; `MEANING` has a sentence on each, `VERDICT` the verdict it goes with."""

    OK = "ok"
    POLICY_ALLOW = "policy_allow"
    POLICY_DENY = "policy_deny"
    NO_ALLOW_MATCH = "no_allow_match"
    MTLS_REQUIRED = "mtls_required"
    IDENTITY_REFUSED = "identity_refused"
    RATE_LIMITED = "rate_limited"
    NO_ROUTE = "no_route"
    NO_HEALTHY_UPSTREAM = "no_healthy_upstream"
    UPSTREAM_CONNECT_FAILED = "upstream_connect_failed"
    UPSTREAM_TLS_FAILED = "upstream_tls_failed"
    UPSTREAM_RESET = "upstream_reset"
    UPSTREAM_TIMEOUT = "upstream_timeout"
    UPSTREAM_OVERFLOW = "upstream_overflow"
    RETRIES_EXHAUSTED = "retries_exhausted"
    CLIENT_DISCONNECT = "client_disconnect"
    PROTOCOL_ERROR = "protocol_error"
    IDLE_TIMEOUT = "idle_timeout"
    SHUTDOWN = "shutdown"
    FAULT = "fault"
    NOT_READY = "not_ready"
    FAMILY_REFUSED = "family_refused"
    UNKNOWN = "unknown"


_WORDS: tuple[tuple[Reason, Verdict, str], ...] = (
    (Reason.OK, Verdict.ALLOWED, "served; no policy had a say"),
    (Reason.POLICY_ALLOW, Verdict.ALLOWED, "an ALLOW policy matched"),
    (Reason.POLICY_DENY, Verdict.DENIED, "a DENY policy matched"),
    (Reason.NO_ALLOW_MATCH, Verdict.DENIED, "ALLOW policies select the workload and none of their rules matched"),
    (Reason.MTLS_REQUIRED, Verdict.DENIED, "plaintext where PeerAuthentication is STRICT"),
    (Reason.IDENTITY_REFUSED, Verdict.DENIED, "the peer's certificate is missing, not trusted or not the expected one"),
    (Reason.RATE_LIMITED, Verdict.DENIED, "a rate limit was reached"),
    (Reason.NO_ROUTE, Verdict.FAILED, "no route, or a route without a backend"),
    (Reason.NO_HEALTHY_UPSTREAM, Verdict.FAILED, "no backend is ready, or all are ejected"),
    (Reason.UPSTREAM_CONNECT_FAILED, Verdict.FAILED, "the backend did not accept the connection"),
    (Reason.UPSTREAM_TLS_FAILED, Verdict.FAILED, "the TLS handshake with the backend failed"),
    (Reason.UPSTREAM_RESET, Verdict.FAILED, "the backend closed or reset before it had answered"),
    (Reason.UPSTREAM_TIMEOUT, Verdict.FAILED, "the backend did not answer in time"),
    (Reason.UPSTREAM_OVERFLOW, Verdict.FAILED, "a circuit breaker was open"),
    (Reason.RETRIES_EXHAUSTED, Verdict.FAILED, "every retry failed"),
    (Reason.CLIENT_DISCONNECT, Verdict.FAILED, "the client went away before the answer"),
    (Reason.PROTOCOL_ERROR, Verdict.FAILED, "one end broke the protocol"),
    (Reason.IDLE_TIMEOUT, Verdict.FAILED, "nothing moved for too long"),
    (Reason.SHUTDOWN, Verdict.FAILED, "the proxy was draining or going away"),
    (Reason.FAULT, Verdict.FAILED, "a fault policy caused it"),
    (Reason.NOT_READY, Verdict.DENIED, "the data plane had no policy for it yet"),
    (Reason.FAMILY_REFUSED, Verdict.DENIED, "an address family that the plane does not carry"),
    (Reason.UNKNOWN, Verdict.FAILED, "the plane gave a reason that is not known here"),
)

VERDICT: Mapping[Reason, Verdict] = {reason: verdict for reason, verdict, _ in _WORDS}
MEANING: Mapping[Reason, str] = {reason: meaning for reason, _, meaning in _WORDS}
