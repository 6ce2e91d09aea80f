"""The house rules that a machine can hold."""

from __future__ import annotations

import ast
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]


def test_rooms_say_what_they_are() -> None:
    silent = [
        str(path)
        for path in (ROOT / "meshlab").rglob("__init__.py")
        if not ast.get_docstring(ast.parse(path.read_text()))
    ]
    assert silent == []


def test_conda_environment_is_in_step_with_pyproject() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    assert f"python{project['requires-python']}" in environment["dependencies"]
    extras = ",".join(project["optional-dependencies"])
    assert {"pip": [f"-e .[{extras}]"]} in environment["dependencies"]


def test_the_lock_has_hashes_and_no_address() -> None:
    text = (ROOT / "requirements.lock").read_text()
    assert "--hash=sha256:" in text
    assert "://" not in text
    assert "--index" not in text


@pytest.mark.parametrize(
    "module", ["meshlab.samples.echo.__main__", "meshlab.traffic.generator", "meshlab.daemons.cluster"]
)
def test_small_processes_stay_small(module: str) -> None:
    code = f"import sys, {module}; print('pandas' in sys.modules)"
    import sys

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
