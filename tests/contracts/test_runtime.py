"""What every runtime does in the same way: one suite over the shipped fake and over real namespaces."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest

from meshlab.errors import Conflict, MeshlabError, NotFound, TimedOut
from meshlab.kit import cgroups, loop
from meshlab.kit.layout import Layout
from meshlab.model.ids import Ref
from meshlab.model.settings import Settings
from meshlab.model.workloads import Mode
from meshlab.model.world import Endpoint, PodId
from meshlab.runtimes.base import ExecResult, Observed, Runtime
from meshlab.runtimes.local import LocalRuntime, launch
from meshlab.runtimes.memory import MemoryRuntime

LINES = ("first line", "second line")
SPEAK = f"echo {LINES[0]}; echo {LINES[1]}; exec sleep infinity"
FAILS = ("sh", "-c", "echo out; echo err >&2; exit 7")
STUCK = ("sh", "-c", "sleep 600; true")
TURN = ("rev",)


class Bench(Protocol):
    """One runtime under test, and what the suite cannot see through its eight methods."""

    runtime: Runtime

    async def speak(self, pod: PodId) -> None:
        """The pod has said LINES."""

    def executing(self, pod: PodId) -> int:
        """Processes that `exec` started in the pod and that still run."""

    async def nothing_left(self) -> bool:
        """Whatever the runtime made is gone."""


class MemoryBench:
    def __init__(self) -> None:
        async def turn(_: PodId, stdin: bytes) -> ExecResult:
            return ExecResult(0, b"".join(line[::-1] + b"\n" for line in stdin.splitlines()), b"")

        async def stuck(_: PodId, __: bytes) -> ExecResult:
            await asyncio.Event().wait()
            raise AssertionError

        answers = {FAILS: ExecResult(7, b"out\n", b"err\n"), TURN: turn, STUCK: stuck}
        self._memory = MemoryRuntime(SETTINGS, answers=answers)
        self.runtime: Runtime = self._memory

    async def speak(self, pod: PodId) -> None:
        for line in LINES:
            await self._memory.log(pod, line)

    def executing(self, _: PodId) -> int:
        return self._memory.executing

    async def nothing_left(self) -> bool:
        return await self._memory.pods() == []


class LocalBench:
    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self.runtime: Runtime = LocalRuntime(layout)

    async def speak(self, pod: PodId) -> None:
        """Its command does."""

    def executing(self, pod: PodId) -> int:
        nodes = (cgroups.lab_group(self._layout.name) / "pods").iterdir()
        return sum(len(cgroups.pids(node / f"{pod.namespace}_{pod.name}" / "exec")) for node in nodes)

    async def nothing_left(self) -> bool:
        group = cgroups.lab_group(self._layout.name)
        namespaces = list(Path("/run/netns").glob(f"ml-{self._layout.name}-*"))
        return not (self._layout.root.exists() or group.exists() or namespaces)


SETTINGS = Settings(f"c{os.getpid()}", 2, Mode.NONE)


def bring_up(name: str) -> LocalBench:
    layout = Layout.of(name)
    loop.run(launch(layout, Settings(name, 2, Mode.NONE), lambda _: None))
    return LocalBench(layout)


@pytest.fixture(scope="module")
def local() -> Iterator[LocalBench]:
    bench = bring_up(SETTINGS.name)
    yield bench
    loop.run(bench.runtime.down())


@pytest.fixture(params=["memory", "local"])
async def bench(request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
    """A runtime with nothing in it; what a test leaves is deleted."""
    found: Bench = MemoryBench() if request.param == "memory" else request.getfixturevalue("local")
    yield found
    if left := {
        Ref(one["kind"], one["metadata"]["namespace"], one["metadata"]["name"]) for one in await documents(found)
    }:
        await found.runtime.delete(sorted(left))
        await seen(found.runtime, lambda state: not state.endpoints)


async def seen(runtime: Runtime, wanted: Callable[[Observed], bool]) -> Observed:
    """The first state that is as wanted."""
    async with asyncio.timeout(20):
        async for state in runtime.watch():
            if wanted(state):
                return state
    raise AssertionError("the watch ended")


async def documents(bench: Bench) -> tuple[Any, ...]:
    return (await seen(bench.runtime, lambda _: True)).manifests


def template(command: str = SPEAK) -> dict[str, Any]:
    container = {"name": "app", "image": "host", "command": ["sh", "-c", command]}
    return {
        "metadata": {"labels": {"app": "web"}},
        "spec": {"terminationGracePeriodSeconds": 0, "containers": [container]},
    }


def web(replicas: int = 1, command: str = SPEAK, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "shop"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "web"}},
            "template": template(command),
            **spec,
        },
    }


def service(name: str = "web", **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}], **spec},
    }


def account(name: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": "shop"}}


def ready(count: int) -> Callable[[Observed], bool]:
    return lambda state: len(state.endpoints) == count == sum(endpoint.ready for endpoint in state.endpoints)


async def one_pod(bench: Bench) -> PodId:
    await bench.runtime.apply([web()])
    [endpoint] = (await seen(bench.runtime, ready(1))).endpoints
    return endpoint.pod


async def test_apply_says_what_it_did_to_each_object(bench: Bench) -> None:
    assert [str(c) for c in await bench.runtime.apply([service(), account("a")])] == [
        "Service/shop/web created",
        "ServiceAccount/shop/a created",
    ]
    assert {c.verb for c in await bench.runtime.apply([service(), account("a")])} == {"unchanged"}
    changed = service(ports=[{"port": 81, "targetPort": 8080}])
    assert [c.verb for c in await bench.runtime.apply([changed, account("a")])] == ["configured", "unchanged"]


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        (service("other", clusterIP="10.96.77.77"), Conflict),
        (service("other", clusterIP="192.0.2.1"), MeshlabError),
        (service("other", ports=[]), MeshlabError),
        (web(strategy={"rollingUpdate": {"maxSurge": "some"}}), MeshlabError),
        (web(template={**template(), "spec": {**template()["spec"], "nodeName": "node-77"}}), MeshlabError),
        ({"kind": "Service", "metadata": {}}, MeshlabError),
        ({"kind": "Nothing"}, MeshlabError),
    ],
    ids=["address taken", "address of another net", "no ports", "no number", "no such node", "no name", "no kind"],
)  # fmt: skip
async def test_apply_is_all_or_nothing(bench: Bench, bad: dict[str, Any], error: type[MeshlabError]) -> None:
    await bench.runtime.apply([service(clusterIP="10.96.77.77")])
    before = await documents(bench)
    with pytest.raises(error):
        await bench.runtime.apply([account("a"), bad])
    assert await documents(bench) == before


async def test_delete_of_what_is_not_there_changes_nothing(bench: Bench) -> None:
    await bench.runtime.apply([account("a"), account("b")])
    before = await documents(bench)
    with pytest.raises(NotFound, match="ServiceAccount/shop/c"):
        await bench.runtime.delete([Ref("ServiceAccount", "shop", "a"), Ref("ServiceAccount", "shop", "c")])
    assert await documents(bench) == before
    changes = await bench.runtime.delete([Ref("ServiceAccount", "shop", "a")])
    assert [str(change) for change in changes] == ["ServiceAccount/shop/a deleted"]


async def test_a_namespace_takes_its_content(bench: Bench) -> None:
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}
    elsewhere = {**account("a"), "metadata": {"name": "a", "namespace": "other"}}
    await bench.runtime.apply([namespace, elsewhere, service(), web(2)])
    await seen(bench.runtime, ready(2))
    changes = await bench.runtime.delete([Ref("Namespace", "", "shop")])
    assert {str(change.ref) for change in changes} == {"Namespace/shop", "Service/shop/web", "Deployment/shop/web"}
    state = await seen(bench.runtime, lambda state: not state.endpoints)
    assert [manifest["metadata"]["namespace"] for manifest in state.manifests] == ["other"]
    assert await bench.runtime.pods() == []


async def test_watch_gives_the_present_state_first_and_then_newer_ones(bench: Bench) -> None:
    await bench.runtime.apply([account("a")])
    watch = aiter(bench.runtime.watch())
    states = [await anext(watch)]
    assert [one["metadata"]["name"] for one in states[0].manifests] == ["a"]
    await bench.runtime.apply([account("b")])
    async with asyncio.timeout(10):
        while len(states[-1].manifests) < 2:
            states.append(await anext(watch))
    revisions = [state.revision for state in states]
    assert revisions == sorted(set(revisions))


async def test_a_slow_watcher_skips_states_between(bench: Bench) -> None:
    watch = aiter(bench.runtime.watch())
    await anext(watch)
    for name in "abcde":
        await bench.runtime.apply([account(name)])
    async with asyncio.timeout(10):
        state = await anext(watch)
    assert [one["metadata"]["name"] for one in state.manifests] == list("abcde")


async def test_services_have_an_address_unless_they_are_headless(bench: Bench) -> None:
    await bench.runtime.apply([service("a"), service("b", clusterIP="None"), service("c", clusterIP="10.96.3.3")])
    state = await seen(bench.runtime, lambda _: True)
    assert state.cluster_ips.keys() == {("shop", "a"), ("shop", "c")}
    assert state.cluster_ips[("shop", "c")] == "10.96.3.3"


async def test_pods_say_what_they_are(bench: Bench) -> None:
    await bench.runtime.apply([web(3)])
    endpoints = (await seen(bench.runtime, ready(3))).endpoints
    pods = await bench.runtime.pods()
    assert [str(pod.pod) for pod in pods] == [f"shop/web-{n}" for n in (1, 2, 3)]
    assert {(p.phase, p.ready, p.restarts, p.workload, p.mode, p.service_account, p.images) for p in pods} == {
        ("Running", True, 0, "web", Mode.NONE, "default", ("host",))
    }
    assert {pod.node for pod in pods} == {"node-1", "node-2"}
    assert [(pod.pod, pod.uid, pod.ip, pod.node) for pod in pods] == [(e.pod, e.uid, e.ip, e.node) for e in endpoints]
    assert len({pod.ip for pod in pods}) == len({pod.uid for pod in pods}) == 3


async def test_deployments_scale_and_replace_what_changed(bench: Bench) -> None:
    await bench.runtime.apply([web(2)])
    old = {endpoint.uid for endpoint in (await seen(bench.runtime, ready(2))).endpoints}
    await bench.runtime.apply([web(3)])
    assert old < {endpoint.uid for endpoint in (await seen(bench.runtime, ready(3))).endpoints}
    await bench.runtime.apply([web(1, command="exec sleep infinity")])

    def replaced(state: Observed) -> bool:
        return ready(1)(state) and old.isdisjoint(endpoint.uid for endpoint in state.endpoints)

    [endpoint] = (await seen(bench.runtime, replaced)).endpoints
    assert endpoint.workload == "web"


async def test_a_bare_pod_runs_under_its_own_name(bench: Bench) -> None:
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "one", "namespace": "shop", "labels": {"app": "x"}},
           "spec": template()["spec"]}  # fmt: skip
    await bench.runtime.apply([pod])
    [endpoint] = (await seen(bench.runtime, ready(1))).endpoints
    assert (str(endpoint.pod), endpoint.workload, dict(endpoint.labels)) == ("shop/one", "one", {"app": "x"})


async def test_exec_gives_exit_code_and_both_outputs(bench: Bench) -> None:
    pod = await one_pod(bench)
    assert await bench.runtime.exec(pod, FAILS) == ExecResult(7, b"out\n", b"err\n")
    assert (await bench.runtime.exec(pod, ["no-such-command"])).exit_code == 127


async def test_exec_hands_over_stdin(bench: Bench) -> None:
    pod = await one_pod(bench)
    done = await bench.runtime.exec(pod, TURN, stdin=b"abc\ndef\n" * 20_011)
    assert done == ExecResult(0, b"cba\nfed\n" * 20_011, b"")


async def test_exec_that_takes_too_long_is_ended(bench: Bench) -> None:
    pod = await one_pod(bench)
    with pytest.raises(TimedOut, match=r"sh in shop/web-1 did not end in 0\.2 s"):
        await bench.runtime.exec(pod, STUCK, timeout_s=0.2)
    async with asyncio.timeout(10):  # what was killed leaves its cgroup when the kernel gets round to it
        while bench.executing(pod):
            await asyncio.sleep(0.01)


async def test_what_is_asked_of_no_pod_is_refused(bench: Bench) -> None:
    nobody = PodId("shop", "nobody")
    with pytest.raises(NotFound, match="shop/nobody"):
        await bench.runtime.exec(nobody, FAILS)
    with pytest.raises(NotFound, match="shop/nobody"):
        await anext(aiter(bench.runtime.logs(nobody)))


async def said(bench: Bench, pod: PodId) -> list[bytes]:
    """The pod's first lines, as they come."""
    await bench.speak(pod)
    followed: list[bytes] = []
    async with asyncio.timeout(10):
        async for line in bench.runtime.logs(pod, follow=True):
            followed.append(line)
            if len(followed) == len(LINES):
                break
    return followed


