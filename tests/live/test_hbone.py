"""Raw connections to a Service that wants it go through HBONE: HTTP/2 CONNECT over mutual TLS at 15008 of the pod."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from meshlab import Lab
from meshlab.identity.authority import Authority
from meshlab.kit.layout import Layout
from meshlab.model.ids import SpiffeId
from tests.live import clients
from tests.live.documents import namespace, text, workload
from tests.live.tools import ip_of, kill, proxy_pids

SERVER = """
import hashlib, socket, sys, threading, time
def sink(wire, wait_s):
    time.sleep(wait_s)
    size, digest = 0, hashlib.sha256()
    while data := wire.recv(1 << 16):
        size, digest = size + len(data), digest.copy()
        digest.update(data)
    wire.sendall(f"{size} {digest.hexdigest()}".encode())
def one(wire):
    word, _, number = wire.recv(16).rstrip(b",").partition(b",")
    if word == b"sink":
        wire.sendall(b"!")
        sink(wire, float(number))
    elif word == b"source":
        wire.sendall(bytes(range(256)) * int(number))
    elif word == b"ping":
        wire.sendall(b"pong")
        wire.recv(1)
    wire.close()
def serve(port):
    server = socket.create_server(("0.0.0.0", port))
    while True:
        threading.Thread(target=one, args=server.accept()[:1]).start()
threading.Thread(target=serve, args=(9001,)).start()
serve(9000)
"""
CONNECT = """
import json, socket, sys, hashlib, time
host, port = sys.argv[1:3]
def dial(word):
    wire = socket.create_connection((host, int(port)), timeout=20)
    wire.sendall(word.encode().ljust(16, b","))
    return wire
def word(wire):
    try:
        return wire.recv(4).decode()
    except ConnectionResetError:
        return "reset"
def rest(wire):
    data = b""
    while more := wire.recv(1 << 20):
        data += more
    return data
def said(result):
    print(json.dumps(result))
"""
MANY = """
wires = [dial("ping,0") for _ in range(20)]
said([wire.recv(4).decode() for wire in wires])
sys.stdout.flush()
sys.stdin.read()
"""
UPLOAD = """
wire, block = dial("sink,0"), bytes(range(256)) * 4096
assert wire.recv(1) == b"!"
for _ in range(64):
    wire.sendall(block)
wire.shutdown(socket.SHUT_WR)
said([rest(wire).decode(), f"{64 * len(block)} {hashlib.sha256(block * 64).hexdigest()}"])
"""
DOWNLOAD = """
wire, found, end = dial("source,400000"), b"", "whole"
try:
    while more := wire.recv(1 << 20):
        found += more
except ConnectionResetError:
    end = "reset"
said([end, len(found), (bytes(range(256)) * 400000).startswith(found)])
"""
PING = 'said(word(dial("ping,0")))'
STALLED = """
slow, sent, block = dial("sink,5"), 0, b"x" * 65536
assert slow.recv(1) == b"!"
slow.settimeout(1.0)
try:
    while sent < 1 << 28:
        sent += slow.send(block)
except TimeoutError:
    pass
began = time.monotonic()
other = dial("ping,0")
answer = other.recv(4).decode()
took_s = time.monotonic() - began
slow.settimeout(20)
slow.shutdown(socket.SHUT_WR)
said({"sent": sent, "answer": answer, "took_s": took_s, "digest": rest(slow).decode(),
      "expected": f"{sent} {hashlib.sha256(b'x' * sent).hexdigest()}"})
"""
PINGS = """
end, found = time.monotonic() + 6, []
while time.monotonic() < end:
    wire = dial("ping,0")
    found.append(word(wire))
    wire.close()
said([len(found), sorted(set(found))])
"""
RECOVERY = """
began, last = time.monotonic(), 0.0
while time.monotonic() < began + 2:
    try:
        if word(dial("ping,0")) != "pong":
            last = time.monotonic() - began
    except OSError:
        last = time.monotonic() - began
said(last)
"""
ASK = """
import json, socket, ssl, sys, h2.config, h2.connection, h2.events
host, authority, chain, trust = sys.argv[1:]
context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
context.check_hostname = False
context.load_verify_locations(trust)
context.set_alpn_protocols(["h2"])
if chain:
    context.load_cert_chain(chain)
try:
    wire = context.wrap_socket(socket.create_connection((host, 15008), timeout=10))
    machine = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
    machine.initiate_connection()
    machine.send_headers(1, [(":method", "CONNECT"), (":authority", authority)])
    status = 0
    while not status:
        wire.sendall(machine.data_to_send())
        data = wire.recv(65536)
        if not data:
            raise OSError("closed")
        for event in machine.receive_data(data):
            if isinstance(event, h2.events.ResponseReceived):
                status = int(dict(event.headers)[":status"])
    print(json.dumps({"status": status}))
