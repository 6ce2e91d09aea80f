"""Envoy's words for what became of a flow, translated into the closed vocabulary of `model.outcomes`.

Sources: `ResponseFlags` of envoy.data.accesslog.v3, response code details ("rbac_access_denied_matched_policy[...]"),
and the texts of transport failures (BoringSSL's error names).
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, NamedTuple

from meshlab.model.outcomes import VERDICT, Reason, Verdict

STRICT_RULE = "strict-mtls"
"""Name of the RBAC rule by which a proxy refuses plaintext where PeerAuthentication is STRICT."""

_MATCHED = re.compile(r"rbac_access_denied_matched_policy\[(.*)\]")
_RULE = re.compile(r"ns\[([^\]]*)\]-policy\[([^\]]*)\]-rule\[(\d+)\]")
_CERTIFICATE = re.compile(r"CERTIFICATE|UNKNOWN_CA|SAN|SPIFFE", re.IGNORECASE)
_TLS = re.compile(r"TLS|SSL|CERTIFICATE", re.IGNORECASE)

_FLAGS: tuple[tuple[str, Reason, str | None], ...] = (
    ("rate_limited", Reason.RATE_LIMITED, "mesh"),
    ("unauthorized_details", Reason.POLICY_DENY, "mesh"),
    ("fault_injected", Reason.FAULT, "mesh"),
    ("no_route_found", Reason.NO_ROUTE, "mesh"),
    ("no_cluster_found", Reason.NO_ROUTE, "mesh"),
    ("no_healthy_upstream", Reason.NO_HEALTHY_UPSTREAM, "mesh"),
    ("failed_local_healthcheck", Reason.SHUTDOWN, "mesh"),
    ("upstream_overflow", Reason.UPSTREAM_OVERFLOW, "mesh"),
    ("overload_manager", Reason.UPSTREAM_OVERFLOW, "mesh"),
    ("upstream_connection_failure", Reason.UPSTREAM_CONNECT_FAILED, "destination"),
    ("dns_resolution_failure", Reason.UPSTREAM_CONNECT_FAILED, "mesh"),
    ("upstream_request_timeout", Reason.UPSTREAM_TIMEOUT, "mesh"),
    ("upstream_max_stream_duration_reached", Reason.UPSTREAM_TIMEOUT, "mesh"),
    ("duration_timeout", Reason.UPSTREAM_TIMEOUT, "mesh"),
    ("stream_idle_timeout", Reason.IDLE_TIMEOUT, "mesh"),
    ("upstream_protocol_error", Reason.PROTOCOL_ERROR, "mesh"),
    ("downstream_protocol_error", Reason.PROTOCOL_ERROR, "mesh"),
    ("invalid_envoy_request_headers", Reason.PROTOCOL_ERROR, "mesh"),
    ("no_filter_config_found", Reason.UNKNOWN, "mesh"),
    ("upstream_remote_reset", Reason.UPSTREAM_RESET, "destination"),
    ("upstream_connection_termination", Reason.UPSTREAM_RESET, "destination"),
    ("downstream_connection_termination", Reason.CLIENT_DISCONNECT, "source"),
    ("downstream_remote_reset", Reason.CLIENT_DISCONNECT, "source"),
    ("local_reset", Reason.UPSTREAM_RESET, "mesh"),
    ("upstream_retry_limit_exceeded", Reason.RETRIES_EXHAUSTED, None),
)
"""Flag, reason, who ended it; the first that is set counts, so causes stand before their consequences."""


class Outcome(NamedTuple):
    """`policy`: `<namespace>/<name>` and `rule` its index, where a policy decided."""

    verdict: Verdict
    reason: Reason
    policy: str | None = None
    rule: int | None = None
    closed_by: str | None = None


_SERVED = Outcome(Verdict.ALLOWED, Reason.OK)


def outcome(common: Any, details: str, status: int) -> Outcome:
    """Of one log entry: its common properties, response code (or connection termination) details, HTTP status."""
    if details.startswith("rbac_access_denied"):
        return denied(details)
    if common.HasField("response_flags"):
        found = _by_flags(common, details, status)
        if found is not None:
            return found
    if common.downstream_transport_failure_reason:
        return _of(_handshake(common.downstream_transport_failure_reason, Reason.PROTOCOL_ERROR), "mesh")
    if details.startswith("filter_chain_not_found"):
        return _of(Reason.MTLS_REQUIRED, "mesh")
    return _allowed(common)


@lru_cache(maxsize=1024)
def denied(details: str) -> Outcome:
    """Envoy's RBAC refused: by a rule that matched (DENY), or because none did (ALLOW)."""
    found = _MATCHED.search(details)
    name = found[1] if found else ""
    if name in ("", "none"):
        return _of(Reason.NO_ALLOW_MATCH, "mesh")
    if name.startswith(STRICT_RULE):
        return _of(Reason.MTLS_REQUIRED, "mesh")
    policy, rule = rule_of(name)
    return Outcome(Verdict.DENIED, Reason.POLICY_DENY, policy, rule, "mesh")


@lru_cache(maxsize=1024)
def rule_of(name: str) -> tuple[str, int | None]:
    """`ns[shop]-policy[only-web]-rule[0]` is ("shop/only-web", 0); another name stands for itself."""
    found = _RULE.search(name)
    return (f"{found[1]}/{found[2]}", int(found[3])) if found else (name, None)


def _by_flags(common: Any, details: str, status: int) -> Outcome | None:
    flags = common.response_flags
    for flag, reason, closed_by in _FLAGS:
        value = flags.HasField(flag) if flag == "unauthorized_details" else getattr(flags, flag)
        if not value:
            continue
        if reason is Reason.CLIENT_DISCONNECT and status == 101:
            return _SERVED._replace(closed_by=closed_by)  # an upgraded connection ends when an end hangs up
        return _of(_refined(reason, common, details), closed_by)
    return None


def _refined(reason: Reason, common: Any, details: str) -> Reason:
    """What the flag alone does not say."""
    if reason is Reason.UPSTREAM_CONNECT_FAILED:
        return _handshake(common.upstream_transport_failure_reason, reason)
    if reason is Reason.NO_HEALTHY_UPSTREAM and common.upstream_cluster == "blackhole":
        return Reason.NO_ROUTE
    if reason is Reason.NO_ROUTE and details.startswith("filter_chain_not_found"):
        return Reason.MTLS_REQUIRED
    return reason


def _handshake(words: str, otherwise: Reason) -> Reason:
    if not _TLS.search(words):
        return otherwise
    return Reason.IDENTITY_REFUSED if _CERTIFICATE.search(words) else Reason.UPSTREAM_TLS_FAILED


def _allowed(common: Any) -> Outcome:
    """Served; with the ALLOW rule that let it in, where the RBAC filter left its name in the metadata."""
    for _, values in common.metadata.filter_metadata.items() if common.HasField("metadata") else ():
        for key, value in values.fields.items():
            if key.endswith("effective_policy_id") and value.string_value not in ("", "none"):
                policy, rule = rule_of(value.string_value)
                return Outcome(Verdict.ALLOWED, Reason.POLICY_ALLOW, policy, rule)
    return _SERVED


def _of(reason: Reason, closed_by: str | None) -> Outcome:
    return Outcome(VERDICT[reason], reason, closed_by=closed_by)
