"""HTTP/1.1 read in the kernel: every request once, sockets untouched, what cannot be read exactly is counted."""

from __future__ import annotations

import collections
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from meshlab.dataplanes.sidecarless.node import KernelNode
from meshlab.dataplanes.sidecarless.plan import Plan, Service
from meshlab.model.kernel import KernelBackend
from tests.bpf.conftest import eventually
from tests.bpf.test_connect import ALL, VIP
from tests.bpf.topology import PRELUDE, Bench

SERVER = str(Path(__file__).with_name("http_server.py"))
HTTP = tuple(replace(rule, http=True) for rule in ALL)
LOST = ("events_lost", "http_unparsed", "http_pipelined", "http_gaps", "http_cut", "edges_lost", "storage_lost")
CLIENT = """
import http.client
def body_of(size): return b"".join(b"%07d " % number for number in range(size // 8 + 1))[:size]
def client(): return http.client.HTTPConnection(sys.argv[1], 8080, timeout=None)
def exchange(*parts):
    with socket.create_connection((sys.argv[1], 8080)) as sock:
        sock.setsockopt(6, 1, 1)
        for part in parts: sock.send(part)
        return sock.recv(4096).split(b"\\r\\n")[0].decode()
"""
"""Sockets without a time limit: they block, as ordinary programs' do."""


@pytest.fixture
def web(bench: Bench, node: KernelNode) -> str:
    """An HTTP server in b, all allowed, an event for each request; its address."""
    bench.start(bench.command("b", [sys.executable, "-I", SERVER, "8080"]))
    node.apply(Plan((), HTTP, request_events=True))
    return bench.ip("b")


@pytest.fixture
def busy() -> Iterator[None]:
    """Both CPUs have other work."""
    loops = [subprocess.Popen(["nice", sys.executable, "-c", "while True: pass"]) for _ in range(os.cpu_count() or 1)]
    yield
    for loop in loops:
        loop.kill()
        loop.wait()


def requests_of(node: KernelNode) -> Any:
    rows = node.ring().read()
    return rows[rows["kind"] == 2]


def ended(node: KernelNode, connections: int) -> None:
    eventually(lambda: node.counters()["flows_ended"] >= connections, "the connections have ended")


@pytest.mark.parametrize("number", [23, 211, 1009])
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
    ended(node, 1)
    rows = node.ring().read()
    assert set(rows["kind"].tolist()) == {2}  # its requests tell of the connection: no row of its own
    assert collections.Counter(rows["status"].tolist()) == {
        200: by_kind["GET", "/items/7", 200] + by_kind["POST", "/orders", 200],
        404: by_kind["GET", "/status/404", 404],
    }
    assert set(rows["path"].tolist()) <= {b"/items/7", b"/status/404", b"/orders"}
    assert set(rows["authority"].tolist()) == {f"{web}:8080".encode()}
    assert set(rows["source_pod"].tolist()) == {1}
    counted = node.counters()
    assert counted["http_requests"] == counted["http_responses"] == len(rows) == number
    assert [counted[name] for name in LOST] == [0] * len(LOST)


@pytest.mark.usefixtures("busy")
def test_several_connections_at_once_under_load(bench: Bench, node: KernelNode, web: str) -> None:
    code = """
def work(number):
    for _ in range(3):
        connection = client()
        for turn in range(67):
            size = (number * 7919 + turn * 104729) % 100000
            connection.request("POST", "/w%d" % number, body=body_of(size))
            assert connection.getresponse().read() == body_of(size)
        connection.close()
threads = [threading.Thread(target=work, args=(number,)) for number in range(7)]
for thread in threads: thread.start()
for thread in threads: thread.join()
"""
    bench.run("a", CLIENT + code, web)
    ended(node, 21)
    wanted = {f"/w{number}": 3 * 67 for number in range(7)}
    assert {edge.path: edge.count for edge in node.edges()} == wanted
    assert collections.Counter(path.decode() for path in requests_of(node)["path"].tolist()) == wanted
    sizes = [sum((number * 7919 + turn * 104729) % 100000 for turn in range(67)) * 3 for number in range(7)]
    assert {edge.path: (edge.request_bytes, edge.response_bytes) for edge in node.edges()} == {
        f"/w{number}": (size, size) for number, size in enumerate(sizes)
    }