except OSError as error:
    print(json.dumps({"error": type(error).__name__}))
"""
ONLY_A = """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: only-a, namespace: mesh}
spec:
  selector: {matchLabels: {app: server}}
  rules:
  - from: [{source: {serviceAccounts: [client-a]}}]
    to: [{operation: {ports: ["9000"]}}]
"""
PORTS = [
    {"name": "tcp", "port": 9000, "targetPort": 9000},
    {"name": "tcp-other", "port": 9001, "targetPort": 9001},
    {"name": "tcp-nobody", "port": 9002, "targetPort": 9002},
]


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    own = [sys.executable, "-c", SERVER]
    placed = [
        (workload("client-a", []), "node-1"),
        (workload("client-b", []), "node-1"),
        (workload("client-sidecar", [], mode="sidecar"), "node-1"),
        (workload("server", PORTS, command=own), "node-2"),
        (workload("server-sidecar", PORTS, command=own, mode="sidecar"), "node-2"),
    ]
    documents = [
        namespace("mesh", "sidecarless"),
        namespace("plain", "none"),
        *workload("client", [], namespace="plain"),
    ]
    for made, node in placed:
        made[1]["spec"]["template"]["spec"]["nodeName"] = node
        if made[-1]["kind"] == "Service":
            made[-1]["metadata"] = {**made[-1]["metadata"], "labels": {"meshlab.io/tunnel": "hbone"}}
        documents += made
    with Lab(f"hb{os.getpid() % 100000}", nodes=2) as made_lab:
        made_lab.apply(text(documents))
        made_lab.wait(timeout_s=120)
        yield made_lab


def program(lab: Lab, source: str, body: str, host: str, port: int = 9000) -> Any:
    done = lab.exec(f"mesh/{source}", [sys.executable, "-c", CONNECT + body, host, str(port)], timeout_s=60)
    assert done.exit_code == 0, done.stderr.decode()
    return json.loads(done.stdout)


def tunnels_into(lab: Lab, workload: str) -> list[str]:
    """The addresses from which connections to 15008 of this workload's pod come."""
    done = lab.exec(f"mesh/{workload}", ["ss", "-Htn", "state", "established", "( sport = :15008 )"])
    return [line.split()[3].rpartition(":")[0] for line in done.stdout.decode().splitlines()]


@pytest.mark.parametrize("server", ["server", "server-sidecar"])
def test_connections_of_a_pair_of_pods_share_a_tunnel_and_those_of_two_pods_do_not(lab: Lab, server: str) -> None:
    for client in ("client-a", "client-b"):
        assert program(lab, client, PING, server) == "pong"  # while there is no tunnel yet, each connection makes one
        assert program(lab, client, MANY, server) == ["pong"] * 20
    assert sorted(tunnels_into(lab, server)) == sorted([ip_of(lab, "client-a"), ip_of(lab, "client-b")])
    rows = lab.flows()
    rows = rows[(rows["destination_workload"] == server) & (rows["source_workload"] == "client-a")]
    assert len(rows) == 2 * 21
    assert rows["mtls"].all()
    assert set(rows["destination_port"]) == {9000}
    arrived = rows[rows["reporter"] == "destination"]
    assert set(arrived["source_principal"]) == {"spiffe://cluster.local/ns/mesh/sa/client-a"}
    assert set(arrived["request_bytes"]) == {16}
    assert set(arrived["response_bytes"]) == {4}


PAIRS = [("client-a", "server"), ("client-a", "server-sidecar"), ("client-sidecar", "server")]


@pytest.mark.parametrize(("client", "server"), PAIRS)
def test_every_byte_arrives_and_then_the_answer_to_them(lab: Lab, client: str, server: str) -> None:
    digest, expected = program(lab, client, UPLOAD, server)
    assert digest == expected


@pytest.mark.parametrize(("client", "server"), PAIRS)
def test_a_server_that_closes_ends_the_connection_and_what_is_cut_off_is_told(
    lab: Lab, client: str, server: str
) -> None:
    end, size, right = program(lab, client, DOWNLOAD, server)
    assert right
    assert (end, size) == ("whole", 256 * 400_000) or end == "reset"
    assert program(lab, client, DOWNLOAD, ip_of(lab, server)) == ["whole", 256 * 400_000, True], "not in a tunnel"


