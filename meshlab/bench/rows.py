"""What a figure is, and how it is shown and kept."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table


@dataclass(frozen=True)
class Row:
    """One figure: `value` is the median over `rounds`, `spread` the range over the rounds divided by the median,
    `direct` what the same metric was without a mesh in the same run, `ratio` value over `direct` (None: not compared).
    """

    case: str
    mode: str
    load: str
    metric: str
    value: float
    unit: str
    direct: float | None = None
    ratio: float | None = None
    rounds: int = 1
    spread: float | None = None


def of_rounds(
    case: str, mode: str, load: str, metric: str, unit: str, values: Sequence[float], direct: Sequence[float] = ()
) -> Row:
    """The figure of several rounds. `direct`: the same metric without a mesh, round by round; the ratio is the median
    of the rounds' ratios, so that a slow minute of the machine counts on both sides."""
    middle = statistics.median(values)
    spread = (max(values) - min(values)) / middle if len(values) > 1 and middle else None
    base = statistics.median(direct) if direct else None
    ratios = [value / plain for value, plain in zip(values, direct, strict=True) if plain] if direct else []
    ratio = statistics.median(ratios) if ratios else None
    return Row(case, mode, load, metric, middle, unit, base, ratio, len(values), spread)


def machine() -> dict[str, object]:
    """The facts without which a figure means nothing."""
    model = next(
        (line.split(":", 1)[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")), ""
    )
    return {
        "kernel": platform.release(),
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "cpu": model,
        "memory_bytes": psutil.virtual_memory().total,
        "load_average_1min": round(os.getloadavg()[0], 2),
    }


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines() if Path(path).exists() else []


def write(rows: Sequence[Row], path: Path) -> None:
    """One JSON list; each row carries the facts of its machine, so that lists of several runs can be joined."""
    facts = machine()
    path.write_text(json.dumps([{**asdict(row), "machine": facts} for row in rows], indent=1) + "\n")


def show(console: Console, title: str, conditions: str, rows: Sequence[Row]) -> None:
    """One case as a table, with its conditions."""
    table = Table(box=None, header_style="bold", pad_edge=False, title=title, title_justify="left", caption=conditions,
                  caption_justify="left")  # fmt: skip
    for name in ("mode", "load", "metric", "value", "unit", "no mesh", "ratio", "rounds", "spread"):
        table.add_column(name, justify="right" if name in ("value", "no mesh", "ratio", "spread") else "left")
    for row in rows:
        spread = "" if row.spread is None else f"{row.spread:.0%}"
        table.add_row(row.mode, row.load, row.metric, _number(row.value), row.unit, _number(row.direct),
                      _number(row.ratio), str(row.rounds), spread)  # fmt: skip
    console.print(table)
    console.print()


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