@pytest.mark.usefixtures("busy")
def test_bodies_of_every_size_and_way(bench: Bench, node: KernelNode, web: str) -> None:
    """Blocking sockets at both ends: nothing of the mesh shows in what they read."""
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
    assert [counted[name] for name in LOST] == [0] * len(LOST)
    sizes = (0, 1, 1000, 65535, 261376, 262144, 262145, 300000, 1 << 20, 8 << 20)
    assert sum(edge.request_bytes for edge in node.edges()) == 3 * sum(sizes) + (64 << 20)
    assert sum(edge.response_bytes for edge in node.edges()) == 9 * sum(sizes) + 2 * (64 << 20)


@pytest.fixture
def lossy(bench: Bench) -> Iterator[None]:
    """One packet of twenty does not arrive, in both directions."""
    drop = "tcp {} 8080 numgen random mod 20 == 0 drop;"
    chain = f"type filter hook prerouting priority 0; {drop.format('dport')} {drop.format('sport')}"
    rules = f"table ip lossy {{ chain c {{ {chain} }}\n}}\n"
    for pod in ("a", "b"):
        inside = ["ip", "netns", "exec", f"ml-{bench.lab}-{pod}"]
        subprocess.run([*inside, "nft", "-f", "-"], input=rules, text=True, check=True)
    yield
    for pod in ("a", "b"):
        subprocess.run(["ip", "netns", "exec", f"ml-{bench.lab}-{pod}", "nft", "delete table ip lossy"], check=True)


@pytest.mark.usefixtures("lossy")
def test_what_is_sent_again_counts_once(bench: Bench, node: KernelNode, web: str) -> None:
    code = """
def work(number):
    connection = client(); connection.connect(); connection.sock.setsockopt(6, 1, 1)
    for turn in range(101):
        size = turn * 1009 % 300000
        connection.request("POST", "/w%d" % number, body=body_of(size))
        assert connection.getresponse().read() == body_of(size)
threads = [threading.Thread(target=work, args=(number,)) for number in range(5)]
for thread in threads: thread.start()
for thread in threads: thread.join()
"""
    bench.run("a", CLIENT + code, web)
    size = sum(turn * 1009 % 300000 for turn in range(101))
    assert {edge.path: (edge.count, edge.request_bytes, edge.response_bytes) for edge in node.edges()} == {
        f"/w{number}": (101, size, size) for number in range(5)
    }
    assert [node.counters()[name] for name in LOST] == [0] * len(LOST)


def test_pipelining_is_not_followed_keeps_its_order_and_is_counted(bench: Bench, node: KernelNode, web: str) -> None:
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
    ended(node, 20)
    counted = node.counters()
    assert counted["http_pipelined"] == 20
    rows = node.ring().read()
    ends = rows[rows["kind"] == 1]
    assert len(ends) == 20  # the connections tell what their requests do not
    assert (ends["response_bytes"] > 5_000_000).all()


