"""WebSocket (RFC 6455): text and binary come back as they came, fragment by fragment; pings and close are answered."""

from __future__ import annotations

import asyncio

from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Event,
    Ping,
    Request,
    TextMessage,
)
from wsproto.utilities import LocalProtocolError, RemoteProtocolError

from meshlab.samples.echo.report import CHUNK, Seen


async def serve(seen: Seen, rest: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """From the upgrade, which was read already, to the close. `rest`: bytes that came right behind it."""
    machine = WSConnection(ConnectionType.SERVER)
    headers = [(key.encode(), value.encode("latin-1")) for key, value in seen.headers]
    try:
        machine.initiate_upgrade_connection(headers, seen.target)
        data = rest
        while True:
            if data:
                machine.receive_data(data)
            for event in machine.events():
                if (reply := _reply(event)) is not None:
                    writer.write(machine.send(reply))
                if isinstance(event, CloseConnection):
                    return
            await writer.drain()
            if not (data := await reader.read(CHUNK)):
                return
    except RemoteProtocolError as error:
        if error.event_hint is not None:
            writer.write(machine.send(error.event_hint))
    except LocalProtocolError:
        pass  # the client closed while a message was on its way back
    finally:
        await writer.drain()


def _reply(event: Event) -> Event | None:
    if isinstance(event, Request):
        return AcceptConnection(subprotocol=event.subprotocols[0] if event.subprotocols else None)
    if isinstance(event, TextMessage):
        return TextMessage(data=event.data, message_finished=event.message_finished)
    if isinstance(event, BytesMessage):
        return BytesMessage(data=event.data, message_finished=event.message_finished)
    if isinstance(event, Ping | CloseConnection):
        return event.response()
    return None
