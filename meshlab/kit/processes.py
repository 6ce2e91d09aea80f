"""The only room for subprocess: run a command, or start a process that outlives us and know it again later."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from meshlab.kit.files import write_whole

_JOIN = 'echo $$ > "$0" && exec "$@"'
_TICKS = os.sysconf("SC_CLK_TCK")
_BACK = 5


@dataclass(frozen=True)
class Proc:
    """One process, told from a later one with the same pid by its start time: seconds since boot, as the kernel counts,
    which no setting of the clock moves."""

    pid: int
    started: float

    def alive(self) -> bool:
        """Is it this process, and not a zombie?"""
        state, started = _stat(self.pid)
        return started == self.started and state not in "ZX"

    @classmethod
    def of(cls, pid: int) -> Proc:
        """The process that has this pid now. ProcessLookupError if there is none."""
        _, started = _stat(pid)
        if started < 0:
            raise ProcessLookupError(f"no process {pid}")
        return cls(pid, started)

    def signal(self, number: int) -> None:
        """Send a signal; nothing happens if it is gone."""
        if self.alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    async def exited(self) -> int | None:
        """Wait for its end; its exit status if it was our child, None otherwise."""
        try:
            descriptor = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return None
        loop, ended = asyncio.get_running_loop(), asyncio.Event()
        try:
            if self.alive():
                loop.add_reader(descriptor, ended.set)
                await ended.wait()
        finally:
            loop.remove_reader(descriptor)
            os.close(descriptor)
        return self._reap()

    def _reap(self) -> int | None:
        if _stat(self.pid)[1] != self.started:  # reaped already; another may have the pid
            return None
        try:
            reaped, status = os.waitpid(self.pid, os.WNOHANG)
        except ChildProcessError:
            return None
        return os.waitstatus_to_exitcode(status) if reaped else None

    async def stop(self, grace_s: float) -> None:
        """SIGTERM, then SIGKILL after `grace_s` seconds."""
        self.signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(self.exited(), grace_s)
        except TimeoutError:
            self.signal(signal.SIGKILL)
            await self.exited()


def _stat(pid: int) -> tuple[str, float]:
    """State and start of a process, from proc_pid_stat(5); ("X", -1.0) where there is none."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return "X", -1.0
    fields = text.rpartition(")")[2].split()  # the name may hold spaces and parentheses
    return fields[0], int(fields[19]) / _TICKS


def stand_back() -> None:
    """Let others run first, where this process competes with them for a CPU: by its own niceness, and by that of its
    session, in which alone that counts where the kernel groups tasks by sessions (sched(7), autogroup). Five steps: a
    quarter to a third of an equal's time, which is still enough for what must be read before it is lost."""
    os.nice(_BACK)
    with contextlib.suppress(OSError):  # no such groups here, or not ours to set
        Path("/proc/self/autogroup").write_text(str(_BACK))


def run(command: Sequence[str], *, stdin: bytes = b"", check: bool = True) -> subprocess.CompletedProcess[bytes]:
    """Run a command to its end. CalledProcessError (with stderr) when `check` and it fails."""
    return subprocess.run(list(command), input=stdin, capture_output=True, check=check, timeout=60)


def joined(cgroup: Path, command: Sequence[str]) -> list[str]:
    """The command, entering a cgroup before it becomes itself (a socket belongs to the cgroup where it was made)."""
    return ["/bin/sh", "-c", _JOIN, str(cgroup / "cgroup.procs"), *command]


def spawn(command: Sequence[str], *, log: Path, env: Mapping[str, str] | None = None, cwd: str | None = None) -> Proc:
    """Start a process in a session of its own, output appended to `log`; it lives on when we end."""
    with log.open("ab") as out:
        child = subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
            env=None if env is None else dict(env),
            cwd=cwd,
        )
    child.returncode = 0  # the waiting is ours (pidfd), not subprocess's
    return Proc.of(child.pid)


async def communicate(
    command: Sequence[str],
    *,
    stdin: bytes = b"",
    timeout_s: float | None = None,
    env: Mapping[str, str] | None = None,
) -> tuple[int, bytes, bytes]:
    """Run a command to its end without blocking the loop. TimeoutError ends its whole session."""
    child = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
        env=None if env is None else dict(env),
    )
    try:
        out, err = await asyncio.wait_for(child.communicate(stdin), timeout_s)
    except BaseException:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        await child.wait()
        raise
    return child.returncode or 0, out, err


async def keep(memory: Path, start: Callable[[], Proc]) -> None:
    """Start a process, or find the one that `memory` (pid and start time) tells of, and start it again when it ends:
    at once, but not more than twice a second."""
    while True:
        began, known = time.monotonic(), None
        if memory.exists():
            pid, started = memory.read_text().split()
            known = Proc(int(pid), float(started))
        if known is None or not known.alive():
            known = start()
            write_whole(memory, f"{known.pid} {known.started!r}".encode())
        await known.exited()
        await asyncio.sleep(max(0.0, began + 0.5 - time.monotonic()))
