"""Notebooks run top to bottom as a user would run them."""

from __future__ import annotations

from pathlib import Path

import jupytext
import nbclient
import pytest

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"


@pytest.mark.parametrize("script", sorted(NOTEBOOKS.glob("*.py")), ids=lambda path: path.stem)
def test_notebook_runs_and_its_pair_is_in_step(script: Path) -> None:
    notebook = jupytext.read(script)
    paired = jupytext.read(script.with_suffix(".ipynb"))
    assert [cell.source for cell in notebook.cells] == [cell.source for cell in paired.cells]
    nbclient.NotebookClient(notebook, timeout=240, kernel_name="python3").execute()
    assert all(output.output_type != "error" for cell in notebook.cells for output in cell.get("outputs", []))
