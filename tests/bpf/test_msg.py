"""The short cut: content and order exact, memory bounded, HTTP counted to the last request."""

from __future__ import annotations

import collections
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from meshlab.dataplanes.sidecarless.node import KernelNode
from meshlab.dataplanes.sidecarless.plan import Plan
from tests.bpf.conftest import eventually
from tests.bpf.test_connect import ALL
from tests.bpf.topology import PRELUDE, Bench

SERVER = str(Path(__file__).with_name("http_server.py"))
FAST = tuple(replace(rule, shortcut=True) for rule in ALL)
CLIENT = """
import http.client
def body_of(size): return b"".join(b"%07d " % number for number in range(size // 8 + 1))[:size]
def client(): return http.client.HTTPConnection(sys.argv[1], 8080, timeout=60)
"""


@pytest.fixture
def web(bench: Bench, node: KernelNode) -> str:
    """An HTTP server in b, all allowed, an event for each request; its address."""
    bench.start(bench.command("b", [sys.executable, "-I", SERVER, "8080"]))
    node.apply(Plan((), FAST, request_events=True))
    return bench.ip("b")


@pytest.mark.parametrize("number", [23, 1009])
def test_a_prime_number_of_requests_gives_exactly_that_many_rows(
    bench: Bench, node: KernelNode, web: str, number: int
) -> None:
    code = """
connection = client()
for turn in range(int(sys.argv[2])):
    if turn % 3 == 2: connection.request("POST", "/orders", body=b"x" * 1000)
    else: connection.request("GET", ("/items/7?turn=%d" % turn, "/status/404")[turn % 3])
    answer = connection.getresponse(); answer.read()
"""
    bench.run("a", CLIENT + code, web, str(number))
    by_kind = {("GET", "/items/7", 200): 0, ("GET", "/status/404", 404): 0, ("POST", "/orders", 200): 0}
    for turn in range(number):
        by_kind[tuple(by_kind)[turn % 3]] += 1
    edges = node.edges()
    assert {(edge.method, edge.path, edge.status): edge.count for edge in edges} == by_kind
    assert {(edge.source_pod, edge.destination_pod) for edge in edges} == {(1, 2)}
    for edge in edges:
        assert edge.request_bytes == (edge.count * 1000 if edge.method == "POST" else 0)
        assert edge.response_bytes == edge.count * {"/items/7": 7, "/status/404": 0, "/orders": 1000}[edge.path or ""]
        assert sum(edge.histogram) == edge.count
        assert edge.latency_us > 0
    eventually(lambda: node.counters()["flows_ended"] == 1, "the connection has ended")
    rows = node.ring().read()
    requests = rows[rows["kind"] == 2]
    assert len(requests) == number
    assert collections.Counter(requests["status"].tolist()) == {
        200: by_kind["GET", "/items/7", 200] + by_kind["POST", "/orders", 200],
        404: by_kind["GET", "/status/404", 404],
    }
    assert set(requests["path"].tolist()) <= {b"/items/7", b"/status/404", b"/orders"}
    [end] = rows[rows["kind"] == 1]
    assert (end["closed_by"], end["verdict"], end["source_pod"], end["destination_pod"]) == (1, 0, 1, 2)
    assert end["setup_us"] > 0
    counted = node.counters()
    assert counted["http_requests"] == counted["http_responses"] == number
    assert counted["events_lost"] == counted["http_unparsed"] == counted["http_pipelined"] == counted["edges_lost"] == 0


def test_long_connections_keep_the_short_cut(bench: Bench, node: KernelNode, web: str) -> None:
    """20,011 requests on one connection are many budgets; each is renewed by proof."""
    code = """
connection = client()
for turn in range(20011):
    connection.request("GET", "/100"); assert connection.getresponse().read() == body_of(100), turn
"""
    bench.run("a", CLIENT + code, web)
    counted = node.counters()
    assert counted["http_responses"] == 20_011
    assert counted["renewed"] > 100
    assert counted["passed"] < 0.01 * counted["redirected"]


def test_bodies_of_every_size_and_way(bench: Bench, node: KernelNode, web: str) -> None:
    code = """
connection = client()
for turn in range(3):
    for size in (0, 1, 1000, 65535, 261376, 262144, 262145, 300000, 1 << 20, 8 << 20):
        for way in ("/", "/sendfile/"):
            connection.request("GET", way + str(size)); assert connection.getresponse().read() == body_of(size)
        body = body_of(size)
        connection.request("POST", "/echo", body=body); assert connection.getresponse().read() == body, size
connection.request("GET", "/sendfile/67108864"); assert connection.getresponse().read() == body_of(64 << 20)
connection.request("POST", "/echo", body=body_of(64 << 20)); assert connection.getresponse().read() == body_of(64 << 20)
print("exact")
"""
    assert bench.run("a", CLIENT + code, web).strip() == "exact"
    counted = node.counters()
    assert counted["http_responses"] == 92
    assert counted["redirected"] > 0 < counted["passed"]