def test_heads_in_pieces_are_read(bench: Bench, node: KernelNode, web: str) -> None:
    code = """
import time
def slowly(data, *sizes):
    with socket.create_connection((sys.argv[1], 8080)) as sock:
        sock.setsockopt(6, 1, 1)
        at = 0
        for size in (*sizes, len(data)):
            if data[at:at + size]: sock.send(data[at:at + size])
            at += size; time.sleep(0.002)
        return sock.recv(4096).split(b"\\r\\n")[0].decode()
head = b"POST /split/way?x=1 HTTP/1.1\\r\\nHost: one.two\\r\\nCONTENT-length:  4\\r\\nX: y\\r\\n\\r\\nabcd"
for cut in range(1, len(head)): print(slowly(head, cut))
print(slowly(head, *[1] * len(head)))
print(slowly(head, 9, 30, 20))
"""
    answers = bench.run("a", CLIENT + code, web).splitlines()
    assert set(answers) == {"HTTP/1.1 200 OK"}
    [edge] = node.edges()
    assert (edge.path, edge.count, edge.request_bytes, edge.response_bytes) == (
        "/split/way", len(answers), 4 * len(answers), 4 * len(answers),
    )  # fmt: skip
    assert set(requests_of(node)["authority"].tolist()) == {b"one.two"}
    assert [node.counters()[name] for name in LOST] == [0] * len(LOST)


def test_what_is_no_exact_http_ends_the_following_and_is_counted(bench: Bench, node: KernelNode, web: str) -> None:
    code = """
print(exchange(b"GET /ok HTTP/1.1\\r\\n\\r\\n"))
print(exchange(b"BREW /pot HTTP/1.1\\r\\n\\r\\n"))
print(exchange(b"GET /long HTTP/1.1\\r\\nX: " + b"x" * 1900 + b"\\r\\n\\r\\n"))
print(exchange(b"GET /longer HTTP/1.1\\r\\nX: " + b"x" * 2100 + b"\\r\\n\\r\\n"))
print(exchange(b"GET /1 HTTP/1.1\\r\\n\\r\\nGET /2 HTTP/1.1\\r\\n\\r\\n"))
print(exchange(b"POST /p HTTP/1.1\\r\\nX-Content-Length: 9\\r\\nCONTENT-length:  4\\r\\n\\r\\nab", b"cd"))
"""
    assert set(bench.run("a", CLIENT + code, web).splitlines()) == {"HTTP/1.1 200 OK"}
    ended(node, 6)
    counted = node.counters()
    assert (counted["http_unparsed"], counted["http_pipelined"]) == (2, 1)
    found = sorted((edge.path or "", edge.request_bytes) for edge in node.edges())
    assert found == [("/long", 0), ("/ok", 0), ("/p", 4)]
    rows = node.ring().read()
    assert collections.Counter(rows["kind"].tolist()) == {2: 3, 1: 3}


def test_names_are_kept_whole_or_their_cutting_is_counted(bench: Bench, node: KernelNode, web: str) -> None:
    code = """
trace = b"traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\\r\\n"
print(exchange(b"GET /" + b"p" * 127 + b"?q HTTP/1.1\\r\\nHost: " + b"h" * 64 + b"\\r\\n" + trace + b"\\r\\n"))
wrong = b"TraceParent: nonsense\\r\\n"
print(exchange(b"GET /" + b"q" * 128 + b" HTTP/1.1\\r\\n" + wrong + b"Host:" + b"i" * 65 + b"\\r\\n\\r\\n"))
print(exchange(b"GET /p HTTP/1.1\\r\\n\\r\\n"))
"""
    bench.run("a", CLIENT + code, web)
    first, second, third = requests_of(node)
    assert (first["path"], first["authority"]) == (b"/" + b"p" * 127, b"h" * 64)
    assert bytes(first["trace_id"]).hex() == "0af7651916cd43dd8448eb211c80319c"
    assert (second["path"], second["authority"]) == (b"/" + b"q" * 127, b"i" * 64)
    assert bytes(second["trace_id"]) == bytes(third["trace_id"]) == bytes(16)
    assert third["authority"] == b""
    assert node.counters()["http_cut"] == 2


