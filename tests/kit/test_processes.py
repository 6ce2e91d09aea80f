"""Processes: known again by pid and start, ended with grace, never confused with another."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from meshlab.kit import cgroups, processes
from meshlab.kit.processes import Proc

DEAF = "trap '' TERM; echo deaf; while :; do sleep 600; done"


async def said(log: Path, text: str) -> None:
    """Wait until a process has said it is so far."""
    async with asyncio.timeout(10):
        while text not in (log.read_text() if log.exists() else ""):
            await asyncio.sleep(0.005)


async def test_a_process_is_alive_until_it_has_exited(tmp_path: Path) -> None:
    proc = processes.spawn(["sh", "-c", "exit 3"], log=tmp_path / "log")
    assert await proc.exited() == 3
    assert not proc.alive()
    assert await proc.exited() is None  # reaped already


async def test_the_exit_of_a_killed_process_is_the_signal(tmp_path: Path) -> None:
    proc = processes.spawn(["sleep", "600"], log=tmp_path / "log")
    waiting = asyncio.create_task(proc.exited())
    await asyncio.sleep(0)
    proc.signal(signal.SIGKILL)
    assert await waiting == -signal.SIGKILL


def test_a_zombie_is_not_alive() -> None:
    child = subprocess.Popen(["true"])
    proc = Proc.of(child.pid)
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert not proc.alive()
    assert child.wait() == 0


async def test_another_process_with_the_same_pid_is_not_it(tmp_path: Path) -> None:
    proc = processes.spawn(["sleep", "600"], log=tmp_path / "log")
    former = replace(proc, started=proc.started - 0.01)
    assert not former.alive()
    former.signal(signal.SIGKILL)
    assert await former.exited() is None
    await former.stop(5)
    assert proc.alive()
    await proc.stop(5)
    assert not proc.alive()


def test_the_start_counts_from_boot_and_not_from_a_clock_that_may_be_set() -> None:
    uptime = float(Path("/proc/uptime").read_text().split()[0])
    assert 0 < Proc.of(os.getpid()).started < uptime
    assert Proc.of(os.getpid()) == Proc.of(os.getpid())


def test_there_is_no_proc_of_a_pid_that_nobody_has() -> None:
    child = subprocess.Popen(["true"])
    child.wait()
    with pytest.raises(ProcessLookupError):
        Proc.of(child.pid)


async def test_a_name_with_spaces_and_parentheses_is_read_right(tmp_path: Path) -> None:
    program = tmp_path / "a) S 1 (b"
    program.symlink_to("/bin/sleep")
    proc = processes.spawn([str(program), "600"], log=tmp_path / "log")
    assert proc.alive()
    await proc.stop(5)
    assert not proc.alive()


async def test_stop_asks_first(tmp_path: Path) -> None:
    log = tmp_path / "log"
    proc = processes.spawn(
        ["sh", "-c", "trap 'echo asked; exit 0' TERM; echo up; while :; do sleep 0.01; done"], log=log
    )
    await said(log, "up")
    await proc.stop(10)
    assert "asked" in log.read_text()


async def test_stop_kills_what_is_deaf_when_grace_is_over(tmp_path: Path) -> None:
    log = tmp_path / "log"
    proc = processes.spawn(["sh", "-c", DEAF], log=log)
    await said(log, "deaf")
    await proc.stop(0.05)
    assert not proc.alive()


async def test_what_is_spawned_has_a_session_of_its_own_and_appends_to_its_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("before\n")
    proc = processes.spawn(
        ["sh", "-c", "echo $A $PWD; ps -o sid= -p $$; cat; echo err >&2"],
        log=log,
        env={"A": "a", "PATH": "/usr/bin:/bin"},
        cwd="/usr",
    )
    assert await proc.exited() == 0
    assert log.read_text().split() == ["before", "a", "/usr", str(proc.pid), "err"]


def test_run_gives_output_and_takes_stdin() -> None:
    assert processes.run(["cat"], stdin=b"abc").stdout == b"abc"
    with pytest.raises(subprocess.CalledProcessError) as caught:
        processes.run(["sh", "-c", "echo why >&2; exit 4"])
    assert (caught.value.returncode, caught.value.stderr) == (4, b"why\n")
    assert processes.run(["false"], check=False).returncode == 1


async def test_communicate_gives_all_and_does_not_block_the_loop() -> None:
    many = b"x" * 1_000_003
    one, two = await asyncio.gather(
        processes.communicate(["cat"], stdin=many), processes.communicate(["sh", "-c", "echo e >&2; exit 9"])
    )
    assert one == (0, many, b"")
    assert two == (9, b"", b"e\n")


async def test_communicate_that_takes_too_long_ends_the_whole_session(tmp_path: Path) -> None:
    log = tmp_path / "pids"
    script = f"sleep 600 & echo $! $$ > {log}; wait"
    with pytest.raises(TimeoutError):
        await processes.communicate(["sh", "-c", script], timeout_s=0.5)
    for pid in map(int, log.read_text().split()):
        try:
            proc = Proc.of(pid)
        except ProcessLookupError:
            continue
        async with asyncio.timeout(5):
            await proc.exited()


@pytest.fixture
def group(lab_name: Callable[[], str]) -> Iterator[Path]:
    found = cgroups.lab_group(lab_name())
    found.mkdir()
    yield found
    cgroups.remove(found)


async def test_joined_enters_the_cgroup_before_the_command_begins(tmp_path: Path, group: Path) -> None:
    log = tmp_path / "log"
    proc = processes.spawn(processes.joined(group, ["cat", "/proc/self/cgroup"]), log=log)
    assert await proc.exited() == 0
    assert f"/{group.name}" in [line.rsplit(":", 1)[1] for line in log.read_text().splitlines()]


def test_a_process_that_stands_back_does_so_in_its_session_too() -> None:
    text = "import os; from meshlab.kit.processes import stand_back; stand_back(); print(os.nice(0))"
    text += "; print(open('/proc/self/autogroup').read() if os.path.exists('/proc/self/autogroup') else 'nice 5')"
    argv = [sys.executable, "-c", text]
    done = subprocess.run(argv, capture_output=True, text=True, check=True, start_new_session=True)
    niceness, group = done.stdout.strip().split("\n", 1)
    assert int(niceness) == os.nice(0) + 5
    assert group.strip().endswith("nice 5")
