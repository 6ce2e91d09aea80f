"""A small HTTP/1.1 server for a pod, by path: `PORT`. GET /N answers with N bytes, POST echoes, /status/NNN."""

import os
import socket
import sys
import tempfile
import threading


def head_and_rest(connection: socket.socket, data: bytes) -> tuple[bytes, bytes]:
    while b"\r\n\r\n" not in data:
        more = connection.recv(1 << 16)
        if not more:
            return b"", b""
        data += more
    head, _, rest = data.partition(b"\r\n\r\n")
    return head, rest


def body_of(size: int) -> bytes:
    """Bytes that say where they belong, so that a misplaced piece is seen."""
    return b"".join(b"%07d " % number for number in range(size // 8 + 1))[:size]


def serve(connection: socket.socket) -> None:
    data = b""
    with connection:
        while True:
            head, data = head_and_rest(connection, data)
            if not head:
                return
            method, path = head.split(b" ", 2)[:2]
            lengths = [
                line.split(b":")[1] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")
            ]
            wanted = int(lengths[0]) if lengths else 0
            pieces, have = [data[:wanted]], len(data[:wanted])
            data = data[wanted:]
            while have < wanted:
                piece = connection.recv(min(1 << 16, wanted - have))
                pieces.append(piece)
                have += len(piece)
            answer(connection, method, path, b"".join(pieces))


def answer(connection: socket.socket, method: bytes, path: bytes, body: bytes) -> None:
    status, last = b"200 OK", path.split(b"?")[0].rpartition(b"/")[2]
    if b"/status/" in path:
        status = last + b" Whatever"
    elif method == b"GET" and last.isdigit():
        body = body_of(int(last))
    head = b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n" % (status, len(body))
    if b"/sendfile/" in path:
        connection.sendall(head)
        with tempfile.TemporaryFile() as file:
            file.write(body)
            file.flush()
            os.lseek(file.fileno(), 0, 0)
            connection.sendfile(file)
    else:
        connection.sendall(head + body)


def main() -> None:
    server = socket.socket()
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind(("0.0.0.0", int(sys.argv[1])))
    server.listen(512)
    print("ready", flush=True)
    while True:
        connection, _ = server.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=serve, args=(connection,), daemon=True).start()


if __name__ == "__main__":
    main()
