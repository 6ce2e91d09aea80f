"""Shapes of HTTPRoute (Gateway API v1) with Services as parents."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator
from pydantic.alias_generators import to_camel

from meshlab.model.shapes_core import Duration, Int, Name, Port, Shape, milliseconds, re2

HeaderName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9!#$%&'*+\-.^_`|~]+$", max_length=256)]


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
            re2(self.value)
        elif not self.value.startswith("/"):
            raise ValueError("a path begins with /")
        elif any(part in self.value for part in ("//", "/./", "/../", "#")) or self.value.endswith(("/.", "/..")):
            raise ValueError("a path has no //, /./, /../ or #")
        return self


class NamedMatch(Shape):
    type: Literal["Exact", "RegularExpression"] = "Exact"
    name: HeaderName
    value: Annotated[str, StringConstraints(min_length=1, max_length=4096)]

    @model_validator(mode="after")
    def _value(self) -> NamedMatch:
        if self.type == "RegularExpression":
            re2(self.value)
        return self


class RouteMatch(Shape):
    path: RoutePath = RoutePath()
    headers: list[NamedMatch] = Field(default=[])
    query_params: list[NamedMatch] = Field(default=[])
    method: Literal["", "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"] = ""


class Header(Shape):
    name: HeaderName
    value: Annotated[str, StringConstraints(pattern=r"^[!-~]+([\t ]?[!-~]+)*$", max_length=4096)]


class HeaderModifier(Shape):
    set: list[Header] = Field(default=[])
    add: list[Header] = Field(default=[])
    remove: list[HeaderName] = Field(default=[])


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
    percent: Int = Field(100, ge=0, le=100)


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
        if modifier := self.request_header_modifier:
            names = [header.name for header in (*modifier.set, *modifier.add)] + modifier.remove
            if any(name.lower() == "host" for name in names):  # Envoy refuses a route that modifies it so
                raise ValueError("the Host header is not modified; use URLRewrite with hostname")
        return self


class BackendRef(MirrorBackend):
    weight: Int = Field(1, ge=0, le=1_000_000)
    filters: list[Filter] = Field(default=[])


class Timeouts(Shape):
    request: Duration | None = None
    backend_request: Duration | None = None


class Retry(Shape):
    codes: list[Annotated[Int, Field(ge=400, le=599)]] = Field(default=[])
    attempts: Int = Field(1, ge=0)
    backoff: Duration = "25ms"


class RouteRule(Shape):
    name: str = ""
    matches: list[RouteMatch] = Field(default=[], max_length=64)
    filters: list[Filter] = Field(default=[])
    backend_refs: list[BackendRef] = Field(default=[])
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

    @model_validator(mode="after")
    def _filters(self) -> RouteRule:
        types = [one.type for one in self.filters]
        for one in set(types) - {"RequestMirror"}:
            if types.count(one) > 1:
                raise ValueError(f"the filter {one} may stand once in a rule")
        if "RequestRedirect" in types and ("URLRewrite" in types or self.backend_refs):
            raise ValueError("RequestRedirect stands neither beside URLRewrite nor beside backendRefs")
        return self

    @model_validator(mode="after")
    def _timeouts(self) -> RouteRule:
        whole, each = self.timeouts.request, self.timeouts.backend_request
        if whole and each and 0 < milliseconds(whole) < milliseconds(each):
            raise ValueError("timeouts.backendRequest is longer than timeouts.request")
        return self


class HTTPRouteSpec(Shape):
    parent_refs: list[ParentRef] = Field(min_length=1)
    hostnames: list[str] = Field(default=[])
    rules: list[RouteRule] = Field(default_factory=lambda: [RouteRule()], max_length=16)
