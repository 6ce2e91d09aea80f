"""HTTP/2 with prior knowledge: many streams on one connection, nothing sent beyond the windows of the other end."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import h2.settings

from meshlab.samples.echo import grpc
from meshlab.samples.echo.report import CHUNK, Headers, Seen, Settings, answer

_STREAM_WINDOW, _CONNECTION_WINDOW = 1 << 18, 1 << 22


@dataclass
class Stream:
    """One request. `pieces`: its body as it comes, with what each counts in the window; None at the end."""

    connection: Connection
    number: int
    seen: Seen
    pieces: asyncio.Queue[tuple[bytes, int] | None] = field(default_factory=asyncio.Queue)
    task: asyncio.Task[None] | None = None

    async def read(self) -> bytes:
        """The next piece of the body; b"" at its end. The window opens again only now: a slow reader is not flooded."""
        while (piece := await self.pieces.get()) is not None:
            data, counted = piece
            self.connection.taken(self.number, counted)
            if data:
                return data
        return b""

    def head(self, headers: Headers, *, end: bool = False) -> None:
        self.connection.head(self.number, headers, end)

    async def body(self, data: bytes, *, end: bool = False) -> None:
        await self.connection.body(self.number, data, end)


class Connection:
    """`client` is its address, for the reports."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, client: str) -> None:
        self._reader, self._writer, self._client = reader, writer, client
        config = h2.config.H2Configuration(client_side=False, header_encoding="utf-8")
        self._machine = h2.connection.H2Connection(config)
        self._streams: dict[int, Stream] = {}
        self._window = asyncio.Condition()
        self._flushing = False

    async def serve(self, first: bytes, settings: Settings) -> None:
        """Streams until the connection ends."""
        self._machine.initiate_connection()
        self._machine.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: _STREAM_WINDOW})
        self._machine.increment_flow_control_window(_CONNECTION_WINDOW)
        data = first
        try:
            while data:
                for event in self._machine.receive_data(data):
                    await self._take(event, settings)
                self._flush_soon()
                await self._writer.drain()
                data = await self._reader.read(CHUNK)
        except h2.exceptions.ProtocolError:
            self._flush()  # h2 has put a GOAWAY with the reason there
        finally:
            for stream in list(self._streams.values()):
                self._forget(stream.number)

    async def _take(self, event: h2.events.Event, settings: Settings) -> None:
        if isinstance(event, h2.events.RequestReceived):
            self._begin(event.stream_id, [(str(key), str(value)) for key, value in event.headers], settings)
        elif isinstance(event, h2.events.DataReceived):
            counted = event.flow_controlled_length
            if stream := self._streams.get(event.stream_id):
                stream.pieces.put_nowait((bytes(event.data), counted))
            else:
                self.taken(event.stream_id, counted)
        elif isinstance(event, h2.events.StreamEnded):
            if stream := self._streams.get(event.stream_id):
                stream.pieces.put_nowait(None)
        elif isinstance(event, h2.events.StreamReset):
            self._forget(event.stream_id)
        elif isinstance(event, h2.events.WindowUpdated | h2.events.RemoteSettingsChanged):
            async with self._window:
                self._window.notify_all()

    def _begin(self, number: int, headers: Headers, settings: Settings) -> None:
        fields = dict(headers)
        rest = [(key, value) for key, value in headers if not key.startswith(":")]
        protocol = "grpc" if fields.get("content-type", "").startswith("application/grpc") else "http2"
        seen = Seen(fields[":method"], fields.get(":path", "/"), rest, self._client, protocol)
        stream = self._streams[number] = Stream(self, number, seen)
        stream.task = asyncio.create_task(self._run(stream, settings))

    async def _run(self, stream: Stream, settings: Settings) -> None:
        try:
            await (grpc.serve if stream.seen.protocol == "grpc" else _reply)(stream, settings)
        except (h2.exceptions.ProtocolError, OSError):
            pass  # the stream or the connection ended meanwhile
        finally:
            stream.task = None
            self._forget(stream.number)

    def _forget(self, number: int) -> None:
        """A stream is over: its task ends, and what nobody read of it no longer fills the connection's window."""
        stream = self._streams.pop(number, None)
        if stream is None:
            return
        if stream.task is not None:
            stream.task.cancel()
        while not stream.pieces.empty():
            if piece := stream.pieces.get_nowait():
                self.taken(number, piece[1])

    def taken(self, number: int, counted: int) -> None:
        """So many bytes of a stream were read."""
        with contextlib.suppress(h2.exceptions.ProtocolError):
            self._machine.acknowledge_received_data(counted, number)
            self._flush_soon()

    def head(self, number: int, headers: Headers, end: bool) -> None:
        self._machine.send_headers(number, headers, end_stream=end)
        self._flush_soon()

    async def body(self, number: int, data: bytes, end: bool) -> None:
        """Send as the windows allow, waiting for them to open."""
        rest = memoryview(data)
        while rest:
            async with self._window:
                await self._window.wait_for(lambda: self._machine.local_flow_control_window(number) > 0)
            room = min(self._machine.local_flow_control_window(number), self._machine.max_outbound_frame_size)
            piece, rest = rest[:room], rest[room:]
            self._machine.send_data(number, bytes(piece), end_stream=end and not rest)
            self._flush_soon()
            await self._writer.drain()

    def _flush_soon(self) -> None:
        """Once for all that this turn of the loop has to say: head, body and trailers are one packet."""
        if not self._flushing:
            self._flushing = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        self._flushing = False
        self._writer.write(self._machine.data_to_send())


async def _reply(stream: Stream, settings: Settings) -> None:
    """Plain HTTP/2."""
    while data := await stream.read():
        stream.seen.body_bytes += len(data)
    reply = await answer(stream.seen, settings)
    empty = stream.seen.method == "HEAD" or reply.status in (204, 304)
    headers = [(":status", str(reply.status)), ("content-type", "application/json")]
    if reply.status not in (204, 304):
        headers.append(("content-length", str(len(reply))))
    stream.head(headers, end=empty)
    if not empty:
        left = len(reply)
        for chunk in reply.chunks():
            left -= len(chunk)
            await stream.body(chunk, end=not left)
