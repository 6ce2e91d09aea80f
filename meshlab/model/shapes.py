"""The documents as they are written: pydantic shapes with Kubernetes' field names. Unknown fields are errors."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator
from pydantic.alias_generators import to_camel

_RE2_REFUSES = re.compile(r"\(\?[=!<](?!\w+>)|\\[1-9]|\(\?P=|\(\?>")
_DURATION = re.compile(r"([0-9]{1,5}(h|m|s|ms)){1,4}")


def _regex(text: str) -> str:
    """RE2 semantics, as in Envoy: no lookaround, no backreferences."""
    if _RE2_REFUSES.search(text):
        raise ValueError("lookaround and backreferences are not in RE2, which Envoy uses")
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"not a regular expression: {error}") from None
    return text


def _duration(text: str) -> str:
    if not _DURATION.fullmatch(text):
        raise ValueError("expected a Gateway API duration such as 500ms, 2s or 1m30s")
    return text


Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", max_length=63)]
Port = Annotated[int, Field(ge=1, le=65535, strict=True)]
PortText = Annotated[str, StringConstraints(pattern=r"^[0-9]{1,5}$")]
Labels = dict[str, str]
Regex = Annotated[str, AfterValidator(_regex)]
Duration = Annotated[str, AfterValidator(_duration)]
Texts = Annotated[list[Annotated[str, StringConstraints(min_length=1)]], Field(max_length=4096)]


class Shape(BaseModel):
    model_config = ConfigDict(extra="forbid", alias_generator=to_camel, populate_by_name=False, frozen=True)


class Metadata(Shape):
    name: Name
    namespace: Name | None = None
    labels: Labels = {}
    annotations: Labels = {}
    creation_timestamp: str | float | None = None
    uid: str | None = None
    resource_version: str | None = None
    generation: int | None = None


class LabelSelector(Shape):
    match_labels: Labels = {}


# workloads


class FieldRef(Shape):
    field_path: str


class ValueFrom(Shape):
    field_ref: FieldRef


class Env(Shape):
    name: str
    value: str = ""
    value_from: ValueFrom | None = None


class ContainerPort(Shape):
    container_port: Port
    name: str = ""
    protocol: Literal["TCP", "UDP"] = "TCP"


class HttpHeader(Shape):
    name: str
    value: str


class HttpGet(Shape):
    path: str = "/"
    port: Port | str
    scheme: Literal["HTTP"] = "HTTP"


class TcpSocket(Shape):
    port: Port | str


class ExecAction(Shape):
    command: list[str]


class Probe(Shape):
    http_get: HttpGet | None = None
    tcp_socket: TcpSocket | None = None
    exec: ExecAction | None = None
    initial_delay_seconds: float = Field(0, ge=0)
    period_seconds: float = Field(10, gt=0)
    timeout_seconds: float = Field(1, gt=0)
    success_threshold: int = Field(1, ge=1)
    failure_threshold: int = Field(3, ge=1)

    @model_validator(mode="after")
    def _one(self) -> Probe:
        if sum(x is not None for x in (self.http_get, self.tcp_socket, self.exec)) != 1:
            raise ValueError("expected exactly one of httpGet, tcpSocket, exec")
        return self


class Container(Shape):
    name: Name
    image: str
    image_pull_policy: str = ""
    command: list[str] = []
    args: list[str] = []
    env: list[Env] = []
    ports: list[ContainerPort] = []
    working_dir: str = ""
    readiness_probe: Probe | None = None
    liveness_probe: Probe | None = None


class PodSpec(Shape):
    service_account_name: Name = "default"
    containers: list[Container] = Field(min_length=1)
    termination_grace_period_seconds: float = Field(30, ge=0)
    node_name: str = ""
    restart_policy: Literal["Always", "OnFailure", "Never"] = "Always"


class TemplateMetadata(Shape):
    labels: Labels = {}
    annotations: Labels = {}


class PodTemplate(Shape):
    metadata: TemplateMetadata = TemplateMetadata()
    spec: PodSpec


class RollingUpdate(Shape):
    max_surge: int | str = "25%"
    max_unavailable: int | str = "25%"


class Strategy(Shape):
    type: Literal["RollingUpdate"] = "RollingUpdate"
    rolling_update: RollingUpdate = RollingUpdate()


class DeploymentSpec(Shape):
    replicas: int = Field(1, ge=0, le=500)
    selector: LabelSelector
    template: PodTemplate
    strategy: Strategy = Strategy()
    min_ready_seconds: float = 0

    @model_validator(mode="after")
    def _selects_itself(self) -> DeploymentSpec:
        if not self.selector.match_labels:
            raise ValueError("selector.matchLabels must not be empty")
        if not self.selector.match_labels.items() <= self.template.metadata.labels.items():
            raise ValueError("selector.matchLabels must match template.metadata.labels")
        return self


class ServicePort(Shape):
    port: Port
    name: str = ""
    target_port: Port | Name | None = None
    app_protocol: str = ""
    protocol: Literal["TCP", "UDP"] = "TCP"


class ServiceSpec(Shape):
    ports: list[ServicePort] = Field(min_length=1)
    selector: Labels = {}
    cluster_ip: str = Field("", alias="clusterIP")
    type: Literal["ClusterIP"] = "ClusterIP"

    @model_validator(mode="after")
    def _ports_differ(self) -> ServiceSpec:
        if len({port.port for port in self.ports}) < len(self.ports):
            raise ValueError("ports must differ")
        if len(self.ports) > 1 and len({port.name for port in self.ports}) < len(self.ports):
            raise ValueError("with several ports, each needs a name of its own")
        return self


# policies


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


# routes


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


# documents


class Document(Shape):
    api_version: str
    kind: str
    metadata: Metadata
    status: dict[str, Any] | None = None


class Namespace(Document):
    spec: dict[str, Any] = {}


class ServiceAccount(Document):
    pass


class Service(Document):
    spec: ServiceSpec


class Deployment(Document):
    spec: DeploymentSpec


class Pod(Document):
    spec: PodSpec


class HTTPRoute(Document):
    spec: HTTPRouteSpec


class AuthorizationPolicy(Document):
    spec: AuthorizationPolicySpec = AuthorizationPolicySpec()


class PeerAuthentication(Document):
    spec: PeerAuthenticationSpec = PeerAuthenticationSpec()


KINDS: dict[str, tuple[type[Document], tuple[str, ...]]] = {
    "Namespace": (Namespace, ("v1",)),
    "ServiceAccount": (ServiceAccount, ("v1",)),
    "Service": (Service, ("v1",)),
    "Pod": (Pod, ("v1",)),
    "Deployment": (Deployment, ("apps/v1",)),
    "HTTPRoute": (HTTPRoute, ("gateway.networking.k8s.io/v1", "gateway.networking.k8s.io/v1beta1")),
    "AuthorizationPolicy": (AuthorizationPolicy, ("security.istio.io/v1", "security.istio.io/v1beta1")),
    "PeerAuthentication": (PeerAuthentication, ("security.istio.io/v1", "security.istio.io/v1beta1")),
}
