"""`python -m meshlab.bench [CASE...]`: run cases, print their tables, write `bench-results.json`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from meshlab.bench import data_path, life, propagation, rows, scale
from meshlab.errors import MeshlabError
from meshlab.lab.session import Lab

CASES = ("life", "data-path", "same-node", "across-nodes", "propagation", "scale")
_console = Console(highlight=False, width=None if sys.stdout.isatty() else 180)


def _progress(text: str) -> None:
    _console.print(f"[dim]· {text}[/dim]")


def _in_a_lab(name: str, measure: Callable[[Lab], list[rows.Row]]) -> list[rows.Row]:
    """Each case gets a lab of its own, so that none inherits another's load."""
    with Lab(name, progress=_progress) as lab:
        return measure(lab)


def run(case: str, name: str) -> tuple[list[rows.Row], str]:
    """The rows of one case, and its conditions in words."""
    _console.print(f"[bold]{case}[/bold]")
    if case == "life":
        return life.measure(name, _progress), life.CONDITIONS
    if case == "data-path":
        return _in_a_lab(name, lambda lab: data_path.measure(lab, _progress)), data_path.CONDITIONS
    if case == "across-nodes":
        found = _in_a_lab(name, lambda lab: data_path.measure_across_nodes(lab, _progress))
        return found, data_path.ACROSS_NODES_CONDITIONS
    if case == "same-node":
        found = _in_a_lab(name, lambda lab: data_path.measure_same_node(lab, _progress))
        return found, data_path.SAME_NODE_CONDITIONS
    if case == "propagation":
        return _in_a_lab(name, propagation.measure), propagation.CONDITIONS
    return _in_a_lab(name, scale.measure), scale.CONDITIONS


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m meshlab.bench", description=__doc__)
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"of {', '.join(CASES)}; all if none is named")
    parser.add_argument("-o", "--output", type=Path, default=Path("bench-results.json"))
    options = parser.parse_args()
    if unknown := set(options.cases) - set(CASES):
        parser.error(f"no such case: {', '.join(sorted(unknown))} (cases: {', '.join(CASES)})")
    found: list[rows.Row] = []
    try:
        for case in options.cases or CASES:
            new, conditions = run(case, f"b{os.getpid() % 10**6}")
            rows.show(_console, case, conditions, new)
            found += new
            rows.write(found, options.output)
    except MeshlabError as error:
        _console.print(f"[red]error:[/red] {error}")
        return error.exit_code
    _console.print(f"{len(found)} figures in {options.output}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
