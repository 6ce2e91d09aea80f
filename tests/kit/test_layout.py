"""Where a lab keeps its files: one folder, one rule for its name."""

from __future__ import annotations

from pathlib import Path

import pytest

from meshlab.errors import MeshlabError
from meshlab.kit.layout import Layout, check_name


def test_everything_lies_below_the_labs_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MESHLAB_HOME", "/run/other")
    layout = Layout.of("demo")
    assert layout.root == Path("/run/other/demo")
    parts = [
        getattr(layout, name) for name, kind in vars(Layout).items() if isinstance(kind, property) and name != "root"
    ]
    assert len(parts) >= 9
    assert all(part.is_relative_to(layout.root) for part in parts)


def test_a_relative_home_means_the_same_to_daemons_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/run")
    monkeypatch.setenv("MESHLAB_HOME", "labs")
    assert Layout.of("demo").root == Path("/run/labs/demo")


@pytest.mark.parametrize("name", ["a", "0", "a-b", "lab-1", "a" * 20])
def test_good_names_pass(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize("name", ["", "-", "a-", "-a", "A", "a.b", "a/b", "..", "a b", "é", "a\n", "a" * 21])
def test_other_names_are_refused_with_the_rule(name: str) -> None:
    with pytest.raises(MeshlabError, match=r"\[a-z0-9\]"):
        Layout.of(name)


def test_a_home_too_deep_for_sockets_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    deepest = "/" + "x" * (107 - len("//a/control.sock"))
    monkeypatch.setenv("MESHLAB_HOME", deepest)
    assert len(str(Layout.of("a").control_socket)) == 107
    with pytest.raises(MeshlabError, match="107 bytes"):
        Layout.of("ab")
