"""Shapes of what runs and how it is reached: pods, Deployments, Services."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from meshlab.model.shapes_core import (
    ClusterIP,
    EnvName,
    Int,
    Labels,
    LabelSelector,
    Name,
    Port,
    ProbePath,
    RolloutBound,
    Shape,
)


class FieldRef(Shape):
    field_path: str


class ValueFrom(Shape):
    field_ref: FieldRef


class Env(Shape):
    name: EnvName
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
    path: ProbePath = "/"
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
    success_threshold: Int = Field(1, ge=1)
    failure_threshold: Int = Field(3, ge=1)

    @model_validator(mode="after")
    def _one(self) -> Probe:
        if sum(x is not None for x in (self.http_get, self.tcp_socket, self.exec)) != 1:
            raise ValueError("expected exactly one of httpGet, tcpSocket, exec")
        return self


class Container(Shape):
    name: Name
    image: str
    image_pull_policy: str = ""
    command: list[str] = Field(default=[])
    args: list[str] = Field(default=[])
    env: list[Env] = Field(default=[])
    ports: list[ContainerPort] = Field(default=[])
    working_dir: str = ""
    readiness_probe: Probe | None = None
    liveness_probe: Probe | None = None


class PodSpec(Shape):
    service_account_name: Name = "default"
    containers: list[Container] = Field(min_length=1)
    termination_grace_period_seconds: float = Field(30, ge=0)
    node_name: str = ""
    restart_policy: Literal["Always", "OnFailure", "Never"] = "Always"

    @model_validator(mode="after")
    def _names_differ(self) -> PodSpec:
        if len({container.name for container in self.containers}) < len(self.containers):
            raise ValueError("containers need names of their own")
        return self


class TemplateMetadata(Shape):
    labels: Labels = Field(default={})
    annotations: Labels = Field(default={})


class PodTemplate(Shape):
    metadata: TemplateMetadata = TemplateMetadata()
    spec: PodSpec


class RollingUpdate(Shape):
    max_surge: RolloutBound = "25%"
    max_unavailable: RolloutBound = "25%"


class Strategy(Shape):
    type: Literal["RollingUpdate"] = "RollingUpdate"
    rolling_update: RollingUpdate = RollingUpdate()


class DeploymentSpec(Shape):
    replicas: Int = Field(1, ge=0, le=500)
    selector: LabelSelector
    template: PodTemplate
    strategy: Strategy = Strategy()
    min_ready_seconds: float = Field(0, ge=0)

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
    selector: Labels = Field(default={})
    cluster_ip: ClusterIP = Field("", alias="clusterIP")
    type: Literal["ClusterIP"] = "ClusterIP"

    @model_validator(mode="after")
    def _ports_differ(self) -> ServiceSpec:
        if len({port.port for port in self.ports}) < len(self.ports):
            raise ValueError("ports must differ")
        if len(self.ports) > 1 and len({port.name for port in self.ports}) < len(self.ports):
            raise ValueError("with several ports, each needs a name of its own")
        return self
