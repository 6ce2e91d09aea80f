"""The echo on loopback, with clients of other people's making: http.client, grpcio, wsproto, curl-like raw sockets."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator

import grpc
import h2.config
import h2.connection
import h2.events
import pytest
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, BytesMessage, CloseConnection, Ping, Pong, RejectConnection, TextMessage
from wsproto.events import Request as Upgrade

Start = Callable[..., int]
BIG = 3_000_000
"""More than any window that a client here opens at first."""


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts an echo with an environment and gives its port; `{tcp}` and `{banner}` ports are the next two."""
    running: list[subprocess.Popen[bytes]] = []

    def begin(**env: str) -> int:
        port = _free_port()
        child = subprocess.Popen(
            [sys.executable, "-m", "meshlab.samples.echo"],
            env={"PORT": str(port), "NAME": "e", "PATH": "/usr/bin:/bin", **env},
            stdout=subprocess.PIPE,
        )
        running.append(child)
        assert child.stdout is not None
        assert b"listens" in child.stdout.readline()
        return port

    yield begin
    for child in running:
        child.terminate()
        assert child.wait(timeout=10) == 0
        if child.stdout is not None:
            child.stdout.close()


def _get(port: int, path: str, **options: object) -> tuple[int, bytes]:
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as client:
        client.request(str(options.pop("method", "GET")), path, **options)  # type: ignore[arg-type]
        answer = client.getresponse()
        return answer.status, answer.read()


# HTTP/1.1


def test_http1_reports_what_it_saw_and_keeps_the_connection(start: Start) -> None:
    client = http.client.HTTPConnection("127.0.0.1", start(), timeout=10)
    for number in range(3):
        client.request("POST", f"/a?n={number}", body=b"x" * number, headers={"traceparent": "00-1-2-01"})
        report = json.loads(client.getresponse().read())
        assert (report["protocol"], report["path"], report["body_bytes"]) == ("http1", "/a", number)
        assert report["headers"]["traceparent"] == "00-1-2-01"
    client.close()


@pytest.mark.parametrize("status", [200, 204, 304, 404, 418, 503])
def test_http1_answers_any_status_with_a_body_only_where_it_may(start: Start, status: int) -> None:
    port = start()
    answered, content = _get(port, f"/?status={status}")
    assert answered == status
    assert bool(content) is (status not in (204, 304))
    assert _get(port, "/", headers={"echo-status": str(status)})[0] == status


def test_http1_refuses_a_status_that_ends_nothing(start: Start) -> None:
    port = start()
    assert _get(port, "/?status=101")[0] == 400
    assert _get(port, "/?status=tea")[0] == 200


def test_http1_head_has_the_length_and_no_body(start: Start) -> None:
    client = http.client.HTTPConnection("127.0.0.1", start(), timeout=10)
    client.request("HEAD", "/?bytes=12345")
    answer = client.getresponse()
    assert (answer.read(), answer.headers["content-length"]) == (b"", "12345")
    client.request("GET", "/")
    assert client.getresponse().status == 200, "the connection is still in step"
    client.close()