SCRIPTED = """
server = socket.socket(); server.setsockopt(1, 2, 1); server.bind(("0.0.0.0", 8080)); server.listen(64)
print("ready", flush=True)
def until(sock, end, data=b""):
    while end not in data:
        more = sock.recv(1 << 16)
        if not more: return data
        data += more
    return data
def serve(sock):
    sock.setsockopt(6, 1, 1)
    chunked = b"HTTP/1.1 200 OK\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\n"
    while head := until(sock, b"\\r\\n\\r\\n"):
        path = head.split()[1].decode()
        if path == "/chunked":
            sock.send(chunked)
            for _ in range(50): sock.send(b"7\\r\\nhello\\r\\n\\r\\n")
            sock.send(b"0\\r\\n"); sock.send(b"\\r\\n")
        elif path == "/whole": sock.send(chunked + b"3\\r\\nabc\\r\\n0\\r\\n\\r\\n")
        elif path == "/empty": sock.send(chunked + b"0\\r\\n\\r\\n")
        elif path == "/upload":
            until(sock, b"0\\r\\n\\r\\n", head.partition(b"\\r\\n\\r\\n")[2])
            sock.send(b"HTTP/1.1 201 Created\\r\\nContent-Length: 0\\r\\n\\r\\n")
        elif path == "/continue":
            sock.send(b"HTTP/1.1 100 Continue\\r\\n\\r\\n"); have = len(head.partition(b"\\r\\n\\r\\n")[2])
            while have < 5: have += len(sock.recv(100))
            hints = b"HTTP/1.1 103 Early Hints\\r\\nLink: x\\r\\n\\r\\n"
            sock.send(hints + b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\nok")
        elif path == "/early":
            sock.send(b"HTTP/1.1 413 Too Large\\r\\nContent-Length: 3\\r\\n\\r\\nbig")
            have = len(head.partition(b"\\r\\n\\r\\n")[2])
            while have < 1000000: have += len(sock.recv(1000000 - have))
        elif path == "/nothing": sock.send(b"HTTP/1.1 204 No Content\\r\\n\\r\\n")
        elif path == "/same": sock.send(b"HTTP/1.1 304 Not Modified\\r\\nContent-Length: 99\\r\\n\\r\\n")
        elif path == "/head": sock.send(b"HTTP/1.1 200 OK\\r\\nContent-Length: 5\\r\\n\\r\\n")
        elif path == "/upgrade":
            sock.send(b"HTTP/1.1 101 Switching Protocols\\r\\nUpgrade: x\\r\\n\\r\\nhello")
            sock.sendall(sock.recv(100))
        elif path == "/close":
            sock.send(b"HTTP/1.1 200 OK\\r\\n\\r\\nto"); sock.send(b" the end"); sock.close(); return
        elif path == "/slow":
            sock.send(b"HTTP/1.1 200 OK\\r\\nContent-Length: 100\\r\\n\\r\\nhalf"); sock.recv(1); return
    sock.close()
while True: threading.Thread(target=serve, args=(server.accept()[0],), daemon=True).start()
"""
TALKS = """
def get(path, method="GET", head=b"", wait=None):
    sock.send(b"%b %b HTTP/1.1\\r\\n%b\\r\\n" % (method.encode(), path.encode(), head))
    data = b""
    while wait is not None and not data.endswith(wait): data += sock.recv(1 << 16)
sock = socket.create_connection((sys.argv[1], 8080)); sock.setsockopt(6, 1, 1)
"""


def scripted(bench: Bench, node: KernelNode, code: str) -> list[tuple[bytes, int, int, int]]:
    """Path, status and bytes of each request that a script makes of the scripted server, in order."""
    bench.start(bench.command("b", [sys.executable, "-I", "-c", PRELUDE + SCRIPTED]))
    node.apply(Plan((), HTTP, request_events=True))
    bench.run("a", TALKS + code, bench.ip("b"))
    ended(node, 1)
    rows = requests_of(node)
    columns = ("path", "status", "request_bytes", "response_bytes")
    return list(zip(*(rows[column].tolist() for column in columns), strict=True))


