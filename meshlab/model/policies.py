"""Who may call whom, and how: AuthorizationPolicy and PeerAuthentication with Istio's meaning."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from meshlab.model.workloads import Labels


class Action(StrEnum):
    ALLOW = "ALLOW"
    DENY = "DENY"


class MtlsMode(StrEnum):
    UNSET = "UNSET"
    DISABLE = "DISABLE"
    PERMISSIVE = "PERMISSIVE"
    STRICT = "STRICT"


@dataclass(frozen=True)
class Source:
    """All fields set must hold (and); within a field one value suffices (or). Values may be exact, `prefix*`,
    `*suffix` or `*` (present), as in Istio."""

    principals: tuple[str, ...] = ()
    not_principals: tuple[str, ...] = ()
    namespaces: tuple[str, ...] = ()
    not_namespaces: tuple[str, ...] = ()
    service_accounts: tuple[str, ...] = ()
    not_service_accounts: tuple[str, ...] = ()
    request_principals: tuple[str, ...] = ()
    not_request_principals: tuple[str, ...] = ()
    ip_blocks: tuple[str, ...] = ()
    not_ip_blocks: tuple[str, ...] = ()
    remote_ip_blocks: tuple[str, ...] = ()
    not_remote_ip_blocks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Operation:
    hosts: tuple[str, ...] = ()
    not_hosts: tuple[str, ...] = ()
    ports: tuple[str, ...] = ()
    not_ports: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    not_methods: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    not_paths: tuple[str, ...] = ()

    @property
    def layer7(self) -> bool:
        """Does it ask for something that only HTTP has?"""
        return bool(self.hosts or self.not_hosts or self.methods or self.not_methods or self.paths or self.not_paths)


@dataclass(frozen=True)
class Condition:
    key: str
    values: tuple[str, ...] = ()
    not_values: tuple[str, ...] = ()


@dataclass(frozen=True)
class Rule:
    """Empty `sources`, `operations` or `conditions` match everything."""

    sources: tuple[Source, ...] = ()
    operations: tuple[Operation, ...] = ()
    conditions: tuple[Condition, ...] = ()

    @property
    def layer7(self) -> bool:
        """Does it ask for something that only HTTP has?"""
        asked = any(condition.key.startswith("request.") for condition in self.conditions)
        return asked or any(operation.layer7 for operation in self.operations)


@dataclass(frozen=True)
class AuthorizationPolicy:
    """No rules: matches nothing (an ALLOW policy then denies all), as in Istio. Empty `selector`: the whole
    namespace, or the whole mesh in the root namespace."""

    namespace: str
    name: str
    action: Action = Action.ALLOW
    rules: tuple[Rule, ...] = ()
    selector: Labels = field(default_factory=dict)


@dataclass(frozen=True)
class PeerAuthentication:
    namespace: str
    name: str
    mode: MtlsMode = MtlsMode.UNSET
    port_modes: Mapping[int, MtlsMode] = field(default_factory=dict)
    selector: Labels = field(default_factory=dict)
