"""HTTP/1.1: one connection after another request, bodies counted as they stream by; hands an upgrade to WebSocket."""

from __future__ import annotations

import asyncio
from http import HTTPStatus

import h11

from meshlab.samples.echo.report import CHUNK, Answer, Seen, Settings, answer

_NO_BODY = (204, 304)
_REASONS = {int(status): status.phrase for status in HTTPStatus}


class Connection:
    """`client` is its address, for the report."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, client: str) -> None:
        self._reader, self._writer, self._client = reader, writer, client
        self._machine = h11.Connection(h11.SERVER)

    async def serve(self, first: bytes, settings: Settings) -> None:
        """Requests until the connection ends."""
        self._machine.receive_data(first)
        try:
            while (seen := await self._request()) is not None:
                if _websocket(seen):
                    return await self._upgrade(seen, settings)
                await self._reply(seen, await answer(seen, settings))
                if self._machine.our_state is not h11.DONE or self._machine.their_state is not h11.DONE:
                    return None
                self._machine.start_next_cycle()
        except h11.RemoteProtocolError as error:
            await self._refuse(error)
        return None

    async def _request(self) -> Seen | None:
        """The next request, its body read to the end; None when the client has left."""
        seen: Seen | None = None
        while True:
            event = self._machine.next_event()
            if event is h11.NEED_DATA:
                await self._more()
            elif isinstance(event, h11.Request):
                headers = [(key.decode(), value.decode("latin-1")) for key, value in event.headers]
                target = event.target.decode("latin-1")
                seen = Seen(event.method.decode(), target, headers, self._client, "http1")
            elif isinstance(event, h11.Data) and seen is not None:
                seen.body_bytes += len(event.data)
            elif isinstance(event, h11.EndOfMessage):
                return seen
            else:
                return None

    async def _more(self) -> None:
        if self._machine.they_are_waiting_for_100_continue:
            await self._send(h11.InformationalResponse(status_code=100, headers=[]))
        self._machine.receive_data(await self._reader.read(CHUNK))

    async def _reply(self, seen: Seen, reply: Answer) -> None:
        """Head and body; to HEAD the head alone, with the length that GET would have."""
        fields = [("content-type", "application/json")]
        if reply.status not in _NO_BODY:
            fields.append(("content-length", str(len(reply))))
        head = h11.Response(status_code=reply.status, headers=fields, reason=_reason(reply.status))
        held: list[h11.Event] = [head]
        for chunk in () if seen.method == "HEAD" or reply.status in _NO_BODY else reply.chunks():
            if isinstance(held[-1], h11.Data):
                await self._send(*held)
                held = []
            held.append(h11.Data(data=chunk))
        await self._send(*held, h11.EndOfMessage())

    async def _refuse(self, error: h11.RemoteProtocolError) -> None:
        """Say what was wrong with it, if there is still somebody to say it to."""
        if self._machine.our_state in (h11.IDLE, h11.SEND_RESPONSE) and self._machine.their_state is not h11.CLOSED:
            content = f"{error}\n".encode()
            fields = [("content-length", str(len(content))), ("connection", "close")]
            hint = error.error_status_hint
            head = h11.Response(status_code=hint, headers=fields, reason=_reason(hint))
            await self._send(head, h11.Data(data=content), h11.EndOfMessage())

    async def _send(self, *events: h11.Event) -> None:
        """All of them in one packet, if they fit."""
        self._writer.write(b"".join(self._machine.send(event) or b"" for event in events))
        await self._writer.drain()

    async def _upgrade(self, seen: Seen, settings: Settings) -> None:
        from meshlab.samples.echo import websocket
        from meshlab.samples.echo.report import decide

        if status := await decide(seen, settings):
            await self._reply(seen, Answer(status if 200 <= status <= 599 else 400, b'{"upgrade": "refused"}\n'))
            return
        rest = self._machine.trailing_data[0]
        await websocket.serve(seen, rest, self._reader, self._writer)


def _reason(status: int) -> bytes:
    """Clients there are (h2load) that see no status where the phrase behind it is empty."""
    return _REASONS.get(status, "Other").encode()


def _websocket(seen: Seen) -> bool:
    return any(key == "upgrade" and value.lower() == "websocket" for key, value in seen.headers)