def test_every_way_to_answer(bench: Bench, node: KernelNode) -> None:
    code = """
end = b"0\\r\\n\\r\\n"
for _ in range(3):
    get("/chunked", wait=end); get("/whole", wait=end); get("/empty", wait=end)
    get("/upload", "PUT", b"Transfer-Encoding: chunked\\r\\n")
    sock.send(b"3\\r\\nabc\\r\\n"); sock.send(b"0\\r"); sock.send(b"\\n\\r\\n")
    sock.recv(4096)
    get("/continue", "POST", b"Content-Length: 5\\r\\nExpect: 100-continue\\r\\n", b"\\r\\n\\r\\n"); sock.send(b"abcde")
    while b"ok" not in sock.recv(4096): pass
    get("/nothing", wait=b"\\r\\n\\r\\n"); get("/same", wait=b"\\r\\n\\r\\n")
    get("/head", "HEAD", wait=b"\\r\\n\\r\\n")
    get("/early", "POST", b"Content-Length: 1000000\\r\\n", b"big"); sock.sendall(b"x" * 1000000)
"""
    assert scripted(bench, node, code) == 3 * [
        (b"/chunked", 200, 0, 50 * 12 + 5), (b"/whole", 200, 0, 13), (b"/empty", 200, 0, 5), (b"/upload", 201, 13, 0),
        (b"/continue", 200, 5, 2), (b"/nothing", 204, 0, 0), (b"/same", 304, 0, 0), (b"/head", 200, 0, 0),
        (b"/early", 413, 1_000_000, 3),
    ]  # fmt: skip
    assert [node.counters()[name] for name in LOST] == [0] * len(LOST)


def test_an_upgrade_is_a_row_and_then_nobodys_business(bench: Bench, node: KernelNode) -> None:
    code = """
get("/upgrade", wait=b"hello"); sock.send(b"GET /not HTTP/1.1\\r\\n\\r\\n"); sock.recv(100)
"""
    assert scripted(bench, node, code) == [(b"/upgrade", 101, 0, 0)]
    counted = node.counters()
    assert counted["http_upgraded"] == 1
    assert counted["events"] == 1  # the connection is told by its request


@pytest.mark.parametrize(
    ("code", "row"),
    [
        ('get("/close", wait=b"end")\n', (b"/close", 200, 0, 10)),
        ('get("/slow", wait=b"half"); sock.close()\n', (b"/slow", 200, 0, 100)),
        ('get("/close", wait=b"end"); sock.shutdown(socket.SHUT_WR); sock.recv(1)\n', (b"/close", 200, 0, 10)),
    ],
)
def test_an_answer_ends_with_its_connection(
    bench: Bench, node: KernelNode, code: str, row: tuple[bytes, int, int, int]
) -> None:
    assert scripted(bench, node, code) == [row]
    eventually(lambda: node.tables["flows"].raw() == {}, "flows are left")
    assert node.counters()["events"] == 1


def test_a_request_without_an_answer_is_told_by_its_connection(bench: Bench, node: KernelNode) -> None:
    assert scripted(bench, node, 'get("/unknown"); sock.close()\n') == []
    assert node.counters()["events"] == 1
    assert node.counters()["http_requests"] == 1


def test_a_connection_without_a_request_is_a_row(bench: Bench, node: KernelNode, web: str) -> None:
    bench.run("a", "socket.create_connection((sys.argv[1], 8080)).close()", web)
    ended(node, 1)
    [end] = node.ring().read()
    assert (end["kind"], end["verdict"], end["source_pod"], end["destination_pod"]) == (1, 0, 1, 2)
    assert end["setup_us"] > 0