async def test_logs_are_lines_from_the_oldest(bench: Bench) -> None:
    pod = await one_pod(bench)
    followed = await said(bench, pod)
    assert followed == [f"{line}\n".encode() for line in LINES]
    assert [line async for line in bench.runtime.logs(pod, container="app")] == followed
    with pytest.raises(NotFound, match="nothing"):
        await anext(aiter(bench.runtime.logs(pod, container="nothing")))


async def test_the_next_pod_of_a_name_has_a_log_of_its_own(bench: Bench) -> None:
    pod = await one_pod(bench)
    await said(bench, pod)
    await bench.runtime.delete([Ref("Deployment", "shop", "web")])
    await seen(bench.runtime, lambda state: not state.endpoints)
    assert await one_pod(bench) == pod
    await said(bench, pod)
    assert len([line async for line in bench.runtime.logs(pod)]) == len(LINES)


async def test_resources_have_a_sample_for_each_application(bench: Bench) -> None:
    await bench.runtime.apply([web(2)])
    endpoints = (await seen(bench.runtime, ready(2))).endpoints
    for endpoint in endpoints:
        await said(bench, endpoint.pod)
    samples = [one for one in await bench.runtime.resources() if one.part == "application"]
    assert {(one.namespace, one.pod, one.node) for one in samples} == {where(endpoint) for endpoint in endpoints}
    assert all(one.pids >= 1 for one in samples)


def where(endpoint: Endpoint) -> tuple[str, str, str]:
    return endpoint.pod.namespace, endpoint.pod.name, endpoint.node


@pytest.mark.parametrize("kind", ["memory", "local"])
def test_down_removes_everything_and_twice_is_fine(kind: str, lab_name: Callable[[], str]) -> None:
    bench: Bench = MemoryBench() if kind == "memory" else bring_up(lab_name())

    async def live_and_die() -> None:
        await one_pod(bench)
        assert not await bench.nothing_left()
        await bench.runtime.down()
        assert await bench.nothing_left()
        await bench.runtime.down()
        assert await bench.nothing_left()

    loop.run(live_and_die())