def test_a_receiver_that_does_not_read_holds_back_its_own_sender_and_nobody_else(lab: Lab) -> None:
    found = program(lab, "client-a", STALLED, "server")
    assert found["answer"] == "pong"
    assert found["took_s"] < 1.0, "on the same tunnel"
    assert found["sent"] < 16 << 20, "what the sockets, the two proxies and the window of its stream hold"
    assert found["digest"] == found["expected"]


def test_policies_hold_for_each_connection_in_a_tunnel(lab: Lab) -> None:
    lab.apply(ONLY_A)
    lab.wait()
    try:
        for host in ("server", ip_of(lab, "server")):
            assert program(lab, "client-a", PING, host) == "pong"
            assert program(lab, "client-a", PING, host, 9001) in ("", "reset")
            assert program(lab, "client-b", PING, host) in ("", "reset")
    finally:
        lab.delete(ONLY_A)
        lab.wait()
    rows = lab.flows()
    rows = rows[(rows["destination_workload"] == "server") & (rows["reporter"] == "destination")]
    denied = rows[rows["verdict"] == "denied"]
    assert set(denied["reason"]) == {"no_allow_match"}
    assert sorted(zip(denied["source_workload"], denied["destination_port"], strict=True)) == [
        ("client-a", 9001), ("client-a", 9001), ("client-b", 9000), ("client-b", 9000),
    ]  # fmt: skip
    allowed = rows[rows["policy"] == "mesh/only-a"]
    assert (list(allowed["source_workload"]), set(allowed["verdict"])) == (["client-a"] * 2, {"allowed"})
    assert program(lab, "client-b", PING, "server") == "pong"


def test_a_port_where_nobody_listens_is_a_failed_connection(lab: Lab) -> None:
    assert program(lab, "client-a", PING, "server", 9002) in ("", "reset")
    rows = lab.flows()
    rows = rows[rows["destination_port"] == 9002]
    assert sorted(rows["reporter"]) == ["destination", "source"]
    assert set(rows["verdict"]) == {"failed"}
    assert set(rows["reason"]) == {"upstream_connect_failed"}


def test_tunnels_are_back_within_a_second_after_either_end_was_killed(lab: Lab) -> None:
    for node in ("/node-1", "/node-2"):
        kill(proxy_pids(lab)[node])
        found = program(lab, "client-a", RECOVERY, "server")
        assert 0 <= found < 1.0


def test_tunnels_come_and_go_under_load_without_a_failed_connection(lab: Lab) -> None:
    [service] = [one for one in lab.manifests("services", namespace="mesh") if one["metadata"]["name"] == "server"]
    plain = {**service, "metadata": {"name": "server", "namespace": "mesh"}}
    found: list[Any] = []
    load = threading.Thread(target=lambda: found.append(program(lab, "client-a", PINGS, "server")))
    load.start()
    time.sleep(2)
    lab.apply(text([plain]))
    lab.wait()
    time.sleep(1)
    lab.apply(text([service]))
    lab.wait()
    load.join()
    [(count, words)] = found
    assert words == ["pong"]
    assert count > 100


@pytest.mark.parametrize("server", ["server", "server-sidecar"])
def test_a_tunnel_leads_to_the_application_and_nowhere_else(lab: Lab, tmp_path: Path, server: str) -> None:
    authority = Authority.load_or_create(Layout.of(lab.settings.name).identity, "cluster.local")
    svid = authority.issue(SpiffeId("cluster.local", "mesh", "client-a"), 600)
    other = Authority.load_or_create(tmp_path / "other", "cluster.local")
    forged = other.issue(SpiffeId("cluster.local", "mesh", "client-a"), 600)
    trust, chain, foreign = tmp_path / "trust.pem", tmp_path / "svid.pem", tmp_path / "forged.pem"
    trust.write_text(authority.bundle_pem)
    chain.write_text(svid.key_pem + svid.chain_pem)
    foreign.write_text(forged.key_pem + forged.chain_pem)
    own, another = ip_of(lab, server), ip_of(lab, "client-b")

    def ask(where: str, shown: Path | None = chain) -> dict[str, object]:
        return clients.run(lab, "plain/client", ASK, own, where, shown or "", trust)

    assert ask(f"{own}:9000") == ask("anything.mesh:9000") == {"status": 200}
    for where in (f"{own}:09000", f"{own}:15006", f"{own}:15000", "x:15090", "x:9999", f"{another}:9999", own, "x"):
        assert ask(where)["status"] in (400, 404), where
    assert "error" in ask(f"{own}:9000", None)
    assert "error" in ask(f"{own}:9000", foreign)
