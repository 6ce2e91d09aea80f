"""The life of pods on a live lab of one node without proxies: probes, restarts, ends, names."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from meshlab.kit import cgroups, loop
from meshlab.kit.layout import Layout
from meshlab.kit.processes import Proc
from meshlab.model.ids import Ref
from meshlab.model.settings import Settings
from meshlab.model.workloads import Mode
from meshlab.model.world import PodId
from meshlab.runtimes.base import PodStatus
from meshlab.runtimes.local import LocalRuntime, launch

SETTINGS = Settings(f"p{os.getpid()}", 1, Mode.NONE)
POD = PodId("shop", "one")
SLEEP = ["sleep", "infinity"]


@pytest.fixture(scope="module")
def layout() -> Iterator[Layout]:
    found = Layout.of(SETTINGS.name)
    loop.run(launch(found, SETTINGS, lambda _: None))
    yield found
    loop.run(LocalRuntime(found).down())


@pytest.fixture
async def runtime(layout: Layout) -> AsyncIterator[LocalRuntime]:
    """The lab with nothing in it; what a test leaves is deleted."""
    found = LocalRuntime(layout)
    yield found
    async for state in found.watch():
        if state.manifests:
            left = [Ref(m["kind"], m["metadata"]["namespace"], m["metadata"]["name"]) for m in state.manifests]
            await found.delete(left)
        if not state.endpoints:
            return


def pod(command: list[str] | None = None, *, grace: float = 0, **fields: Any) -> dict[str, Any]:
    """A bare pod; `fields` of its spec are told from those of its container by name."""
    of_spec = {name: fields.pop(name) for name in ("restartPolicy",) if name in fields}
    container = {"name": "app", "image": "host", **({"command": command} if command else {}), **fields}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": POD.name, "namespace": POD.namespace, "labels": {"app": "one", "tier/x": "front"}},
        "spec": {"terminationGracePeriodSeconds": grace, "containers": [container], **of_spec},
    }


def exec_probe(flag: Path, **fields: Any) -> dict[str, Any]:
    return {"exec": {"command": ["test", "-f", str(flag)]}, "periodSeconds": 0.05, "failureThreshold": 2, **fields}


async def until(runtime: LocalRuntime, wanted: Callable[[PodStatus], bool]) -> PodStatus:
    """The pod's first status that is as wanted; looks again at each change."""
    async with asyncio.timeout(20):
        async for _ in runtime.watch():
            for status in await runtime.pods():
                if wanted(status):
                    return status
    raise AssertionError("the watch ended")


async def lines(runtime: LocalRuntime, count: int) -> list[str]:
    """The first lines of the pod's log, as they come."""
    found: list[str] = []
    async with asyncio.timeout(20):
        async for line in runtime.logs(POD, follow=True):
            found.append(line.decode().rstrip())
            if len(found) == count:
                break
    return found


async def output(runtime: LocalRuntime, *command: str) -> str:
    done = await runtime.exec(POD, command, timeout_s=10)
    assert done.exit_code == 0, done.stderr
    return done.stdout.decode()


async def test_readiness_is_what_the_probe_sees_now(runtime: LocalRuntime, tmp_path: Path) -> None:
    flag = tmp_path / "ready"
    await runtime.apply([pod(SLEEP, readinessProbe=exec_probe(flag))])
    await until(runtime, lambda status: status.phase == "Running" and not status.ready)
    flag.touch()
    await until(runtime, lambda status: status.ready)
    flag.unlink()
    status = await until(runtime, lambda status: not status.ready)
    assert (status.phase, status.message, status.restarts) == ("Running", "readiness probe fails", 0)
    flag.touch()
    await until(runtime, lambda status: status.ready)


async def test_an_http_probe_asks_the_pod_itself(runtime: LocalRuntime) -> None:
    probe = {"httpGet": {"path": "/healthz", "port": "http"}, "periodSeconds": 0.1}
    await runtime.apply(
        [pod(image="meshlab/echo", ports=[{"name": "http", "containerPort": 8080}], readinessProbe=probe)]
    )
    await until(runtime, lambda status: status.ready)


