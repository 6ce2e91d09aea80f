"""A pair of Envoys configured by hand (`proxy/handwritten/`), on the same work as a pair of sidecars.

The same work: interception by the same rules, HTTP on both sides, mutual TLS 1.3 with the peer's SPIFFE ID checked, an
RBAC filter without rules, the same access log to the same collector. Not the same: no discovery, no keys by SDS, the
application sees 127.0.0.1 as its client.
"""

from __future__ import annotations

import json
import os
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from google.protobuf.json_format import MessageToDict

from meshlab import assets
from meshlab.bench import documents
from meshlab.compile.xds.filters import access_log
from meshlab.dataplanes.envoy.binary import envoy_binary
from meshlab.dataplanes.envoy.bootstrap import control_plane_cluster
from meshlab.dataplanes.sidecar import interception
from meshlab.errors import TimedOut
from meshlab.identity.authority import Authority
from meshlab.identity.tokens import TokenKey
from meshlab.kit import cgroups, processes
from meshlab.kit.layout import Layout
from meshlab.model.ids import SpiffeId
from meshlab.model.wire import PROXY_UID
from meshlab.model.world import Endpoint

if TYPE_CHECKING:
    from meshlab.lab.session import Lab
    from meshlab.runtimes.base import PodStatus

CLIENT, SERVER = "handwritten-client", "handwritten-server"


def pods(client_node: str, server_node: str) -> list[documents.Document]:
    """Pods without a plane: an nginx in each; their Envoys are started by `start`."""
    found: list[documents.Document] = []
    for name, node in ((CLIENT, client_node), (SERVER, server_node)):
        found += documents.workload(name, mode="none", node=node)
    return found


def start(lab: Lab) -> str:
    """Put interception and Envoy into both pods; the URL that the client calls. They end with their pods."""
    layout = Layout.of(lab.settings.name)
    status = {pod.workload: pod for pod in lab.pods() if pod.workload in (CLIENT, SERVER)}
    authority = Authority.load_or_create(layout.root / "handwritten", "handwritten.local")
    for name, peer in ((SERVER, CLIENT), (CLIENT, SERVER)):
        folder = layout.root / "handwritten" / name
        _keys(authority, folder, name)
        config = _config(layout, folder, name, peer, status)
        lab.exec(name, ["nft", "-f", "-"], namespace=documents.NAMESPACE, stdin=interception.rules().encode())
        _start(lab, status[name], config)
    return f"http://{status[SERVER].ip}:{documents.PORT}/"


def _keys(authority: Authority, folder: Path, name: str) -> None:
    folder.mkdir(mode=0o755)
    folder.parent.chmod(0o711)
    svid = authority.issue(SpiffeId(authority.trust_domain, documents.NAMESPACE, name), 86_400)
    for file, text in (("chain.pem", svid.chain_pem), ("key.pem", svid.key_pem), ("bundle.pem", authority.bundle_pem)):
        _write(folder / file, text)


def _write(path: Path, text: str) -> Path:
    path.touch(mode=0o600)
    path.write_text(text)
    os.chown(path, PROXY_UID, PROXY_UID)
    return path


def _config(layout: Layout, folder: Path, name: str, peer: str, status: dict[str, PodStatus]) -> Path:
    pod, side = status[name], "client" if name == CLIENT else "server"
    endpoint = Endpoint(pod.pod, pod.uid, pod.ip, pod.node, pod.workload, pod.service_account)
    token = TokenKey.load_or_create(layout.identity / "token.key").mint_for(endpoint)
    log = access_log("outbound" if side == "client" else "inbound", "http")
    words = {
        "FOLDER": str(folder),
        "PEER": f"spiffe://handwritten.local/ns/{documents.NAMESPACE}/sa/{peer}",
        "SERVER_IP": status[SERVER].ip,
        "ACCESS_LOG": json.dumps(MessageToDict(log, preserving_proto_field_name=True)),
        "CONTROL_PLANE": json.dumps(control_plane_cluster(str(layout.ads_socket), token)),
    }
    text = (assets.folder("proxy") / "handwritten" / f"{side}.yaml").read_text()
    return _write(folder / "envoy.yaml", re.sub(r"@([A-Z_]+)@", lambda found: words[found[1]], text))


def _start(lab: Lab, pod: PodStatus, config: Path) -> None:
    """In the background of its pod: the exec's shell returns, the Envoy stays, counted with the pod's application."""
    name = pod.workload
    group = cgroups.pods_group(lab.settings.name, pod.node) / f"{pod.pod.namespace}_{pod.pod.name}" / "app"
    user = ["setpriv", f"--reuid={PROXY_UID}", f"--regid={PROXY_UID}", "--clear-groups", "--"]
    envoy = [envoy_binary(), "-c", str(config), "--concurrency", "1", "--disable-hot-restart", "--log-level", "warning"]
    command = shlex.join(processes.joined(group, [*user, *envoy]))
    ready = "for i in $(seq 100); do (exec 3<>/dev/tcp/127.0.0.1/15000) 2>/dev/null && exit 0; sleep 0.1; done; exit 1"
    script = f"setsid {command} </dev/null >{config.parent}/envoy.log 2>&1 & {ready}"
    done = lab.exec(name, ["bash", "-c", script], namespace=documents.NAMESPACE)
    if done.exit_code:
        log = (config.parent / "envoy.log").read_text()
        raise TimedOut(f"the hand-written Envoy of {name} did not start: {log[-500:]}")
