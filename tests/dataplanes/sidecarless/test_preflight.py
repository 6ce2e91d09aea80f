"""What a kernel lacks is named, each by itself, with the way out."""

from __future__ import annotations

import os

import pytest

from meshlab.dataplanes.sidecarless import libbpf, preflight
from meshlab.dataplanes.sidecarless.hooks import HOOKS
from meshlab.errors import CannotRun
from meshlab.lab import doctor

_CLASSIFIER = 3


def test_this_kernel_lacks_nothing() -> None:
    assert preflight.missing() == []


def test_the_kernel_is_asked_for_the_type_of_every_program() -> None:
    asked = {number for kind, number, _, _ in preflight._FEATURES if kind == "prog_type"}
    assert asked | {_CLASSIFIER} == {hook.program_type for hook in HOOKS.values()}


def test_what_the_kernel_does_not_know_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        libbpf, "supports", lambda kind, number: (kind, number) not in {("prog_type", 30), ("map_type", 27)}
    )
    assert preflight.missing() == [
        ("sk_lookup programs", "Linux 5.9 or newer"),
        ("ring buffers", "Linux 5.8 or newer"),
    ]
    with pytest.raises(CannotRun, match="it lacks sk_lookup programs, ring buffers") as raised:
        preflight.require()
    assert "meshlab.io/mode: sidecar and none work without" in str(raised.value.hint)
    [check] = [check for check in doctor.examine() if check.name == "kernel plane"]
    assert (check.state, "sk_lookup programs" in check.detail) == ("warning", True)


@pytest.mark.parametrize(
    ("release", "lacks"), [("6.1.0-31-amd64", True), ("6.6", False), ("7.0.1", False), ("5.15", True)]
)
def test_links_to_interfaces_are_told_by_the_release(
    monkeypatch: pytest.MonkeyPatch, release: str, lacks: bool
) -> None:
    given = os.uname()
    monkeypatch.setattr(
        os, "uname", lambda: os.uname_result((given.sysname, given.nodename, release, "", given.machine))
    )
    names = [name for name, _ in preflight.missing()]
    assert ("links of programs to interfaces (tcx)" in names) == lacks


def test_a_kernel_that_does_not_say_is_taken_at_its_word_when_programs_load(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(kind: str, number: int) -> bool:
        raise OSError(95, f"{kind} {number}")

    monkeypatch.setattr(libbpf, "supports", refuse)
    assert preflight.missing() == []
