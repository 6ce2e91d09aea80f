"""Shapes of AuthorizationPolicy and PeerAuthentication, with Istio's field names."""

from __future__ import annotations

import re
from typing import ClassVar, Literal

from pydantic import Field, model_validator

from meshlab.model.shapes_core import Block, LabelSelector, PortText, Shape, Texts, address_block, port_text


class Source(Shape):
    strict_null: ClassVar[bool] = True
    principals: Texts = Field(default=[])
    not_principals: Texts = Field(default=[])
    namespaces: Texts = Field(default=[])
    not_namespaces: Texts = Field(default=[])
    service_accounts: Texts = Field(default=[])
    not_service_accounts: Texts = Field(default=[])
    ip_blocks: list[Block] = Field(default=[])
    not_ip_blocks: list[Block] = Field(default=[])

    @model_validator(mode="after")
    def _agrees(self) -> Source:
        if not self.model_fields_set:
            raise ValueError("source must not be empty; leave out `from` to match every source")
        if self.service_accounts or self.not_service_accounts:
            if self.principals or self.not_principals or self.namespaces or self.not_namespaces:
                raise ValueError("serviceAccounts cannot stand beside principals or namespaces")
            if any("*" in account for account in (*self.service_accounts, *self.not_service_accounts)):
                raise ValueError("serviceAccounts take no wildcard; use principals")
        return self


class Operation(Shape):
    strict_null: ClassVar[bool] = True
    hosts: Texts = Field(default=[])
    not_hosts: Texts = Field(default=[])
    ports: list[PortText] = Field(default=[])
    not_ports: list[PortText] = Field(default=[])
    methods: Texts = Field(default=[])
    not_methods: Texts = Field(default=[])
    paths: Texts = Field(default=[])
    not_paths: Texts = Field(default=[])

    @model_validator(mode="after")
    def _agrees(self) -> Operation:
        if not self.model_fields_set:
            raise ValueError("operation must not be empty; leave out `to` to match every operation")
        return self


class From(Shape):
    strict_null: ClassVar[bool] = True
    source: Source


class To(Shape):
    strict_null: ClassVar[bool] = True
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
    strict_null: ClassVar[bool] = True
    key: str
    values: Texts = Field(default=[])
    not_values: Texts = Field(default=[])

    @model_validator(mode="after")
    def _known(self) -> When:
        if self.key not in WHEN_KEYS and not re.fullmatch(r"request\.headers\[[^\]]+\]", self.key):
            raise ValueError(f"unknown key {self.key!r}; expected one of {', '.join(WHEN_KEYS)}")
        if not self.values and not self.not_values:
            raise ValueError("expected values or notValues")
        for value in (*self.values, *self.not_values):
            if self.key in ("source.ip", "destination.ip"):
                address_block(value)
            elif self.key == "destination.port":
                port_text(value)
        return self


class Rule(Shape):
    strict_null: ClassVar[bool] = True
    from_: list[From] = Field(default=[], alias="from")
    to: list[To] = Field(default=[])
    when: list[When] = Field(default=[])

    @model_validator(mode="after")
    def _not_empty(self) -> Rule:
        # as Istio: `from: []` is more likely a mistake than a wish to match everybody
        for name in self.model_fields_set:
            if not getattr(self, name):
                raise ValueError(f"`{name.rstrip('_')}` must not be empty; leave it out to match all")
        return self


class AuthorizationPolicySpec(Shape):
    selector: LabelSelector = LabelSelector()
    action: Literal["ALLOW", "DENY"] = "ALLOW"
    rules: list[Rule] = Field(default=[])


MtlsMode = Literal["UNSET", "DISABLE", "PERMISSIVE", "STRICT"]


class Mtls(Shape):
    mode: MtlsMode = "UNSET"


class PeerAuthenticationSpec(Shape):
    selector: LabelSelector = LabelSelector()
    mtls: Mtls = Mtls()
    port_level_mtls: dict[str, Mtls] = Field(default={})

    @model_validator(mode="after")
    def _ports_need_a_selector(self) -> PeerAuthenticationSpec:
        if self.port_level_mtls and not self.selector.match_labels:
            raise ValueError("portLevelMtls needs a selector")
        if any(not re.fullmatch(r"[0-9]{1,5}", port) or not 1 <= int(port) <= 65535 for port in self.port_level_mtls):
            raise ValueError("the keys of portLevelMtls are port numbers")
        return self
