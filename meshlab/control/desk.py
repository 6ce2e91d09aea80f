"""Who is connected, what each proxy wants and has, every push, ACK and NACK with its time."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import asdict, dataclass
from typing import Any

from meshlab.errors import MeshlabError
from meshlab.identity.tokens import TokenKey
from meshlab.model.wire import AGENT
from meshlab.model.world import Endpoint, PodId, World
from meshlab.telemetry.store import FlowStore
from meshlab.xds.conversation import Answer, Response

_EVENTS_KEPT = 200_000


def node_client(node: str) -> str:
    """The name of a node's shared proxy among the clients (`namespace/pod`, without a namespace)."""
    return f"/{node}"


def agent_client(node: str) -> str:
    """The name of a node's agent among the clients."""
    return f"/{node}/{AGENT}"


@dataclass
class ProxyRow:
    """One proxy; a node's shared one has no namespace and its node's name, a node's agent `<node>/agent`. Times are
    Unix nanoseconds; versions are World versions."""

    namespace: str
    pod: str
    node: str
    connected: bool = False
    since_ns: int = 0
    wanted_version: str = ""
    wanted_at_ns: int = 0
    acked_version: str = ""
    acked_at_ns: int = 0
    nack: str = ""
    nack_at_ns: int = 0
    nacks: int = 0


class Desk:
    """The ADS server's owner: admits by token, remembers, hands access logs to the store."""

    def __init__(self, tokens: TokenKey, flows: FlowStore) -> None:
        self._tokens, self._flows = tokens, flows
        self._world: World | None = None
        self.proxies: dict[str, ProxyRow] = {}
        self.events: deque[dict[str, Any]] = deque(maxlen=_EVENTS_KEPT)
        self._count = 0

    @property
    def peers(self) -> dict[str, dict[str, Any]]:
        """Every address ever seen, by whichever control plane of this lab."""
        return self._flows.peers

    def see(self, world: World) -> None:
        """The newest world: admit its pods, remember every address ever seen."""
        self._world = world
        self._flows.know(_peer(world, endpoint) for endpoint in world.endpoints if endpoint.ip)
        for endpoint in world.endpoints:
            self.row(str(endpoint.pod)).node = endpoint.node
        nodes = {endpoint.node for endpoint in world.endpoints}
        there = {str(e.pod) for e in world.endpoints} | {*map(node_client, nodes), *map(agent_client, nodes)}
        gone = {name for name, row in self.proxies.items() if not row.connected} - there
        for name in gone:
            del self.proxies[name]

    def row(self, client: str) -> ProxyRow:
        namespace, _, pod = client.partition("/")
        return self.proxies.setdefault(client, ProxyRow(namespace, pod, "" if namespace else pod.partition("/")[0]))

    def want(self, client: str, version: str) -> None:
        row = self.row(client)
        row.wanted_version, row.wanted_at_ns = version, time.time_ns()

    def have(self, client: str) -> None:
        """Nothing differs between what is wanted and what the proxy acknowledged."""
        row = self.row(client)
        row.acked_version, row.acked_at_ns, row.nack = row.wanted_version, time.time_ns(), ""

    # the server's calls

    def admit(self, token: str, node_id: str) -> str:
        claims = self._tokens.verify(token)
        if not claims.namespace:
            agent = claims.pod != claims.node
            if node_id and node_id != f"{AGENT if agent else 'node'}~{claims.node}":
                raise MeshlabError(f"node id {node_id!r} is not that of {claims.pod}")
            return f"/{claims.pod}"
        endpoint = self._world.endpoint(PodId(claims.namespace, claims.pod)) if self._world else None
        if endpoint is None or endpoint.uid != claims.uid:
            raise MeshlabError(f"no pod {claims.namespace}/{claims.pod} with the uid of this token")
        if node_id and f"~{claims.pod}.{claims.namespace}~" not in node_id:
            raise MeshlabError(f"node id {node_id!r} is not that of {claims.namespace}/{claims.pod}")
        return str(endpoint.pod)

    def opened(self, client: str, *, fresh: bool) -> None:
        row = self.row(client)
        if fresh:
            self._flows.restarted(client)
        row.connected, row.since_ns = True, time.time_ns()

    def closed(self, client: str) -> None:
        self.row(client).connected = False

    def pushed(self, client: str, response: Response) -> None:
        self._event(client, "push", response.type_url, response.version, "")

    def answered(self, client: str, answer: Answer, *, settled: bool) -> None:
        row = self.row(client)
        self._event(client, "nack" if answer.error else "ack", answer.type_url, answer.version, answer.error)
        if answer.error:
            row.nack, row.nack_at_ns, row.nacks = answer.error, time.time_ns(), row.nacks + 1
        elif settled:
            self.have(client)

    def logged(self, client: str, payload: bytes, rows: int) -> None:
        self._flows.append(client, time.time_ns(), payload, rows)

    def _event(self, client: str, kind: str, type_url: str, version: str, error: str) -> None:
        self._count += 1
        namespace, _, pod = client.partition("/")
        self.events.append(
            {
                "n": self._count,
                "time_ns": time.time_ns(),
                "namespace": namespace,
                "pod": pod,
                "kind": kind,
                "type": type_url.rsplit(".", 1)[-1],
                "version": version,
                "error": error,
            }
        )

    def proxy_rows(self) -> list[dict[str, Any]]:
        return [asdict(row) for _, row in sorted(self.proxies.items()) if row.connected or row.wanted_version]


def _peer(world: World, endpoint: Endpoint) -> dict[str, Any]:
    return {
        "ip": endpoint.ip,
        "namespace": endpoint.pod.namespace,
        "pod": endpoint.pod.name,
        "workload": endpoint.workload,
        "service_account": endpoint.service_account,
        "node": endpoint.node,
        "mode": str(endpoint.mode),
        "uid": endpoint.uid,
        "services": [service.name for service in world.services_of(endpoint)],
    }
