"""The ledger: written before the thing is made, undone in reverse, whole after any kill."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from meshlab.kit import cgroups, ledger
from meshlab.kit.ledger import Ledger, remove_netns
from meshlab.kit.processes import Proc


@pytest.fixture
def sleeper() -> Iterator[Proc]:
    """A process of ours that lives until the test ends."""
    child = subprocess.Popen(["sleep", "600"])
    yield Proc.of(child.pid)
    child.kill()
    child.wait()


def test_what_stands_is_what_was_recorded_and_not_forgotten(tmp_path: Path) -> None:
    book = Ledger(tmp_path / "ledger.jsonl")
    assert book.standing() == []
    book.record("folder", "/a")
    book.record("process", "p", pid=7, started=1.5)
    book.record("netns", "n")
    book.forget("folder", "/a")
    assert Ledger(tmp_path / "ledger.jsonl").standing() == [
        ("process", "p", {"pid": 7, "started": 1.5}),
        ("netns", "n", {}),
    ]


def test_a_record_is_on_disk_before_the_thing_is_made(tmp_path: Path) -> None:
    """A process that is killed right after `record` has told of what it was about to make."""
    path = tmp_path / "ledger.jsonl"
    code = (
        "import os, signal, sys; from pathlib import Path; from meshlab.kit.ledger import Ledger\n"
        "Ledger(Path(sys.argv[1])).record('folder', '/a'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert Ledger(path).standing() == [("folder", "/a", {})]


def test_an_unknown_kind_is_not_written_down(tmp_path: Path) -> None:
    book = Ledger(tmp_path / "ledger.jsonl")
    with pytest.raises(AssertionError):
        book.record("pyramid", "cheops")
    assert book.standing() == []


@pytest.mark.parametrize("torn", ['{"do": "netns", "na', '{"do": "netns"}', "[1]", "7", '{"name": "n"}', "\x00\x00"])
def test_a_half_written_line_hides_no_other(tmp_path: Path, torn: str) -> None:
    path = tmp_path / "ledger.jsonl"
    Ledger(path).record("folder", "/a")
    path.write_text(path.read_text() + torn)
    assert Ledger(path).standing() == [("folder", "/a", {})]
    Ledger(path).record("folder", "/b")  # by whoever comes after the kill
    assert [name for _, name, _ in Ledger(path).standing()] == ["/a", "/b"]


def test_everything_is_undone_processes_first_and_the_latest_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    undone: list[tuple[str, str]] = []
    monkeypatch.setattr(ledger, "_undo", lambda kind, name, _: undone.append((kind, name)))
    book = Ledger(tmp_path / "ledger.jsonl")
    for kind in ("folder", "cgroup", "process", "netns"):
        for number in (1, 2):
            book.record(kind, f"{kind}-{number}")
    book.undo_all()
    assert undone == [(k, f"{k}-{n}") for k in ("process", "netns", "cgroup", "folder") for n in (2, 1)]


def test_undo_all_removes_each_kind_for_real_and_twice_is_fine(
    tmp_path: Path, sleeper: Proc, lab_name: Callable[[], str]
) -> None:
    netns, group, folder = f"ml-{lab_name()}", cgroups.lab_group(lab_name()), tmp_path / "made"
    book = Ledger(tmp_path / "ledger.jsonl")
    book.record("folder", str(folder))
    (folder / "inside").mkdir(parents=True)
    book.record("cgroup", str(group))
    (group / "inside").mkdir(parents=True)
    book.record("netns", netns)
    subprocess.run(["ip", "netns", "add", netns], check=True)
    book.record("process", "sleeper", pid=sleeper.pid, started=sleeper.started)
    try:
        book.undo_all()
        assert not folder.exists()
        assert not group.exists()
        assert not Path("/run/netns", netns).exists()
        os.waitid(os.P_PID, sleeper.pid, os.WEXITED | os.WNOWAIT)
        book.undo_all()
    finally:
        cgroups.remove(group)
        remove_netns(netns)


def test_what_was_recorded_and_never_made_is_no_obstacle(tmp_path: Path) -> None:
    book = Ledger(tmp_path / "ledger.jsonl")
    book.record("folder", str(tmp_path / "never"))
    book.record("cgroup", str(cgroups.mount_point() / "meshlab-never"))
    book.record("netns", "ml-never")
    book.record("process", "never")
    book.undo_all()
    assert len(book.standing()) == 4


def test_a_process_that_only_has_the_recorded_pid_is_spared(tmp_path: Path, sleeper: Proc) -> None:
    book = Ledger(tmp_path / "ledger.jsonl")
    book.record("process", "another", pid=sleeper.pid, started=sleeper.started - 1)
    book.undo_all()
    assert sleeper.alive()


def test_entries_are_lines_of_json(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    Ledger(path).record("netns", "a\nb")
    assert [json.loads(line) for line in path.read_text().splitlines()] == [{"do": "netns", "name": "a\nb"}]
