"""The house keeps its own rules: lock and conda environment in step, wheel complete, rooms described, no address of a
machine or of a package registry in any file."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "meshlab"
# Written in two parts, so that this file does not contain what it looks for.
_FORBIDDEN = ("/ro" + "ot/", "/ho" + "me/", "/wo" + "rk/", "py" + "pi.org", "python" + "hosted.org", "--index" + "-url")
_NOT_TEXT = {".png", ".svg", ".bin", ".pb", ".parquet"}


def _project() -> dict[str, object]:
    return dict(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"])


def _requirements() -> list[Requirement]:
    project = _project()
    extras = project["optional-dependencies"]
    assert isinstance(extras, dict)
    assert isinstance(project["dependencies"], list)
    return [Requirement(text) for group in (project["dependencies"], *extras.values()) for text in group]


def _tracked() -> Iterator[Path]:
    """Files of the repository; all files below it where it is no git checkout (an unpacked sdist)."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode == 0:
        paths = [ROOT / name for name in listed.stdout.split("\0") if name]
    else:
        paths = [path for path in ROOT.rglob("*") if not any(part.startswith(".") for part in path.parts)]
    yield from (path for path in paths if path.is_file() and path.suffix not in _NOT_TEXT)


def test_the_lock_satisfies_every_requirement() -> None:
    text = (ROOT / "requirements.lock").read_text()
    locked = {canonicalize_name(n): Version(v) for n, v in re.findall(r"^([\w.-]+)==([^\s;]+)", text, re.MULTILINE)}
    for requirement in _requirements():
        name = canonicalize_name(requirement.name)
        assert name in locked, f"{name} is not locked: see docs/architecture.md, The lock"
        assert requirement.specifier.contains(locked[name], prereleases=True), f"{requirement} against {locked[name]}"


def test_the_lock_has_hashes_and_no_address() -> None:
    text = (ROOT / "requirements.lock").read_text()
    entries = re.split(r"^(?=[A-Za-z0-9][\w.-]*==)", text, flags=re.MULTILINE)[1:]
    assert len(entries) > 50
    assert [entry.split()[0] for entry in entries if "--hash=sha256:" not in entry] == []
    assert "://" not in text
    assert not re.search(r"^\s*(-i|-f|--(extra-)?index|--find-links|--trusted-host)", text, re.MULTILINE)


def test_the_conda_environment_is_in_step() -> None:
    lines = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    plain = [line for line in lines if isinstance(line, str)]
    [by_pip] = [line["pip"] for line in lines if isinstance(line, dict)]
    listed = {canonicalize_name(r.name): r.specifier for r in map(Requirement, [*plain, *by_pip])}
    assert str(listed.pop("python")) == _project()["requires-python"]
    listed.pop("pip")
    assert listed == {canonicalize_name(r.name): r.specifier for r in _requirements()}


def test_no_file_names_a_machine_or_a_registry() -> None:
    found = []
    for path in _tracked():
        text = path.read_text(encoding="utf-8", errors="replace")
        found += [f"{path.relative_to(ROOT)}: {word}" for word in _FORBIDDEN if word in text]
    assert found == []


@pytest.mark.parametrize(
    "init", sorted(PACKAGE.rglob("__init__.py")), ids=lambda path: str(path.parent.relative_to(ROOT))
)
def test_each_room_says_what_it_is(init: Path) -> None:
    assert ast.get_docstring(ast.parse(init.read_text())), f"{init.parent.relative_to(ROOT)} needs a docstring"


def test_modules_stay_short() -> None:
    long = {path: len(path.read_text().splitlines()) for path in PACKAGE.rglob("*.py")}
    assert {str(path.relative_to(ROOT)): lines for path, lines in long.items() if lines > 400} == {}


def test_importing_meshlab_is_light() -> None:
    """The small processes of a lab (samples, generators) must not pay for frames, charts or documents."""
    code = "import sys, meshlab; print(*(m for m in ('pandas', 'grpc', 'pydantic', 'altair') if m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_the_wheel_carries_the_assets(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    [wheel] = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    for folder in ("bpf", "kind-config", "proxy"):
        shipped = {path.relative_to(ROOT).as_posix() for path in (ROOT / folder).rglob("*") if path.is_file()}
        assert shipped
        assert {f"meshlab/_assets/{name}" for name in shipped} <= names
    assert {"meshlab/samples/shop.yaml", "meshlab/py.typed"} <= names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert not any(name.startswith("tests/") for name in names)


def test_every_make_target_that_is_promised_exists_and_says_what_it_does() -> None:
    done = subprocess.run(["make", "-s", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    said = {line.split()[0]: line.split(maxsplit=1)[1] for line in done.stdout.splitlines() if line.strip()}
    assert {"demo", "test", "bench", "lint", "notebook", "clean", "help"} <= set(said)
