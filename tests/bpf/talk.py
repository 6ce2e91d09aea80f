"""Run inside a pod, by path: `serve PORT NAME` greets and echoes; `proxy` stands in for the node's Envoy.

Standard library only: a pod's processes know nothing of the tests.
"""

import ctypes
import json
import os
import socket
import struct
import sys
import threading

SO_ORIGINAL_DST = 80
CLONE_NEWNET = 0x40000000


def listen(host: str, port: int) -> socket.socket:
    server = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind((host, port))
    server.listen(1024)
    return server


def each(server: socket.socket, handle) -> None:
    while True:
        connection, _ = server.accept()
        threading.Thread(target=handle, args=(connection,), daemon=True).start()


def greet(name: str):
    def handle(connection: socket.socket) -> None:
        with connection:
            connection.sendall(name.encode() + b"\n")
            while data := connection.recv(1 << 16):
                connection.sendall(data)

    return handle


def told(connection: socket.socket) -> None:
    """Say what a proxy sees of a connection."""
    with connection:
        try:
            raw = connection.getsockopt(0, SO_ORIGINAL_DST, 16)
            original = [socket.inet_ntoa(raw[4:8]), struct.unpack("!H", raw[2:4])[0]]
        except OSError as error:
            original = [str(error), 0]
        seen = {"original": original, "local": connection.getsockname(), "peer": connection.getpeername()}
        connection.sendall(b"proxy " + json.dumps(seen).encode() + b"\n")


def proxy(namespaces: list[str], ports: list[int]) -> None:
    libc = ctypes.CDLL(None)
    for path in namespaces:
        with open(path) as there:
            libc.setns(there.fileno(), CLONE_NEWNET)
        for port in ports:
            server = listen("127.0.0.1", port)
            threading.Thread(target=each, args=(server, told), daemon=True).start()


def main() -> None:
    if sys.argv[1] == "serve":
        server = listen(sys.argv[4] if len(sys.argv) > 4 else "0.0.0.0", int(sys.argv[2]))
        threading.Thread(target=each, args=(server, greet(sys.argv[3])), daemon=True).start()
    else:
        proxy(sys.argv[2].split(","), [int(port) for port in sys.argv[3].split(",")])
    print("ready", flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main()
    os._exit(0)