async def test_a_failed_liveness_probe_restarts_the_container(runtime: LocalRuntime, tmp_path: Path) -> None:
    flag = tmp_path / "alive"
    flag.touch()
    await runtime.apply([pod(["sh", "-c", "echo up; exec sleep infinity"], livenessProbe=exec_probe(flag))])
    before = await until(runtime, lambda status: status.ready)
    assert await lines(runtime, 1) == ["up"]
    flag.unlink()
    after = await until(runtime, lambda status: status.restarts >= 1)
    flag.touch()
    assert after.uid == before.uid
    assert await lines(runtime, 2) == ["up", "up"]
    await until(runtime, lambda status: status.ready)


async def test_what_ends_is_started_again_with_back_off(runtime: LocalRuntime) -> None:
    await runtime.apply([pod(["sh", "-c", "echo run; exit 3"])])
    for count, pause in ((1, "0.5"), (2, "1")):
        status = await until(runtime, lambda status, count=count: status.restarts == count)  # type: ignore[misc]
        assert (status.phase, status.ready) == ("Running", False)
        assert status.message == f"app ended with 3; again in {pause} s"
    assert await lines(runtime, 2) == ["run", "run"]


@pytest.mark.parametrize(
    ("policy", "code", "phase"), [("Never", 0, "Succeeded"), ("Never", 5, "Failed"), ("OnFailure", 0, "Succeeded")]
)
async def test_a_restart_policy_may_leave_it_ended(runtime: LocalRuntime, policy: str, code: int, phase: str) -> None:
    await runtime.apply([pod(["sh", "-c", f"exit {code}"], restartPolicy=policy)])
    status = await until(runtime, lambda status: status.phase not in ("Pending", "Starting", "Running"))
    assert (status.phase, status.ready, status.restarts) == (phase, False, 0)
    assert status.message == f"app ended with {code}"


async def test_a_container_that_cannot_start_says_why(runtime: LocalRuntime) -> None:
    await runtime.apply([pod(image="meshlab/nginx", env=[{"name": "PORT", "value": "many"}])])
    status = await until(runtime, lambda status: status.phase == "Failed")
    assert "PORT='many'" in status.message


async def test_a_pod_knows_itself(runtime: LocalRuntime) -> None:
    fields = ["metadata.name", "metadata.uid", "status.podIP", "spec.nodeName", "metadata.labels['tier/x']"]
    env = [{"name": f"V{n}", "valueFrom": {"fieldRef": {"fieldPath": path}}} for n, path in enumerate(fields)]
    script = "echo $POD_NAMESPACE $V0 $V1 $V2 $V3 $V4 $HOME $PWD; exec sleep infinity"
    await runtime.apply([pod(["sh", "-c", script], env=env, workingDir="/usr")])
    status = await until(runtime, lambda status: status.ready)
    [line] = await lines(runtime, 1)
    assert line.split() == ["shop", "one", status.uid, status.ip, "node-1", "front", "/root", "/usr"]


async def test_a_pod_has_walls_of_its_own(runtime: LocalRuntime, layout: Layout) -> None:
    await runtime.apply([pod(SLEEP)])
    status = await until(runtime, lambda status: status.ready)
    assert await output(runtime, "hostname") == "one\n"
    assert f"{status.ip} one" in await output(runtime, "cat", "/etc/hosts")
    assert "search shop.svc.cluster.local" in await output(runtime, "cat", "/etc/resolv.conf")
    assert status.ip in await output(runtime, "ip", "-4", "addr", "show", "dev", "eth0")
    group = f"/{cgroups.lab_group(layout.name).name}/pods/node-1/shop_one/exec"
    assert group in await output(runtime, "cat", "/proc/self/cgroup")
    assert Path("/proc/sys/kernel/hostname").read_text() != "one\n"


