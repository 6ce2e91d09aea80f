"""Whatever is killed, whenever: traffic of the others goes on, and `down` leaves nothing."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from meshlab import Lab
from tests.live.tools import agent_pids, daemon_pid, kill, left_of, proxy_pids

LAB_PROCESS = """
import sys
from meshlab import Lab
from tests.live.tools import shop_as
lab = Lab(sys.argv[1], nodes=2)
print("begin", flush=True)
lab.up()
print("up", flush=True)
lab.apply(shop_as(sys.argv[2]))
lab.wait()
print("ready", flush=True)
lab.traffic("web", "http://catalog/", namespace="shop", rate=50.0, duration_s=60.0)
"""
LAB = (sys.executable, "-c", LAB_PROCESS)


@pytest.mark.parametrize("after_s", [0.0, 0.3, 0.9, 1.4, 1.9, 2.6])
def test_down_leaves_nothing_after_the_lab_process_was_killed(lab_name: Callable[[], str], after_s: float) -> None:
    name = lab_name()
    with subprocess.Popen([*LAB, name, "sidecar"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begin\n"
        time.sleep(after_s)
        process.send_signal(signal.SIGKILL)
    Lab(name).down()
    assert left_of(name) == []
    Lab(name).down()


@pytest.mark.parametrize("mode", ["sidecar", "sidecarless"])
def test_down_leaves_nothing_after_proxies_and_daemons_were_killed_under_load(
    lab_name: Callable[[], str], mode: str
) -> None:
    name = lab_name()
    with subprocess.Popen([*LAB, name, mode], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        while process.stdout.readline() != "ready\n":
            assert process.poll() is None
        lab = Lab.attach(name)
        victims = [*proxy_pids(lab).values(), *agent_pids(lab), daemon_pid(lab, "meshlab.daemons.controlplane")]
        random.Random(7).shuffle(victims)
        for pid in (*victims, daemon_pid(lab, "meshlab.daemons.cluster"), process.pid):
            kill(pid)
    lab.down()
    assert left_of(name) == []


def test_up_twice_takes_over_and_two_labs_do_not_meet(lab_name: Callable[[], str]) -> None:
    one, other = Lab(lab_name(), nodes=1), Lab(lab_name(), nodes=1)
    try:
        for lab in (one, other):
            lab.up()
            lab.apply("sample:shop")
        for lab in (one, other):
            lab.wait(timeout_s=120)
        before = {pod.uid for pod in one.pods()}
        one.up()
        assert {pod.uid for pod in one.pods()} == before
        kill(daemon_pid(one, "meshlab.daemons.cluster"))
        one.up()  # a new daemon takes over what runs
        one.wait()
        assert {pod.uid for pod in one.pods()} == before
        for lab in (one, other):
            sent = lab.traffic("web", "http://catalog/", namespace="shop", rate=29.0, duration_s=1.0).summary
            assert sent["failed"] == 0, sent
        other.down()
        assert left_of(other.settings.name) == []
        assert one.traffic("web", "http://catalog/", namespace="shop", rate=29.0, duration_s=1.0).summary["failed"] == 0
        assert set(one.flows()["source_pod"].dropna()) <= {pod.pod.name for pod in one.pods()}
    finally:
        for lab in (one, other):
            lab.down()
    assert left_of(one.settings.name) == []


def test_a_killed_proxy_comes_back_and_serves(lab_name: Callable[[], str]) -> None:
    with Lab(lab_name(), nodes=1) as lab:
        lab.apply("sample:shop")
        lab.wait(timeout_s=120)
        before = proxy_pids(lab)
        for pid in before.values():
            kill(pid)
        deadline = time.monotonic() + 30
        while set(proxy_pids(lab).values()) & set(before.values()) or len(proxy_pids(lab)) < len(before):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        lab.wait(timeout_s=60)
        assert lab.traffic("web", "http://catalog/", namespace="shop", rate=29.0, duration_s=1.0).summary["failed"] == 0