def test_http1_counts_chunked_and_big_bodies(start: Start) -> None:
    port = start()
    pieces = (b"y" * 1000 for _ in range(BIG // 1000))
    status, content = _get(port, "/", method="POST", body=pieces, encode_chunked=True)
    assert (status, json.loads(content)["body_bytes"]) == (200, BIG)
    assert len(_get(port, f"/?bytes={BIG}")[1]) == BIG


def test_http1_says_continue_before_the_body_comes(start: Start) -> None:
    with socket.create_connection(("127.0.0.1", start()), timeout=10) as wire:
        wire.sendall(b"POST / HTTP/1.1\r\nHost: e\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n")
        assert wire.recv(100).startswith(b"HTTP/1.1 100")
        wire.sendall(b"four")
        assert b'"body_bytes": 4' in wire.recv(65536)


def test_http1_says_what_was_wrong_with_a_request(start: Start) -> None:
    with socket.create_connection(("127.0.0.1", start()), timeout=10) as wire:
        wire.sendall(b"GET / HTTP/1.1\r\nbad header\r\n\r\n")
        assert wire.recv(65536).startswith(b"HTTP/1.1 400")
        assert wire.recv(1) == b""


def test_every_nth_fails_and_probes_do_not_count(start: Start) -> None:
    port = start(FAIL_EVERY="3", FAIL_STATUS="500")
    statuses = []
    for _ in range(6):
        statuses.append(_get(port, "/")[0])
        assert _get(port, "/healthz")[0] == 200
    assert statuses == [200, 200, 500, 200, 200, 500]


def test_upstreams_are_called_with_the_trace_context_or_named_as_failed(start: Start) -> None:
    last = start()
    port = start(UPSTREAMS=f"http://127.0.0.1:{last}/?status=207,http://127.0.0.1:{_free_port()}/")
    report = json.loads(_get(port, "/")[1])
    assert [one.get("status", one.get("error")) for one in report["upstreams"]] == [207, "ConnectionRefusedError"]


# HTTP/2


class _Http2:
    """A client by hand: one request at a time, its window opened `by` bytes at a time."""

    def __init__(self, port: int) -> None:
        self.wire = socket.create_connection(("127.0.0.1", port), timeout=10)
        self.machine = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self.machine.initiate_connection()

    def request(self, path: str, body: bytes = b"", method: str = "GET") -> tuple[dict[str, str], bytes]:
        stream = self.machine.get_next_available_stream_id()
        head = [(":method", method), (":path", path), (":scheme", "http"), (":authority", "e")]
        self.machine.send_headers(stream, head, end_stream=not body)
        headers: dict[str, str] = {}
        content, rest, ended = b"", body, False
        while not ended:
            while rest and (room := min(self.machine.local_flow_control_window(stream), 16384)):
                self.machine.send_data(stream, rest[:room], end_stream=len(rest) <= room)
                rest = rest[room:]
            self.wire.sendall(self.machine.data_to_send())
            for event in self.machine.receive_data(self.wire.recv(65536)):
                if isinstance(event, h2.events.ResponseReceived):
                    headers = {str(key): str(value) for key, value in event.headers}
                elif isinstance(event, h2.events.DataReceived):
                    content += event.data
                    self.machine.acknowledge_received_data(event.flow_controlled_length, stream)
                ended = ended or isinstance(event, h2.events.StreamEnded)
        return headers, content


@pytest.fixture
def http2(start: Start) -> Iterator[_Http2]:
    client = _Http2(start(FAIL_EVERY="7"))
    yield client
    client.wire.close()


def test_http2_reports_and_heeds_windows_both_ways(http2: _Http2) -> None:
    headers, content = http2.request("/", body=b"z" * BIG, method="POST")
    assert headers[":status"] == "200"
    assert (json.loads(content)["protocol"], json.loads(content)["body_bytes"]) == ("http2", BIG)
    headers, content = http2.request(f"/?bytes={BIG}")
    assert len(content) == BIG == int(headers["content-length"])


def test_http2_head_and_statuses_and_failures(http2: _Http2) -> None:
    headers, content = http2.request("/?bytes=10", method="HEAD")
    assert (headers["content-length"], content) == ("10", b"")
    assert [http2.request(f"/?status={s}")[0][":status"] for s in (204, 404, 503, 200)] == ["204", "404", "503", "200"]
    http2.request("/")
    assert http2.request("/")[0][":status"] == "503", "the seventh"


# gRPC


@pytest.fixture
def channel(start: Start) -> Iterator[Callable[..., grpc.Channel]]:
    with contextlib.ExitStack() as stack:
        options = [("grpc.max_receive_message_length", -1)]
        yield lambda **env: stack.enter_context(grpc.insecure_channel(f"127.0.0.1:{start(**env)}", options=options))


def test_grpc_unary_gives_the_message_back_whatever_its_size(channel: Callable[..., grpc.Channel]) -> None:
    unary = channel().unary_unary("/meshlab.Echo/Unary")
    for size in (0, 5, BIG):
        assert unary(b"m" * size, timeout=20) == b"m" * size


def test_grpc_streams_in_both_directions_one_message_at_a_time(channel: Callable[..., grpc.Channel]) -> None:
    stream = channel().stream_stream("/meshlab.Echo/Stream")
    sent: list[bytes] = []

    def messages() -> Iterator[bytes]:
        for number in range(5):
            sent.append(b"%d" % number * 100_000)
            yield sent[-1]

    for number, message in enumerate(stream(messages(), timeout=20)):
        assert message == sent[number]
    assert number == 4


def test_grpc_server_streaming_repeats_as_often_as_asked(channel: Callable[..., grpc.Channel]) -> None:
    repeat = channel().unary_stream("/meshlab.Echo/Repeat")
    assert list(repeat(b"r", timeout=10)) == [b"r"] * 3
    assert list(repeat(b"r" * 70_000, metadata=[("echo-count", "11")], timeout=10)) == [b"r" * 70_000] * 11


@pytest.mark.parametrize(
    ("asked", "code"),
    [("5", grpc.StatusCode.NOT_FOUND), ("7", grpc.StatusCode.PERMISSION_DENIED), ("503", grpc.StatusCode.UNAVAILABLE)],
)
def test_grpc_answers_any_status(channel: Callable[..., grpc.Channel], asked: str, code: grpc.StatusCode) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        channel().unary_unary("/meshlab.Echo/Unary")(b"m", metadata=[("echo-status", asked)], timeout=10)
    assert caught.value.code() is code


def test_grpc_fails_every_nth_call_and_waits_as_told(channel: Callable[..., grpc.Channel]) -> None:
    unary = channel(FAIL_EVERY="2").unary_unary("/meshlab.Echo/Unary")
    assert unary(b"a", timeout=10) == b"a"
    with pytest.raises(grpc.RpcError) as caught:
        unary(b"b", timeout=10)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    with pytest.raises(grpc.RpcError) as caught:
        unary(b"c", metadata=[("echo-delay", "60000")], timeout=0.3)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


# WebSocket


class _Socket:
    """A WebSocket client over wsproto."""

    def __init__(self, port: int, path: str = "/") -> None:
        self.wire = socket.create_connection(("127.0.0.1", port), timeout=10)
        self.machine = WSConnection(ConnectionType.CLIENT)
        self.send(Upgrade(host="e", target=path))
        self.first = self.next()

    def send(self, event: object) -> None:
        self.wire.sendall(self.machine.send(event))  # type: ignore[arg-type]

    def next(self) -> object:
        while True:
            for event in self.machine.events():
                return event
            self.machine.receive_data(self.wire.recv(65536) or None)

    def message(self) -> str | bytes:
        """The next whole message."""
        parts = []
        while True:
            event = self.next()
            assert isinstance(event, TextMessage | BytesMessage), event
            parts.append(event.data)
            if event.message_finished:
                return parts[0][:0].join(parts)  # type: ignore[arg-type, return-value]


def test_websocket_gives_text_binary_pings_and_close_back(start: Start) -> None:
    client = _Socket(start())
    assert isinstance(client.first, AcceptConnection)
    client.send(TextMessage(data="grüße " * 50_000))
    assert client.message() == "grüße " * 50_000
    client.send(BytesMessage(data=b"\x00\xff", message_finished=False))
    client.send(BytesMessage(data=b"\x01", message_finished=True))
    assert client.message() == b"\x00\xff\x01"
    client.send(Ping(payload=b"p"))
    assert client.next() == Pong(payload=bytearray(b"p"))
    client.send(CloseConnection(code=1000, reason="done"))
    assert client.next() == CloseConnection(code=1000, reason="done")
    client.wire.close()


def test_websocket_upgrades_fail_when_told_to(start: Start) -> None:
    port = start(FAIL_EVERY="3")
    outcomes = [_Socket(port).first, _Socket(port, "/?status=403").first, _Socket(port).first, _Socket(port).first]
    assert [getattr(one, "status_code", 101) for one in outcomes] == [101, 403, 503, 101]
    assert isinstance(outcomes[1], RejectConnection)


# TCP


def test_tcp_echoes_and_the_banner_comes_first_and_every_nth_is_reset(start: Start) -> None:
    tcp, banner = _free_port(), _free_port()
    start(TCP_PORT=str(tcp), BANNER_PORT=str(banner), FAIL_EVERY="3")
    with socket.create_connection(("127.0.0.1", tcp), timeout=10) as wire:
        wire.sendall(b"abc")
        assert wire.recv(10) == b"abc"
    with socket.create_connection(("127.0.0.1", banner), timeout=10) as wire:
        assert wire.recv(100) == b"220 e ready\r\n"
        wire.sendall(b"quit")
        assert wire.recv(100) == b"quit"
    with socket.create_connection(("127.0.0.1", tcp), timeout=10) as wire, pytest.raises(ConnectionResetError):
        assert wire.recv(10) == b"reset instead"