def test_pipelining_keeps_its_order(bench: Bench, node: KernelNode, web: str) -> None:
    """More than a budget of requests without waiting, answered by more than a budget: 20 times, all in order."""
    code = """
def reading(sock, wanted):
    data = b""
    while len(data) < wanted: data += sock.recv(1 << 16)
    return data
for turn in range(20):
    sizes = [(turn * 131 + number * 7919) % 20000 for number in range(600)]
    expected = b"".join(b"HTTP/1.1 200 OK\\r\\nContent-Length: %d\\r\\n\\r\\n" % size + body_of(size) for size in sizes)
    sock = socket.create_connection((sys.argv[1], 8080))
    padding = b"x" * 900
    def send():
        for size in sizes: sock.sendall(b"GET /%d HTTP/1.1\\r\\nX: %b\\r\\n\\r\\n" % (size, padding))
    thread = threading.Thread(target=send); thread.start()
    assert reading(sock, len(expected)) == expected, turn
    thread.join(); sock.close()
print("exact")
"""
    assert bench.run("a", CLIENT + code, web).strip() == "exact"
    counted = node.counters()
    assert counted["http_pipelined"] > 0  # it is not followed, and that is counted


STREAM = """
import hashlib, random
server = socket.socket(); server.setsockopt(1, 2, 1); server.bind(("0.0.0.0", 9300)); server.listen(64)
print("ready", flush=True)
def serve(connection):
    random_ = random.Random(4); digest = hashlib.sha256(); peeked = 0
    while True:
        if random_.random() < 0.2: peek = connection.recv(100, socket.MSG_PEEK)
        else: peek = b""
        data = connection.recv(random_.choice((100, 4096, 65536, 1 << 20)))
        assert data.startswith(peek[:len(data)])
        if not data: break
        digest.update(data)
    connection.sendall(digest.hexdigest().encode() + b"\\n"); connection.close()
while True: threading.Thread(target=serve, args=(server.accept()[0],), daemon=True).start()
"""


@pytest.mark.parametrize("shortcut", [True, False])
def test_half_close_and_peek_on_bytes_that_are_no_http(bench: Bench, node: KernelNode, shortcut: bool) -> None:
    """On the short cut the client reads without blocking: the kernel would end its recv with EAGAIN (see bpf/msg.c)."""
    bench.start(bench.command("b", [sys.executable, "-I", "-c", PRELUDE + STREAM]))
    node.apply(Plan((), FAST if shortcut else ALL))
    code = """
import hashlib, random
random_ = random.Random(5)
for turn in range(100):
    data = os.urandom(1 + turn * 7919 % 600000)
    sock = socket.create_connection((sys.argv[1], 9300)); sent = 0
    while sent < len(data):
        size = random_.choice((1, 1000, 16384, 65536, 300000)); sock.sendall(data[sent:sent + size]); sent += size
    sock.settimeout(60 if sys.argv[2] == "True" else None)
    sock.shutdown(socket.SHUT_WR)
    assert line(sock) == hashlib.sha256(data).hexdigest(), turn
    sock.close()
print("exact")
"""
    assert bench.run("a", code, bench.ip("b"), str(shortcut)).strip() == "exact"
    assert (node.counters()["redirected"] > 0) == shortcut


DEAF = """
server = socket.socket(); server.bind(("0.0.0.0", 9301)); server.listen(64)
print("ready", flush=True)
held = []
while True: held.append(server.accept())
"""


@pytest.mark.parametrize("size", [1, 100, 65536])
def test_a_receiver_that_does_not_read_pushes_back(bench: Bench, node: KernelNode, size: int) -> None:
    bench.start(bench.command("b", [sys.executable, "-I", "-c", PRELUDE + DEAF]))
    node.apply(Plan((), FAST))
    code = """
sock = socket.create_connection((sys.argv[1], 9301)); sock.settimeout(1); size = int(sys.argv[2]); sent = 0
data = b"x" * size
try:
    while sent < 64 << 20: sent += sock.send(data)
except TimeoutError: pass
print(sent)
"""
    sent = int(bench.run("a", code, bench.ip("b"), str(size)))
    counted = node.counters()
    assert 0 < sent <= 4 << 20
    assert counted["redirected"] * (size + 768) <= 262_144  # what skipped TCP, with what each message costs the kernel


