"""Shapes of HTTPRoute (Gateway API v1) with Services as parents."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator
from pydantic.alias_generators import to_camel

from meshlab.model.shapes_core import Duration, Name, Port, Shape


class ParentRef(Shape):
    group: Literal["", "core"] = ""
    kind: Literal["Service"]
    name: Name
    namespace: Name | None = None
    port: Port | None = None
    section_name: str = ""


class RoutePath(Shape):
    type: Literal["Exact", "PathPrefix", "RegularExpression"] = "PathPrefix"
    value: str = "/"

    @model_validator(mode="after")
    def _value(self) -> RoutePath:
        if self.type == "RegularExpression":
            _regex(self.value)
        elif not self.value.startswith("/"):
            raise ValueError("a path begins with /")
        return self


class NamedMatch(Shape):
    type: Literal["Exact", "RegularExpression"] = "Exact"
    name: str
    value: str

    @model_validator(mode="after")
    def _value(self) -> NamedMatch:
        if self.type == "RegularExpression":
            _regex(self.value)
        return self


class RouteMatch(Shape):
    path: RoutePath = RoutePath()
    headers: list[NamedMatch] = []
    query_params: list[NamedMatch] = []
    method: Literal["", "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"] = ""


class Header(Shape):
    name: str
    value: str


class HeaderModifier(Shape):
    set: list[Header] = []
    add: list[Header] = []
    remove: list[str] = []


class PathModifier(Shape):
    type: Literal["ReplaceFullPath", "ReplacePrefixMatch"]
    replace_full_path: str | None = None
    replace_prefix_match: str | None = None

    @model_validator(mode="after")
    def _agrees(self) -> PathModifier:
        wanted, other = self.replace_full_path, self.replace_prefix_match
        if self.type == "ReplacePrefixMatch":
            wanted, other = other, wanted
        if wanted is None or other is not None:
            raise ValueError("expected the field that `type` names, and only that")
        return self


class Redirect(Shape):
    scheme: Literal["", "http", "https"] = ""
    hostname: str = ""
    path: PathModifier | None = None
    port: Port | None = None
    status_code: Literal[301, 302, 303, 307, 308] = 302


class Rewrite(Shape):
    hostname: str = ""
    path: PathModifier | None = None


class MirrorBackend(Shape):
    group: Literal["", "core"] = ""
    kind: Literal["Service"] = "Service"
    name: Name
    namespace: Name | None = None
    port: Port


class Mirror(Shape):
    backend_ref: MirrorBackend
    percent: int = Field(100, ge=0, le=100)


FILTER_FIELDS = {
    "RequestHeaderModifier": "request_header_modifier",
    "ResponseHeaderModifier": "response_header_modifier",
    "RequestRedirect": "request_redirect",
    "URLRewrite": "url_rewrite",
    "RequestMirror": "request_mirror",
}


class Filter(Shape):
    type: Literal["RequestHeaderModifier", "ResponseHeaderModifier", "RequestRedirect", "URLRewrite", "RequestMirror"]
    request_header_modifier: HeaderModifier | None = None
    response_header_modifier: HeaderModifier | None = None
    request_redirect: Redirect | None = None
    url_rewrite: Rewrite | None = None
    request_mirror: Mirror | None = None

    @model_validator(mode="after")
    def _agrees(self) -> Filter:
        given = {field for field in FILTER_FIELDS.values() if getattr(self, field) is not None}
        if given != {FILTER_FIELDS[self.type]}:
            raise ValueError(f"type {self.type} needs the field {to_camel(FILTER_FIELDS[self.type])}, and only that")
        return self


class BackendRef(MirrorBackend):
    weight: int = Field(1, ge=0, le=1_000_000)
    filters: list[Filter] = []


class Timeouts(Shape):
    request: Duration | None = None
    backend_request: Duration | None = None


class Retry(Shape):
    codes: list[Annotated[int, Field(ge=400, le=599)]] = []
    attempts: int = Field(1, ge=0)
    backoff: Duration = "25ms"


class RouteRule(Shape):
    name: str = ""
    matches: list[RouteMatch] = []
    filters: list[Filter] = []
    backend_refs: list[BackendRef] = []
    timeouts: Timeouts = Timeouts()
    retry: Retry | None = None

    @model_validator(mode="after")
    def _prefix(self) -> RouteRule:
        for one in self.filters:
            path = (one.url_rewrite and one.url_rewrite.path) or (one.request_redirect and one.request_redirect.path)
            prefixes = all(match.path.type == "PathPrefix" for match in self.matches)
            if path and path.type == "ReplacePrefixMatch" and not prefixes:
                raise ValueError("ReplacePrefixMatch needs matches of type PathPrefix")
        return self


class HTTPRouteSpec(Shape):
    parent_refs: list[ParentRef] = Field(min_length=1)
    hostnames: list[str] = []
    rules: list[RouteRule] = Field(default_factory=lambda: [RouteRule()], max_length=16)