def test_a_pod_that_calls_itself_is_read_too(bench: Bench, node: KernelNode) -> None:
    """Directly, and by its own service."""
    bench.start(bench.command("b", [sys.executable, "-I", SERVER, "8080"]))
    service = Service(7, VIP, 8080, (KernelBackend(bench.ip("b"), 8080),))
    node.apply(Plan((service,), HTTP, request_events=True))
    code = """
for address in sys.argv[1:]:
    connection = http.client.HTTPConnection(address, 8080)
    for _ in range(23):
        connection.request("GET", "/7"); connection.getresponse().read()
"""
    bench.run("b", CLIENT + code, bench.ip("b"), VIP)
    assert {(edge.source_pod, edge.destination_pod, edge.service): edge.count for edge in node.edges()} == {
        (2, 2, 0): 23,
        (2, 2, 7): 23,
    }


def test_ports_that_do_not_speak_http_are_not_read(bench: Bench, node: KernelNode, web: str) -> None:
    node.apply(Plan((), ALL, request_events=True))
    bench.run("a", CLIENT + 'print(exchange(b"GET /ok HTTP/1.1\\r\\n\\r\\n"))', web)
    ended(node, 1)
    counted = node.counters()
    assert counted["readers"] == counted["http_requests"] == 0
    assert node.ring().read()["kind"].tolist() == [1]


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


@pytest.mark.parametrize("http", [True, False])
def test_half_close_and_peek_on_bytes_that_are_no_http(bench: Bench, node: KernelNode, http: bool) -> None:
    bench.start(bench.command("b", [sys.executable, "-I", "-c", PRELUDE + STREAM]))
    node.apply(Plan((), HTTP if http else ALL))
    code = """
import hashlib, random
random_ = random.Random(5)
for turn in range(100):
    data = os.urandom(1 + turn * 7919 % 600000)
    sock = socket.create_connection((sys.argv[1], 9300)); sent = 0
    while sent < len(data):
        size = random_.choice((1, 1000, 16384, 65536, 300000)); sock.sendall(data[sent:sent + size]); sent += size
    sock.shutdown(socket.SHUT_WR)
    assert line(sock) == hashlib.sha256(data).hexdigest(), turn
    sock.close()
print("exact")
"""
    assert bench.run("a", code, bench.ip("b")).strip() == "exact"
    ended(node, 100)
    assert node.ring().read()["kind"].tolist() == [1] * 100


def test_more_events_than_the_ring_holds_are_counted(bench: Bench, node: KernelNode, web: str) -> None:
    """One request goes through; the ring is full of what nobody read."""
    from meshlab.dataplanes.sidecarless.ring import Ring

    assert isinstance(node.ring(), Ring)
    code = """
def work():
    connection = client()
    for turn in range(8000):
        connection.request("GET", "/1"); connection.getresponse().read()
threads = [threading.Thread(target=work) for _ in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
"""
    bench.run("a", CLIENT + code, web)
    eventually(lambda: node.counters()["flows_ended"] == 4, "the connections have ended")
    counted = node.counters()
    assert counted["http_responses"] == 32_000
    assert counted["events"] + counted["events_lost"] == 32_000
    assert len(node.ring().read()) == counted["events"]
    [edge] = node.edges()
    assert edge.count == 32_000


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


def kept(bench: Bench, web: str) -> subprocess.Popen[str]:
    child = subprocess.Popen(
        bench.command("a", [sys.executable, "-I", "-c", PRELUDE + CLIENT + KEPT, web]),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    return child


def test_connections_outlive_the_plane(bench: Bench, node: KernelNode, web: str) -> None:
    child = kept(bench, web)
    node.remove()
    out, _ = child.communicate("\n", timeout=60)
    assert out == "exact\n"


def test_a_new_agent_reads_on_where_the_former_was(bench: Bench, node: KernelNode, web: str) -> None:
    child = kept(bench, web)
    with KernelNode.open(bench.lab, "node-1") as heir:
        assert heir.ids()["prog"].isdisjoint(node.ids()["prog"])
        heir.attach(pods=bench.pods_group, proxy=bench.proxy_group)
        out, _ = child.communicate("\n", timeout=60)
        assert out == "exact\n"
        assert heir.counters()["http_responses"] == 6002
        [edge] = heir.edges()
        assert edge.count == 6002
