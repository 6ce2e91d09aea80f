"""Shapes to nouns: the one conversion from what a document says to what the mesh wants."""

from __future__ import annotations

from typing import Any

from meshlab.model import policies, routes, services, shapes, workloads
from meshlab.model import shapes_core as core
from meshlab.model import shapes_policies as guarding
from meshlab.model import shapes_routes as routing
from meshlab.model import shapes_workloads as running
from meshlab.model.ids import DEFAULT_NAMESPACE, Ref
from meshlab.model.mesh import Noun, ref_of
from meshlab.model.shapes_core import milliseconds

ref = ref_of


def build(document: shapes.Document) -> Noun:
    """The noun of a validated document."""
    namespace = document.metadata.namespace or DEFAULT_NAMESPACE
    name = document.metadata.name
    match document:
        case shapes.Namespace():
            return workloads.Namespace(name, document.metadata.labels)
        case shapes.ServiceAccount():
            return workloads.ServiceAccount(namespace, name, document.metadata.labels)
        case shapes.Service():
            return _service(document, namespace)
        case shapes.Pod():
            meta = running.TemplateMetadata(labels=document.metadata.labels, annotations=document.metadata.annotations)
            return workloads.Pod(namespace, name, _template(meta, document.spec))
        case shapes.Deployment():
            return _deployment(document, namespace)
        case shapes.HTTPRoute():
            return _route(document, namespace)
        case shapes.AuthorizationPolicy():
            return _authorization(document, namespace)
        case shapes.PeerAuthentication():
            return _peer_authentication(document, namespace)
    raise TypeError(type(document).__name__)


def object_ref(manifest: Any) -> Ref:
    """The reference of a valid manifest."""
    kind = manifest["kind"]
    namespace = "" if kind == "Namespace" else manifest["metadata"].get("namespace", DEFAULT_NAMESPACE)
    return Ref(kind, namespace, manifest["metadata"]["name"])


def _service(document: shapes.Service, namespace: str) -> services.Service:
    spec = document.spec
    ports = tuple(
        services.ServicePort(p.port, p.name, p.target_port or 0, p.app_protocol, p.protocol) for p in spec.ports
    )
    return services.Service(
        namespace, document.metadata.name, ports, spec.selector, document.metadata.labels, spec.cluster_ip
    )


def _deployment(document: shapes.Deployment, namespace: str) -> workloads.Deployment:
    spec = document.spec
    return workloads.Deployment(
        namespace,
        document.metadata.name,
        document.metadata.labels,
        spec.replicas,
        spec.selector.match_labels,
        _template(spec.template.metadata, spec.template.spec),
        spec.strategy.rolling_update.max_surge,
        spec.strategy.rolling_update.max_unavailable,
        spec.min_ready_seconds,
    )


def _template(meta: running.TemplateMetadata, spec: running.PodSpec) -> workloads.PodTemplate:
    return workloads.PodTemplate(
        meta.labels,
        meta.annotations,
        spec.service_account_name,
        tuple(_container(container) for container in spec.containers),
        spec.termination_grace_period_seconds,
        spec.node_name,
        spec.restart_policy,
    )


def _container(shape: running.Container) -> workloads.Container:
    env = tuple(
        workloads.EnvVar(e.name, e.value, e.value_from.field_ref.field_path if e.value_from else "") for e in shape.env
    )
    ports = tuple(workloads.ContainerPort(p.container_port, p.name, p.protocol) for p in shape.ports)
    return workloads.Container(
        shape.name,
        shape.image,
        tuple(shape.command),
        tuple(shape.args),
        env,
        ports,
        shape.working_dir,
        _probe(shape.readiness_probe),
        _probe(shape.liveness_probe),
    )


def _probe(shape: running.Probe | None) -> workloads.Probe | None:
    if shape is None:
        return None
    http, tcp = shape.http_get, shape.tcp_socket
    return workloads.Probe(
        http.path if http else "",
        http.port if http else tcp.port if tcp else 0,
        tuple(shape.exec.command) if shape.exec else (),
        shape.initial_delay_seconds,
        shape.period_seconds,
        shape.timeout_seconds,
        shape.success_threshold,
        shape.failure_threshold,
    )


def _authorization(document: shapes.AuthorizationPolicy, namespace: str) -> policies.AuthorizationPolicy:
    spec = document.spec
    return policies.AuthorizationPolicy(
        namespace,
        document.metadata.name,
        policies.Action(spec.action),
        tuple(_rule(rule) for rule in spec.rules),
        spec.selector.match_labels,
    )