async def test_a_service_is_found_by_each_of_its_names_and_reached(runtime: LocalRuntime) -> None:
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "front", "namespace": "shop"},
        "spec": {"selector": {"app": "one"}, "ports": [{"port": 80, "targetPort": 8080}]},
    }
    probe = {"tcpSocket": {"port": 8080}, "periodSeconds": 0.1}
    await runtime.apply([service, pod(image="meshlab/echo", readinessProbe=probe)])
    await until(runtime, lambda status: status.ready)
    async for state in runtime.watch():
        address = state.cluster_ips[("shop", "front")]
        break
    for name in ("front", "front.shop", "front.shop.svc", "front.shop.svc.cluster.local"):
        assert (await output(runtime, "getent", "ahostsv4", name)).split()[0] == address
    code = "import urllib.request as r; print(r.urlopen('http://front/x', timeout=5).status)"
    assert await output(runtime, sys.executable, "-c", code) == "200\n"


async def test_a_pod_that_is_deaf_ends_when_its_grace_is_over(runtime: LocalRuntime) -> None:
    await runtime.apply([pod(["sh", "-c", "trap 'echo asked' TERM; echo up; while :; do sleep 0.1; done"], grace=0.3)])
    await until(runtime, lambda status: status.ready)
    assert await lines(runtime, 1) == ["up"]
    follow = asyncio.create_task(lines(runtime, 2))
    await runtime.delete([Ref("Pod", POD.namespace, POD.name)])
    status = await until(runtime, lambda status: status.phase == "Terminating")
    assert not status.ready
    assert await follow == ["up", "asked"]
    async with asyncio.timeout(20):
        async for state in runtime.watch():
            if not state.endpoints:
                break


async def test_pods_outlive_the_daemon_and_are_taken_over(runtime: LocalRuntime, layout: Layout) -> None:
    await runtime.apply([pod(["sh", "-c", "echo $$; exec sleep infinity"])])
    before = await until(runtime, lambda status: status.ready)
    [pid] = await lines(runtime, 1)
    application = Proc.of(int(pid))
    [daemon] = cgroups.pids(cgroups.lab_group(layout.name) / "system" / "cluster")
    ended = asyncio.create_task(Proc.of(daemon).exited())
    watch = aiter(runtime.watch())
    first = await anext(watch)
    os.kill(daemon, signal.SIGKILL)
    await ended
    assert application.alive()
    await launch(layout, SETTINGS, lambda _: None)
    after = await until(runtime, lambda status: status.ready)
    assert (after.uid, after.ip, after.restarts) == (before.uid, before.ip, 0)
    assert application.alive()
    later = await anext(watch)  # goes on over the restart
    assert later.revision > first.revision
    assert [endpoint.uid for endpoint in later.endpoints] == [before.uid]
    application.signal(signal.SIGKILL)
    await until(runtime, lambda status: status.restarts == 1)


async def test_a_pod_whose_walls_fell_while_no_daemon_was_there_is_built_again(
    runtime: LocalRuntime, layout: Layout
) -> None:
    await runtime.apply([pod(["sh", "-c", "echo $$; exec sleep infinity"])])
    before = await until(runtime, lambda status: status.ready)
    [pid] = await lines(runtime, 1)
    former = Proc.of(int(pid))
    group = cgroups.lab_group(layout.name)
    [daemon] = cgroups.pids(group / "system" / "cluster")
    [pause] = cgroups.pids(group / "pods" / "node-1" / "shop_one" / "pause")
    for victim in (Proc.of(daemon), Proc.of(pause)):
        victim.signal(signal.SIGKILL)
        await victim.exited()
    await launch(layout, SETTINGS, lambda _: None)
    after = await until(runtime, lambda status: status.ready)
    assert (after.uid, after.ip) == (before.uid, before.ip)
    assert len(await lines(runtime, 2)) == 2
    assert not former.alive()
    assert await output(runtime, "hostname") == "one\n"
    assert after.ip in await output(runtime, "ip", "-4", "addr", "show", "dev", "eth0")
