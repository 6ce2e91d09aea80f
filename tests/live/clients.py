"""Programs that tests run inside pods with `lab.exec`: each prints one line of JSON."""

from __future__ import annotations

import json
import sys
from typing import Any

from meshlab import Lab

HTTP = """
import http.client, json, sys, urllib.parse
url, headers = urllib.parse.urlsplit(sys.argv[1]), dict(word.split("=", 1) for word in sys.argv[2:])
client = http.client.HTTPConnection(url.hostname, url.port or 80, timeout=15)
client.request("GET", url.path + ("?" + url.query if url.query else ""), headers=headers)
answer = client.getresponse()
print(json.dumps({"status": answer.status, "body": answer.read().decode()}))
"""

HTTP2 = """
import json, socket, sys, h2.config, h2.connection, h2.events
host, port, path = sys.argv[1:]
wire = socket.create_connection((host, int(port)), timeout=15)
machine = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
machine.initiate_connection()
machine.send_headers(1, [(":method", "GET"), (":path", path), (":scheme", "http"), (":authority", host)], True)
status, body, ended = 0, b"", False
while not ended:
    wire.sendall(machine.data_to_send())
    for event in machine.receive_data(wire.recv(65536)):
        if isinstance(event, h2.events.ResponseReceived):
            status = int(dict(event.headers)[":status"])
        elif isinstance(event, h2.events.DataReceived):
            body += event.data
            machine.acknowledge_received_data(event.flow_controlled_length, 1)
        ended = ended or isinstance(event, h2.events.StreamEnded)
print(json.dumps({"status": status, "body": body.decode()}))
"""

GRPC = """
import grpc, json, sys
target, asked = sys.argv[1:]
channel = grpc.insecure_channel(target)
big = b"m" * 1_000_000
unary = channel.unary_unary("/meshlab.Echo/Unary")(big, timeout=20, wait_for_ready=True) == big
repeated = len(list(channel.unary_stream("/meshlab.Echo/Repeat")(b"r", metadata=[("echo-count", "5")], timeout=20)))
def messages():
    for number in range(7):
        yield b"%d" % number
streamed = [one.decode() for one in channel.stream_stream("/meshlab.Echo/Stream")(messages(), timeout=20)]
try:
    channel.unary_unary("/meshlab.Echo/Asked")(b"", metadata=[("echo-status", asked)], timeout=20)
    code = "OK"
except grpc.RpcError as error:
    code = error.code().name
print(json.dumps({"unary": unary, "repeated": repeated, "streamed": streamed, "code": code}))
"""

WEBSOCKET = """
import json, socket, sys
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, BytesMessage, CloseConnection, Ping, Pong, Request, TextMessage
host, port, path = sys.argv[1:]
wire = socket.create_connection((host, int(port)), timeout=15)
machine = WSConnection(ConnectionType.CLIENT)
def send(event):
    wire.sendall(machine.send(event))
def events():
    while True:
        yield from machine.events()
        machine.receive_data(wire.recv(65536) or None)
found = events()
send(Request(host=host, target=path))
upgraded = isinstance(next(found), AcceptConnection)
send(TextMessage(data="text")); text = next(found).data
send(BytesMessage(data=bytes(range(256)))); binary = bytes(next(found).data) == bytes(range(256))
send(Ping(payload=b"p")); pong = isinstance(next(found), Pong)
send(CloseConnection(code=1000)); closed = next(found).code
print(json.dumps({"upgraded": upgraded, "text": text, "binary": binary, "pong": pong, "closed": closed}))
"""

TCP = """
import json, socket, sys
host, port, first, message = sys.argv[1:]
wire = socket.create_connection((host, int(port)), timeout=15)
def read(size):
    data = b""
    while len(data) < size and (more := wire.recv(size - len(data))):
        data += more
    return data.decode()
banner = read(len(first))
wire.sendall(message.encode())
print(json.dumps({"banner": banner, "echoed": read(len(message))}))
"""

TLS = """
import json, socket, ssl, sys
host, port, certificate = sys.argv[1:]
context = ssl.create_default_context(cafile=certificate)
with context.wrap_socket(socket.create_connection((host, int(port)), timeout=15), server_hostname="own.test") as wire:
    shown = wire.getpeercert()["subject"][0][0][1]
    wire.sendall(b"GET /own HTTP/1.0\\r\\n\\r\\n")
    answer = b""
    while more := wire.recv(65536):
        answer += more
print(json.dumps({"answer": answer.split(b"\\r\\n", 1)[0].decode(), "certificate": shown}))
"""


def run(lab: Lab, source: str, program: str, *words: object) -> dict[str, Any]:
    """The JSON that the program printed, run with our Python in the pod or workload `source` (namespace/name)."""
    done = lab.exec(source, [sys.executable, "-c", program, *map(str, words)])
    assert done.exit_code == 0, done.stderr.decode()
    return dict(json.loads(done.stdout))
