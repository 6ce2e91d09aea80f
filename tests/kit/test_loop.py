"""The background loop: one for all, results and errors come back, an interrupt cancels."""

from __future__ import annotations

import asyncio
import threading

import pytest

from meshlab.kit import loop


def test_results_and_errors_come_back_to_the_caller() -> None:
    async def add(a: int, b: int) -> int:
        return a + b

    async def fail() -> None:
        raise LookupError("why")

    assert loop.run(add(2, 3)) == 5
    with pytest.raises(LookupError, match="why"):
        loop.run(fail())


def test_all_callers_share_one_loop_on_a_thread_of_its_own() -> None:
    async def where() -> tuple[int, int]:
        return id(asyncio.get_running_loop()), threading.get_ident()

    found: list[tuple[int, int]] = []
    threads = [threading.Thread(target=lambda: found.append(loop.run(where()))) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1
    assert found[0][1] not in {threading.get_ident(), *(thread.ident for thread in threads)}


def test_an_interrupt_cancels_what_was_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    cancelled = threading.Event()

    async def forever() -> None:
        try:
            started.set()
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    started = threading.Event()

    def interrupted(_: object) -> None:
        started.wait(10)
        raise KeyboardInterrupt

    monkeypatch.setattr("concurrent.futures.Future.result", interrupted)
    with pytest.raises(KeyboardInterrupt):
        loop.run(forever())
    assert cancelled.wait(10)
