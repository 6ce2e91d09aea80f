"""Small documents for labs of tests."""

from __future__ import annotations

from typing import Any

import yaml


def text(documents: list[dict[str, Any]]) -> str:
    """The documents as one YAML text."""
    return yaml.safe_dump_all(documents)


def workload(
    name: str,
    ports: list[dict[str, Any]],
    namespace: str = "mesh",
    command: list[str] | None = None,
    mode: str = "",
    **env: str,
) -> list[dict[str, Any]]:
    """A ServiceAccount, a Deployment of one echo and its Service. `mode`: the pod's own plane."""
    labels = {"app": name, **({"meshlab.io/mode": mode} if mode else {})}
    meta = {"name": name, "namespace": namespace}
    container: dict[str, Any] = {"name": "app", "image": "meshlab/echo"}
    container["env"] = [{"name": key, "value": value} for key, value in {"NAME": name, **env}.items()]
    if command:
        container |= {"image": "own", "command": command}
    container["readinessProbe"] = {"tcpSocket": {"port": ports[0].get("targetPort", 8080) if ports else 8080}}
    spec = {"serviceAccountName": name, "containers": [container]}
    template = {"metadata": {"labels": labels}, "spec": spec}
    found: list[dict[str, Any]] = [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta},
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": meta,
            "spec": {"selector": {"matchLabels": {"app": name}}, "template": template},
        },
    ]
    if ports:
        found.append(service(name, name, ports, namespace=namespace))
    return found


def service(
    name: str, app: str, ports: list[dict[str, Any]], *, namespace: str = "mesh", **spec: str
) -> dict[str, Any]:
    meta = {"name": name, "namespace": namespace}
    return {"apiVersion": "v1", "kind": "Service", "metadata": meta,
            "spec": {"selector": {"app": app}, "ports": ports, **spec}}  # fmt: skip


def namespace(name: str, mode: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": {"meshlab.io/mode": mode}}}
