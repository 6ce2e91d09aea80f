"""The node's real Envoy in the path: it listens and dials inside the pods' namespaces."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from meshlab.dataplanes.envoy.binary import envoy_binary
from meshlab.dataplanes.sidecarless.node import KernelNode
from meshlab.dataplanes.sidecarless.plan import Plan, Rule
from meshlab.kit import netns
from meshlab.kit.processes import joined
from meshlab.model.outcomes import Reason
from meshlab.model.wire import INBOUND_MARK
from tests.bpf.conftest import eventually
from tests.bpf.test_connect import ALL, PROXY
from tests.bpf.topology import Bench

_TYPES = "type.googleapis.com/envoy.extensions"
_LOG = "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT% %DOWNSTREAM_LOCAL_ADDRESS% %UPSTREAM_HOST%\n"


def listener(bench: Bench, pod: str, port: int, log: Path) -> dict[str, Any]:
    """Take a connection inside a pod and dial where it was going, from inside the pod."""
    write = {
        "name": "file",
        "typed_config": {
            "@type": f"{_TYPES}.access_loggers.file.v3.FileAccessLog",
            "path": str(log),
            "log_format": {"text_format_source": {"inline_string": f"{pod} {port} {_LOG}"}},
        },
    }
    name = f"{pod}-{port}"
    proxy = {
        "@type": f"{_TYPES}.filters.network.tcp_proxy.v3.TcpProxy",
        "stat_prefix": name,
        "cluster": pod,
        "access_log": [write],
    }
    original = {"@type": f"{_TYPES}.filters.listener.original_dst.v3.OriginalDst"}
    return {
        "name": name,
        "address": _address(bench, pod, "127.0.0.1", port),
        "listener_filters": [{"name": "original_dst", "typed_config": original}],
        "filter_chains": [{"filters": [{"name": "tcp", "typed_config": proxy}]}],
    }


def cluster(bench: Bench, pod: str) -> dict[str, Any]:
    return {
        "name": pod,
        "type": "ORIGINAL_DST",
        "lb_policy": "CLUSTER_PROVIDED",
        "connect_timeout": "2s",
        "upstream_bind_config": {
            "source_address": _address(bench, pod, "0.0.0.0", 0)["socket_address"],
            "socket_options": [{"level": 1, "name": 36, "int_value": INBOUND_MARK if pod == "b" else 0}],  # SO_MARK
        },
    }


def _address(bench: Bench, pod: str, ip: str, port: int) -> dict[str, Any]:
    found = {"address": ip, "port_value": port, "network_namespace_filepath": bench.netns(pod)}
    return {"socket_address": found}


def start(bench: Bench, folder: Path) -> subprocess.Popen[str]:
    log = folder / "access.log"
    listeners = [listener(bench, "a", 15001, log), listener(bench, "b", 15006, log)]
    resources = {"listeners": listeners, "clusters": [cluster(bench, pod) for pod in ("a", "b")]}
    (folder / "envoy.json").write_text(json.dumps({"static_resources": resources}))
    words = ["-c", str(folder / "envoy.json"), "--use-dynamic-base-id", "--concurrency", "1", "-l", "error"]
    envoy = subprocess.Popen(
        joined(bench.proxy_group, [envoy_binary(), *words, "--file-flush-interval-msec", "50"]), text=True
    )
    bench.children.append(envoy)
    eventually(lambda: _listens(bench, "a", 15001) and _listens(bench, "b", 15006), "Envoy listens", 30)
    return envoy


def _listens(bench: Bench, pod: str, port: int) -> bool:
    with netns.socket_in(bench.netns(pod)) as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


def test_diverted_and_steered_through_the_real_envoy(bench: Bench, node: KernelNode, tmp_path: Path) -> None:
    """a -> Envoy inside a (told b's address) -> b's gate -> Envoy inside b (sees b's address) -> b's application."""
    bench.serve("b")
    node.apply(Plan((), (*ALL, Rule(2, PROXY, Reason.OK, 8080))))
    envoy = start(bench, tmp_path)
    assert bench.ask("a", bench.ip("b")) == "b"
    assert bench.ask("plain", bench.ip("b")) == "b"
    counted = node.counters()
    assert (counted["diverted"], counted["steered"], counted["inbound_allowed"]) == (1, 2, 0)
    log = tmp_path / "access.log"
    eventually(lambda: sum("8080" in line for line in log.read_text().splitlines()) == 3, log.read_text())
    target = f"{bench.ip('b')}:8080"
    assert sorted(line for line in log.read_text().splitlines() if "8080" in line) == sorted(
        [
            f"a 15001 127.0.0.1 {target} {target}",
            f"b 15006 {bench.ip('a')} {target} {target}",
            f"b 15006 {bench.ip('plain')} {target} {target}",
        ]
    )
    bench.stop(envoy)
    assert bench.ask("a", bench.ip("b")) == "ECONNREFUSED"
    assert bench.ask("plain", bench.ip("b")) == "ECONNREFUSED"
    start(bench, tmp_path)
    assert bench.ask("a", bench.ip("b")) == "b"
