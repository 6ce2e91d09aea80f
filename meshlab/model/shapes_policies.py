"""Shapes of AuthorizationPolicy and PeerAuthentication, with Istio's field names."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field, model_validator

from meshlab.model.shapes_core import LabelSelector, PortText, Shape, Texts


class Source(Shape):
    principals: Texts = []
    not_principals: Texts = []
    namespaces: Texts = []
    not_namespaces: Texts = []
    service_accounts: Texts = []
    not_service_accounts: Texts = []
    ip_blocks: Texts = []
    not_ip_blocks: Texts = []

    @model_validator(mode="after")
    def _blocks(self) -> Source:
        import ipaddress

        for block in (*self.ip_blocks, *self.not_ip_blocks):
            ipaddress.ip_network(block, strict=False)
        return self


class Operation(Shape):
    hosts: Texts = []
    not_hosts: Texts = []
    ports: list[PortText] = []
    not_ports: list[PortText] = []
    methods: Texts = []
    not_methods: Texts = []
    paths: Texts = []
    not_paths: Texts = []


class From(Shape):
    source: Source


class To(Shape):
    operation: Operation


WHEN_KEYS = (
    "request.headers[...]",
    "source.ip",
    "source.namespace",
    "source.principal",
    "source.serviceAccount",
    "destination.ip",
    "destination.port",
    "connection.sni",
)


class When(Shape):
    key: str
    values: Texts = []
    not_values: Texts = []

    @model_validator(mode="after")
    def _known(self) -> When:
        if self.key not in WHEN_KEYS and not re.fullmatch(r"request\.headers\[[^\]]+\]", self.key):
            raise ValueError(f"unknown key {self.key!r}; expected one of {', '.join(WHEN_KEYS)}")
        if not self.values and not self.not_values:
            raise ValueError("expected values or notValues")
        return self


class Rule(Shape):
    from_: list[From] = Field([], alias="from")
    to: list[To] = []
    when: list[When] = []


class AuthorizationPolicySpec(Shape):
    selector: LabelSelector = LabelSelector()
    action: Literal["ALLOW", "DENY"] = "ALLOW"
    rules: list[Rule] = []


MtlsMode = Literal["UNSET", "DISABLE", "PERMISSIVE", "STRICT"]


class Mtls(Shape):
    mode: MtlsMode = "UNSET"


class PeerAuthenticationSpec(Shape):
    selector: LabelSelector = LabelSelector()
    mtls: Mtls = Mtls()
    port_level_mtls: dict[str, Mtls] = {}

    @model_validator(mode="after")
    def _ports_need_a_selector(self) -> PeerAuthenticationSpec:
        if self.port_level_mtls and not self.selector.match_labels:
            raise ValueError("portLevelMtls needs a selector")
        if any(not port.isdigit() for port in self.port_level_mtls):
            raise ValueError("the keys of portLevelMtls are port numbers")
        return self
