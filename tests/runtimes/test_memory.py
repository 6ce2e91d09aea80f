"""The shipped fake: what a test may turn on it, beyond what every runtime does (tests/contracts)."""

from __future__ import annotations

import asyncio

import pytest

from meshlab.errors import NotFound, TimedOut
from meshlab.model.settings import Settings
from meshlab.model.world import PodId
from meshlab.runtimes.base import ExecResult, Runtime
from meshlab.runtimes.memory import MemoryRuntime
from tests.runtimes.support import SHOP, changed, manifests

WEB_1, WEB_2 = PodId("shop", "web-1"), PodId("shop", "web-2")


def test_it_is_a_runtime() -> None:
    runtime: Runtime = MemoryRuntime()
    assert runtime is not None
    methods = [name for name in vars(Runtime) if not name.startswith("_")]
    assert len(methods) == 8
    assert all(callable(getattr(runtime, name)) for name in methods)


async def test_pods_are_ready_at_once_or_when_the_test_says_so() -> None:
    at_once = MemoryRuntime()
    await at_once.apply(manifests())
    assert [pod.ready for pod in await at_once.pods()] == [True, True]
    later = MemoryRuntime(auto_ready=False)
    await later.apply(manifests())
    assert [pod.ready for pod in await later.pods()] == [False, False]
    await later.set_ready(WEB_2, True)
    assert {pod.pod: pod.ready for pod in await later.pods()} == {WEB_1: False, WEB_2: True}


async def test_a_rollout_waits_for_the_test_to_call_new_pods_ready() -> None:
    runtime = MemoryRuntime(auto_ready=False)
    await runtime.apply(manifests())
    for pod in (WEB_1, WEB_2):
        await runtime.set_ready(pod, True)
    old = {pod.uid for pod in await runtime.pods()}
    await runtime.apply(changed(SHOP, ("image: meshlab/echo", "image: meshlab/nginx")))
    during = await runtime.pods()
    assert old < {pod.uid for pod in during}
    [new] = [pod for pod in during if pod.uid not in old]
    await runtime.set_ready(new.pod, True)
    assert len(old & {pod.uid for pod in await runtime.pods()}) == 1


async def test_a_change_of_readiness_is_a_new_state() -> None:
    runtime = MemoryRuntime()
    await runtime.apply(manifests())
    watch = aiter(runtime.watch())
    first = await anext(watch)
    await runtime.set_ready(WEB_1, False)
    second = await anext(watch)
    assert second.revision > first.revision
    assert [endpoint.ready for endpoint in second.endpoints] == [False, True]


async def test_exec_answers_from_the_table_and_knows_who_was_asked() -> None:
    async def whoami(pod: PodId, stdin: bytes) -> ExecResult:
        return ExecResult(0, f"{pod} {stdin.decode()}".encode(), b"")

    runtime = MemoryRuntime(answers={("true",): ExecResult(0, b"", b""), ("whoami",): whoami})
    await runtime.apply(manifests())
    assert await runtime.exec(WEB_1, ["true"]) == ExecResult(0, b"", b"")
    assert await runtime.exec(WEB_2, ["whoami"], stdin=b"x") == ExecResult(0, b"shop/web-2 x", b"")
    assert await runtime.exec(WEB_1, ["false"]) == ExecResult(127, b"", b"false: not found\n")


async def test_commands_under_way_are_counted_and_end_with_their_time() -> None:
    async def forever(_: PodId, __: bytes) -> ExecResult:
        await asyncio.Event().wait()
        raise AssertionError

    runtime = MemoryRuntime(answers={("sleep",): forever})
    await runtime.apply(manifests())
    call = asyncio.create_task(runtime.exec(WEB_1, ["sleep"], timeout_s=0.05))
    await asyncio.sleep(0)
    assert runtime.executing == 1
    with pytest.raises(TimedOut):
        await call
    assert runtime.executing == 0


async def test_logs_are_what_the_test_wrote_and_may_be_followed() -> None:
    runtime = MemoryRuntime()
    await runtime.apply(manifests())
    await runtime.log(WEB_1, "one")
    follow = aiter(runtime.logs(WEB_1, follow=True))
    assert await anext(follow) == b"one\n"
    waiting = asyncio.ensure_future(anext(follow))
    await runtime.log(WEB_1, "two", container="app")
    assert await waiting == b"two\n"
    assert [line async for line in runtime.logs(WEB_2)] == []


async def test_only_its_nodes_take_pods() -> None:
    runtime = MemoryRuntime(Settings(nodes=3))
    await runtime.apply(changed(SHOP, ("replicas: 2", "replicas: 7")))
    assert sorted(pod.node for pod in await runtime.pods()) == ["node-1"] * 3 + ["node-2"] * 2 + ["node-3"] * 2


async def test_what_is_turned_on_no_pod_is_refused() -> None:
    with pytest.raises(NotFound):
        await MemoryRuntime().set_ready(WEB_1, True)
    with pytest.raises(NotFound):
        await MemoryRuntime().log(WEB_1, "x")
