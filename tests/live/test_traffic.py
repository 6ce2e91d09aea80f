"""Load fired inside a pod: our generator, wrk, h2load; how a run ends early and what is left of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from meshlab import Lab
from meshlab.errors import CannotRun, MeshlabError
from meshlab.kit.layout import Layout
from tests.live.documents import namespace, text, workload

HTTP_PORT = [{"name": "http", "port": 80, "targetPort": 8080}]


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    documents = [
        namespace("mesh", "sidecar"),
        *workload("client", []),
        *workload("tenth", HTTP_PORT, FAIL_EVERY="10", FAIL_STATUS="404"),
        *workload("slow", HTTP_PORT, DELAY_MS="2000"),
    ]
    with Lab(f"l{os.getpid() % 100000}", nodes=1) as made:
        made.apply(text(documents))
        made.wait(timeout_s=120)
        yield made


def meshlab(lab: Lab, *words: str) -> list[str]:
    return [sys.executable, "-m", "meshlab.cli", "traffic", *words, "--name", lab.settings.name, "-n", "mesh"]


def leftovers(lab: Lab) -> list[Path]:
    folder = Layout.of(lab.settings.name).root / "traffic"
    return list(folder.rglob("*")) if folder.exists() else []


def in_pods(lab: Lab, word: str) -> list[psutil.Process]:
    """Processes with the word in their command line in this lab's cgroups."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        try:
            group = Path(f"/proc/{process.pid}/cgroup").read_text()
        except OSError:
            continue
        if f"meshlab-{lab.settings.name}/" in group and any(word in part for part in process.info["cmdline"] or []):
            found.append(process)
    return found


@pytest.mark.parametrize(("tool", "protocol"), [("wrk", "http1"), ("h2load", "http1"), ("h2load", "http2")])
def test_other_tools_fire_from_inside_the_pod(lab: Lab, tool: str, protocol: str) -> None:
    words = ["client", f"http://tenth/{tool}-{protocol}", "--tool", tool, "--protocol", protocol]
    words += ["--duration", "1", "--connections", "2", "-o", "json"]
    done = subprocess.run(meshlab(lab, *words), capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1, done.stderr
    summary = json.loads(done.stdout)
    assert set(summary["status"]) == {"200", "404"}
    assert summary["failed"] == summary["status"]["404"]
    assert summary["sent"] > 10
    assert (summary["rate_target"], summary["loop"]) == (None, "closed")
    flows = lab.flows()
    seen = flows[(flows["path"] == f"/{tool}-{protocol}") & (flows["reporter"] == "source")]
    assert set(seen["protocol"]) == {protocol}
    assert seen["mtls"].all()
    # What was in flight when the tool ended has a row too, and no answer in the tool's count.
    assert 0 <= len(seen) - summary["sent"] <= 2
    assert leftovers(lab) == []


def test_our_generator_counts_every_request_and_accounts_for_itself(lab: Lab) -> None:
    result = lab.traffic("client", "http://tenth/", namespace="mesh", rate=101.0, duration_s=1.0, profile="poisson")
    assert len(result.frame) == result.summary["sent"]
    assert result.summary["loop"] == "open"
    assert 0 < result.summary["generator"]["cpu_share"] < 1.5
    assert leftovers(lab) == []


def test_a_backend_too_slow_for_the_places_in_flight_makes_the_result_not_valid(lab: Lab) -> None:
    result = lab.traffic(
        "client", "http://slow/", namespace="mesh", rate=20.0, duration_s=1.0, timeout_s=3.0, max_in_flight=2
    )
    assert not result.summary["valid"]
    assert "never sent" in result.summary["why_invalid"]
    # From when a request was due, not from when it found a place.
    assert result.summary["latency_ms"]["max"] > 3000


@pytest.mark.parametrize("tool", ["meshlab", "wrk"])
def test_ctrl_c_ends_the_generator_in_the_pod_and_leaves_no_file(lab: Lab, tool: str) -> None:
    word = "meshlab.traffic.generator" if tool == "meshlab" else "wrk"
    command = meshlab(lab, "client", "http://tenth/", "--duration", "600", "--tool", tool)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        deadline = time.monotonic() + 30
        while not in_pods(lab, word) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert in_pods(lab, word)
        child.send_signal(signal.SIGINT)
        child.communicate(timeout=30)
    assert child.returncode != 0
    while in_pods(lab, word) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert in_pods(lab, word) == []
    assert leftovers(lab) == []


@pytest.mark.parametrize("tool", ["meshlab", "wrk", "h2load"])
def test_a_target_that_is_not_there_is_one_clear_error(lab: Lab, tool: str) -> None:
    command = meshlab(lab, "client", "http://nowhere/", "--duration", "1", "--tool", tool)
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2, done.stdout
    assert "error:" in done.stderr
    assert "Traceback" not in done.stderr
    assert leftovers(lab) == []


@pytest.mark.parametrize(
    "words",
    [["https://tenth/"], ["tenth"], ["http://tenth/", "--rate", "0"], ["http://tenth/", "--rate", "-5"],
     ["http://tenth/", "-H", "no colon"], ["http://tenth/", "--tool", "wrk", "--rate", "5"]],
)  # fmt: skip
def test_wrong_use_is_one_clear_error(lab: Lab, words: list[str]) -> None:
    done = subprocess.run(meshlab(lab, "client", *words), capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2, done.stdout
    assert "Traceback" not in done.stderr
    assert done.stderr.lower().count("error:") == 1


def test_a_tool_that_is_not_there_is_named_with_its_package(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    from meshlab.traffic import adapters

    monkeypatch.setitem(adapters.PACKAGES, "no-such-tool", "its-package")
    monkeypatch.setattr(adapters, "TOOLS", (*adapters.TOOLS, "no-such-tool"))
    with pytest.raises(CannotRun, match="apt-get install its-package") as caught:
        lab.traffic("client", "http://tenth/", namespace="mesh", tool="no-such-tool")
    assert isinstance(caught.value, MeshlabError)
    assert caught.value.exit_code == 3
