"""Kernel headers: found, merged, or a way out."""

from __future__ import annotations

from pathlib import Path

import pytest

from meshlab.dataplanes.sidecarless import headers, kernel
from meshlab.errors import CannotRun


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(headers, "_MODULES", tmp_path / "modules")
    monkeypatch.setattr(headers, "_SOURCES", tmp_path / "src")
    monkeypatch.delenv(headers.VARIABLE, raising=False)
    return tmp_path


def put(root: Path, *files: str) -> None:
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_text(str(root))


def test_debians_two_trees_become_one(machine: Path) -> None:
    put(machine / "src/linux-headers-6.1.0-9-amd64", "include/generated/autoconf.h", "arch/x86/include/generated/a.h")
    put(machine / "src/linux-headers-6.1.0-9-common", "include/linux/kconfig.h", "arch/x86/include/asm/b.h")
    with headers.prepared() as tree:
        for file in ("include/generated/autoconf.h", "include/linux/kconfig.h", "arch/x86/include/generated/a.h",
                     "arch/x86/include/asm/b.h"):  # fmt: skip
            assert (tree / file).is_file(), file
    assert not tree.exists()
    assert (machine / "src/linux-headers-6.1.0-9-common/include/linux/kconfig.h").is_file()


def test_a_tree_that_is_given_is_used_as_it_is(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(machine / "mine", "include/linux/kconfig.h")
    monkeypatch.setenv(headers.VARIABLE, str(machine / "mine"))
    with headers.prepared() as tree:
        assert tree == machine / "mine"
    monkeypatch.setenv(headers.VARIABLE, str(machine / "empty"))
    with pytest.raises(CannotRun, match=r"lacks include/linux/kconfig\.h"), headers.prepared():
        pass


@pytest.mark.usefixtures("machine")
def test_no_headers_name_the_way_out() -> None:
    with pytest.raises(CannotRun, match="apt-get install linux-headers"), headers.prepared():
        pass


def test_no_bcc_names_the_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel._bcc.cache_clear()
    monkeypatch.setattr(kernel, "BINDINGS", tmp_path / "bcc")
    with pytest.raises(CannotRun, match="apt-get install python3-bpfcc"):
        kernel.compile_and_load("", tmp_path)