def _rule(shape: guarding.Rule) -> policies.Rule:
    return policies.Rule(
        tuple(policies.Source(**_tuples(one.source)) for one in shape.from_),
        tuple(policies.Operation(**_tuples(one.operation)) for one in shape.to),
        tuple(policies.Condition(when.key, tuple(when.values), tuple(when.not_values)) for when in shape.when),
    )


def _tuples(shape: core.Shape) -> dict[str, tuple[str, ...]]:
    return {name: tuple(getattr(shape, name)) for name in type(shape).model_fields}


def _peer_authentication(document: shapes.PeerAuthentication, namespace: str) -> policies.PeerAuthentication:
    spec = document.spec
    ports = {int(port): policies.MtlsMode(mtls.mode) for port, mtls in spec.port_level_mtls.items()}
    return policies.PeerAuthentication(
        namespace, document.metadata.name, policies.MtlsMode(spec.mtls.mode), ports, spec.selector.match_labels
    )


def _route(document: shapes.HTTPRoute, namespace: str) -> routes.HTTPRoute:
    spec, created = document.spec, document.metadata.creation_timestamp
    parents = tuple(
        routes.ParentRef(p.name, p.namespace or namespace, p.kind, p.port or 0, p.section_name)
        for p in spec.parent_refs
    )
    rules = tuple(_http_rule(rule, namespace) for rule in spec.rules)
    return routes.HTTPRoute(
        namespace,
        document.metadata.name,
        parents,
        rules,
        tuple(spec.hostnames),
        float(created) if isinstance(created, float | int) else 0.0,
    )


def _http_rule(shape: routing.RouteRule, namespace: str) -> routes.HTTPRule:
    backends = tuple(
        routes.BackendRef(b.name, b.namespace or namespace, b.port, b.weight, _filters(b.filters, namespace))
        for b in shape.backend_refs
    )
    retry = shape.retry
    again = routes.Retry(retry.attempts, tuple(retry.codes), milliseconds(retry.backoff)) if retry else None
    return routes.HTTPRule(
        tuple(_match(match) for match in shape.matches) or (routes.HTTPMatch(),),
        _filters(shape.filters, namespace),
        backends,
        milliseconds(shape.timeouts.request) if shape.timeouts.request else None,
        milliseconds(shape.timeouts.backend_request) if shape.timeouts.backend_request else None,
        again,
        shape.name,
    )


def _match(shape: routing.RouteMatch) -> routes.HTTPMatch:
    def named(items: list[routing.NamedMatch]) -> tuple[routes.NamedMatch, ...]:
        return tuple(routes.NamedMatch(one.name, one.value, routes.ValueMatch(one.type)) for one in items)

    return routes.HTTPMatch(
        shape.path.value,
        routes.PathMatch(shape.path.type),
        named(shape.headers),
        named(shape.query_params),
        shape.method,
    )


def _filters(items: list[routing.Filter], namespace: str) -> routes.Filters:
    found: dict[str, Any] = {"mirrors": ()}
    for one in items:
        if one.request_header_modifier:
            found["request_headers"] = _modifier(one.request_header_modifier)
        if one.response_header_modifier:
            found["response_headers"] = _modifier(one.response_header_modifier)
        if one.request_redirect:
            r = one.request_redirect
            found["redirect"] = routes.Redirect(r.scheme, r.hostname, _path(r.path), r.port or 0, r.status_code)
        if one.url_rewrite:
            found["rewrite"] = routes.Rewrite(one.url_rewrite.hostname, _path(one.url_rewrite.path))
        if one.request_mirror:
            to = one.request_mirror.backend_ref
            mirror = routes.Mirror(to.name, to.namespace or namespace, to.port, float(one.request_mirror.percent))
            found["mirrors"] += (mirror,)
    return routes.Filters(**found)


def _modifier(shape: routing.HeaderModifier) -> routes.HeaderModifier:
    def pairs(items: list[routing.Header]) -> tuple[tuple[str, str], ...]:
        return tuple((one.name, one.value) for one in items)

    return routes.HeaderModifier(pairs(shape.set), pairs(shape.add), tuple(shape.remove))


def _path(shape: routing.PathModifier | None) -> routes.PathModifier | None:
    return routes.PathModifier(shape.replace_full_path, shape.replace_prefix_match) if shape else None
