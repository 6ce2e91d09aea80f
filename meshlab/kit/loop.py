"""One background event loop: async inside, a sync face for notebooks and scripts."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

_lock = threading.Lock()
_loop: asyncio.AbstractEventLoop | None = None


def background_loop() -> asyncio.AbstractEventLoop:
    """The one loop, on a daemon thread, started on first use."""
    global _loop
    with _lock:
        if _loop is None or _loop.is_closed():
            _loop = asyncio.new_event_loop()
            threading.Thread(target=_loop.run_forever, name="meshlab-loop", daemon=True).start()
        return _loop


class _Ending(Exception):
    """Carries a SystemExit over to the caller's thread: raised on the loop it would end the loop, and the caller would
    wait for ever (rich exits so where a pipe is broken)."""


async def _carried(coroutine: Coroutine[Any, Any, T]) -> T:
    try:
        return await coroutine
    except SystemExit as error:
        raise _Ending(error.code) from None


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on the background loop and wait for it. An interrupt (Ctrl-C, a stopped cell) cancels it."""
    future = asyncio.run_coroutine_threadsafe(_carried(coroutine), background_loop())
    try:
        return future.result()
    except _Ending as ending:
        raise SystemExit(*ending.args) from None
    except BaseException:
        future.cancel()
        raise
