"""The lab's end of the control plane's API: HTTP over a Unix socket."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import aiohttp

from meshlab.errors import Unavailable

if TYPE_CHECKING:
    from pathlib import Path

_WAY_OUT = "the control plane restarts by itself; try again, or see `meshlab logs control-plane`"


class ControlClient:
    """Reads of the control plane. Unavailable when it does not answer."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket

    async def json(self, path: str, **query: str | int) -> Any:
        """One JSON document."""
        return await self._get(path, query, as_json=True)

    async def body(self, path: str, **query: str | int) -> bytes:
        """A whole answer as bytes (flows, trust bundle)."""
        body: bytes = await self._get(path, query, as_json=False)
        return body

    async def _get(self, path: str, query: dict[str, str | int], *, as_json: bool) -> Any:
        try:
            async with (
                aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(self._socket))) as session,
                session.get(f"http://control{path}", params=query) as answer,
            ):
                if answer.status != 200:
                    raise Unavailable(f"the control plane answered {answer.status} to {path}", hint=_WAY_OUT)
                return await (answer.json() if as_json else answer.read())
        except (aiohttp.ClientError, OSError) as error:
            raise Unavailable(f"the control plane does not answer: {error}", hint=_WAY_OUT) from error