def test_heads_that_cannot_be_read_exactly_end_the_following_and_are_counted(
    bench: Bench, node: KernelNode, web: str
) -> None:
    code = """
def talk(*parts):
    with socket.create_connection((sys.argv[1], 8080)) as sock:
        sock.setsockopt(6, 1, 1)
        for part in parts: sock.send(part)
        return sock.recv(4096).split(b"\\r\\n")[0].decode()
print(talk(b"GET /ok HTTP/1.1\\r\\n\\r\\n"))
print(talk(b"GET /sp", b"lit HTTP/1.1\\r\\n", b"\\r\\n"))
print(talk(b"BREW /pot HTTP/1.1\\r\\n\\r\\n"))
print(talk(b"GET /long HTTP/1.1\\r\\nX: " + b"x" * 2000 + b"\\r\\n\\r\\n"))
print(talk(b"GET /1 HTTP/1.1\\r\\n\\r\\nGET /2 HTTP/1.1\\r\\n\\r\\n"))
print(talk(b"POST /p HTTP/1.1\\r\\nX-Content-Length: 9\\r\\nCONTENT-length:  4\\r\\n\\r\\nab", b"cd"))
"""
    assert set(bench.run("a", CLIENT + code, web).splitlines()) == {"HTTP/1.1 200 OK"}
    counted = node.counters()
    assert counted["http_unparsed"] == 3
    assert counted["http_pipelined"] == 1
    assert sorted((edge.path or "", edge.request_bytes) for edge in node.edges()) == [("/ok", 0), ("/p", 4)]


def test_more_events_than_the_ring_holds_are_counted(bench: Bench, node: KernelNode, web: str) -> None:
    """One request goes through; the ring is full of what nobody read."""
    from meshlab.dataplanes.sidecarless.ring import Ring

    assert isinstance(node.ring(), Ring)
    code = """
def work():
    connection = client()
    for turn in range(7000):
        connection.request("GET", "/1"); connection.getresponse().read()
threads = [threading.Thread(target=work) for _ in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
"""
    bench.run("a", CLIENT + code, web)
    eventually(lambda: node.counters()["flows_ended"] == 4, "the connections have ended")
    counted = node.counters()
    assert counted["http_responses"] == 28_000
    assert counted["events"] + counted["events_lost"] == 28_004
    assert len(node.ring().read()) == counted["events"]
    [edge] = node.edges()
    assert edge.count == 28_000


def test_what_was_read_leaves_room_for_the_next(bench: Bench, node: KernelNode, web: str) -> None:
    """Round the ring more than once."""
    code = """
connection = client()
for turn in range(9001):
    connection.request("GET", "/1"); connection.getresponse().read()
"""
    seen = 0
    for _ in range(4):
        child = subprocess.Popen(bench.command("a", [sys.executable, "-I", "-c", PRELUDE + CLIENT + code, web]))
        while child.poll() is None:
            seen += int((node.ring().read()["kind"] == 2).sum())
        assert child.returncode == 0
    eventually(lambda: node.counters()["flows_ended"] == 4, "the connections have ended")
    seen += int((node.ring().read()["kind"] == 2).sum())
    assert seen == 4 * 9001
    assert node.counters()["events_lost"] == 0
    assert json.dumps(node.counters())


KEPT = """
connection = client()
def some():
    for turn in range(3001):
        connection.request("GET", "/1000"); assert connection.getresponse().read() == body_of(1000)
some(); print("ready", flush=True); sys.stdin.readline(); some(); print("exact")
"""


def test_connections_outlive_the_plane(bench: Bench, node: KernelNode, web: str) -> None:
    """Programs and maps go with the last connection that began under them; nothing breaks before."""
    child = subprocess.Popen(
        bench.command("a", [sys.executable, "-I", "-c", PRELUDE + CLIENT + KEPT, web]),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    assert node.counters()["redirected"] > 0
    node.remove()
    out, _ = child.communicate("\n", timeout=60)
    assert out == "exact\n"


def test_a_new_agent_takes_over_connections_on_the_short_cut(bench: Bench, node: KernelNode, web: str) -> None:
    child = subprocess.Popen(
        bench.command("a", [sys.executable, "-I", "-c", PRELUDE + CLIENT + KEPT, web]),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    with KernelNode.open(bench.lab, "node-1") as heir:
        assert heir.ids()["prog"].isdisjoint(node.ids()["prog"])
        heir.attach(pods=bench.pods_group, proxy=bench.proxy_group)
        out, _ = child.communicate("\n", timeout=60)
        assert out == "exact\n"
        assert heir.counters()["http_responses"] == 6002
        [edge] = heir.edges()
        assert edge.count == 6002
