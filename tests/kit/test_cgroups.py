"""cgroup v2: found where it is mounted, counted, ended with all that is in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from meshlab.errors import CannotRun
from meshlab.kit import cgroups, processes


@pytest.fixture
def group(lab_name: Callable[[], str]) -> Iterator[Path]:
    found = cgroups.lab_group(lab_name())
    (found / "pods" / "one").mkdir(parents=True)
    yield found
    cgroups.remove(found)


def test_the_mount_point_is_a_cgroup_v2() -> None:
    assert (cgroups.mount_point() / "cgroup.controllers").is_file()


def test_a_machine_without_cgroup_v2_is_told_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "read_text", lambda _: "proc /proc proc rw 0 0\n")
    with pytest.raises(CannotRun, match="mount -t cgroup2"):
        cgroups.mount_point()


async def test_pids_and_cpu_count_what_is_in_a_group_and_below(tmp_path: Path, group: Path) -> None:
    assert cgroups.pids(group) == []
    assert cgroups.cpu_seconds(group) == 0
    inside = processes.spawn(processes.joined(group / "pods" / "one", ["cat"]), log=tmp_path / "log")
    await inside.exited()  # cat of nothing ends at once; its CPU time stays
    assert cgroups.pids(group) == []
    assert 0 < cgroups.cpu_seconds(group) < 60


async def test_remove_ends_everything_below_and_twice_is_fine(tmp_path: Path, group: Path) -> None:
    log = tmp_path / "log"
    command = ["sh", "-c", "trap '' TERM; sleep 600 & sleep 600"]
    inside = processes.spawn(processes.joined(group / "pods" / "one", command), log=log)
    while len(cgroups.pids(group)) < 3:
        assert inside.alive()
    cgroups.remove(group)
    assert not group.exists()
    await inside.exited()
    cgroups.remove(group)


def test_what_is_gone_has_no_pids_and_no_time(tmp_path: Path) -> None:
    assert cgroups.pids(tmp_path / "gone") == []
    assert cgroups.cpu_seconds(tmp_path / "gone") == 0
