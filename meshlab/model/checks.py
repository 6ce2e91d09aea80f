"""What no single document can tell: references between documents, images, planes."""

from __future__ import annotations

import difflib
from collections.abc import Iterator

from meshlab.model.documents import Problem
from meshlab.model.ids import ROOT_NAMESPACE, Ref
from meshlab.model.mesh import Mesh, ref_of
from meshlab.model.policies import Action, AuthorizationPolicy, PeerAuthentication
from meshlab.model.routes import HTTPRoute
from meshlab.model.services import HBONE, TUNNEL_LABEL, Protocol, Service, port_protocol
from meshlab.model.wire import PROXY_PORTS
from meshlab.model.workloads import MODE_LABEL, Deployment, Labels, Mode, Namespace, Pod, PodTemplate, ServiceAccount

BUILT_IN_IMAGES = ("meshlab/echo", "meshlab/nginx")
PROXY_NAME = "envoy"
_NAME_MAX = 59
"""Of a Deployment: with `-500` behind it, a pod's name is at most 63 characters, as a host's name must be."""


def check(mesh: Mesh, *, source: str = "mesh", alone: bool = False) -> tuple[Problem, ...]:
    """Problems across documents. `alone`: the text is all there is to see, so a missing reference is a warning."""
    dangling = "warning" if alone else "error"
    found: list[Problem] = []
    for ref, what, severity, path, hint in _all(mesh):
        level = dangling if severity == "dangling" else severity
        found.append(Problem(source, 0, str(ref), path, what, hint, level))
    return tuple(found)


Found = tuple[Ref, str, str, str, str]


def _all(mesh: Mesh) -> Iterator[Found]:
    for namespace in mesh.all(Namespace):
        yield from _mode(ref_of(namespace), namespace.labels, "metadata.labels")
    for deployment in mesh.all(Deployment):
        if len(deployment.name) > _NAME_MAX:
            hint = f"at most {_NAME_MAX} characters: its pods are called {deployment.name[:9]}...-1"
            yield ref_of(deployment), "the name is too long", "error", "metadata.name", hint
        yield from _template(mesh, ref_of(deployment), deployment.namespace, deployment.template, "spec.template.")
    for pod in mesh.all(Pod):
        yield from _template(mesh, ref_of(pod), pod.namespace, pod.template, "")
    for route in mesh.all(HTTPRoute):
        yield from _route(mesh, route)
    policies: list[AuthorizationPolicy | PeerAuthentication] = [*mesh.all(AuthorizationPolicy)]
    policies += mesh.all(PeerAuthentication)
    for policy in policies:
        if policy.selector and not _selects(mesh, policy.namespace, policy.selector):
            yield ref_of(policy), "selects no workload", "warning", "spec.selector", ""
    for policy in mesh.all(AuthorizationPolicy):
        yield from _principals(policy)
    for service in mesh.all(Service):
        yield from _tunnel(service)
        if service.selector and not _selects(mesh, service.namespace, service.selector):
            yield ref_of(service), "selects no workload", "warning", "spec.selector", ""


def _principals(policy: AuthorizationPolicy) -> Iterator[Found]:
    if policy.action is Action.DENY and not policy.rules:
        yield ref_of(policy), "a DENY policy without rules denies nothing", "warning", "spec.rules", ""
    for at, rule in enumerate(policy.rules):
        for number, source in enumerate(rule.sources):
            for field in ("principals", "not_principals"):
                if any(value.startswith("spiffe://") for value in getattr(source, field)):
                    path = f"spec.rules[{at}].from[{number}].source.{'notPrincipals' if '_' in field else field}"
                    hint = "as in Istio: cluster.local/ns/shop/sa/web"
                    yield ref_of(policy), "principals are written without spiffe://", "error", path, hint


def _selects(mesh: Mesh, namespace: str, selector: Labels) -> bool:
    workloads = [(d.namespace, d.template.labels) for d in mesh.all(Deployment)]
    workloads += [(p.namespace, p.template.labels) for p in mesh.all(Pod)]
    return any(
        namespace in (where, ROOT_NAMESPACE) and selector.items() <= labels.items() for where, labels in workloads
    )


def _mode(ref: Ref, labels: Labels, path: str) -> Iterator[Found]:
    mode = labels.get(MODE_LABEL)
    if mode is None:
        return
    where = f"{path}[{MODE_LABEL}]"
    if mode not in {m.value for m in Mode}:
        yield ref, f"unknown plane {mode!r}", "error", where, "expected sidecar, sidecarless or none"


def _tunnel(service: Service) -> Iterator[Found]:
    wanted, where = service.labels.get(TUNNEL_LABEL), f"metadata.labels[{TUNNEL_LABEL}]"
    if wanted is None:
        return
    if wanted != HBONE:
        yield ref_of(service), f"unknown tunnel {wanted!r}", "error", where, f"expected {HBONE}"
    elif not any(port_protocol(port) in (Protocol.TCP, Protocol.TLS, Protocol.AUTO) for port in service.ports):
        yield ref_of(service), "no port of it carries raw connections", "warning", where, "requests share connections"


def _template(mesh: Mesh, ref: Ref, namespace: str, template: PodTemplate, prefix: str) -> Iterator[Found]:
    yield from _mode(ref, template.labels, f"{prefix}metadata.labels")
    account = template.service_account
    if account != "default" and mesh.get(ServiceAccount, namespace, account) is None:
        known = [sa.name for sa in mesh.all(ServiceAccount) if sa.namespace == namespace]
        path = f"{prefix}spec.serviceAccountName"
        yield ref, f"no ServiceAccount {namespace}/{account}", "dangling", path, _near(account, known)
    for number, container in enumerate(template.containers):
        path = f"{prefix}spec.containers[{number}]"
        if not container.command and container.image.split(":")[0] not in BUILT_IN_IMAGES:
            hint = (
                f"built in: {', '.join(BUILT_IN_IMAGES)}; for any other image give `command`, run from the host's files"
            )
            yield ref, f"image {container.image!r} cannot be run here", "error", f"{path}.image", hint
        if container.name == PROXY_NAME:
            yield ref, f"the name {PROXY_NAME} belongs to the proxy", "error", f"{path}.name", "use another"
        known = [port.name for port in container.ports if port.name]
        for field, probe in (("readinessProbe", container.readiness), ("livenessProbe", container.liveness)):
            if probe and isinstance(probe.port, str) and probe.port not in known:
                yield ref, f"no port named {probe.port!r}", "error", f"{path}.{field}", _near(probe.port, known)
        for port in container.ports:
            if port.container_port in PROXY_PORTS:
                yield ref, f"port {port.container_port} belongs to the proxy", "error", f"{path}.ports", "use another"


def _route(mesh: Mesh, route: HTTPRoute) -> Iterator[Found]:
    ref = ref_of(route)
    for number, parent in enumerate(route.parents):
        path = f"spec.parentRefs[{number}]"
        yield from _service(mesh, ref, parent.namespace, parent.name, parent.port, parent.section_name, path)
    if route.hostnames:
        yield ref, "hostnames have no effect with a Service as parent", "warning", "spec.hostnames", "match by header"
    for at, rule in enumerate(route.rules):
        for mirror in rule.filters.mirrors:
            path = f"spec.rules[{at}].filters"
            yield from _service(mesh, ref, mirror.namespace, mirror.name, mirror.port, "", path)
        for number, backend in enumerate(rule.backends):
            path = f"spec.rules[{at}].backendRefs[{number}]"
            yield from _service(mesh, ref, backend.namespace, backend.name, backend.port, "", path)
            if backend.namespace != route.namespace:
                yield ref, "a backend of another namespace needs a ReferenceGrant", "error", path, "not built yet"


def _service(mesh: Mesh, ref: Ref, namespace: str, name: str, port: int, section: str, path: str) -> Iterator[Found]:
    service = mesh.get(Service, namespace, name)
    if service is None:
        known = [one.name for one in mesh.all(Service) if one.namespace == namespace]
        yield ref, f"no Service {namespace}/{name}", "dangling", f"{path}.name", _near(name, known)
        return
    ports = {one.port for one in service.ports}
    if port and port not in ports:
        yield ref, f"Service {name} has no port {port}", "error", f"{path}.port", f"it has {sorted(ports)}"
    if section and section not in {one.name for one in service.ports}:
        yield ref, f"Service {name} has no port named {section!r}", "error", f"{path}.sectionName", ""


def _near(word: str, known: list[str]) -> str:
    near = difflib.get_close_matches(word, known, n=1)
    return f"did you mean {near[0]}?" if near else ""
