"""The one place that knows where shipped files lie, in a checkout and in a wheel."""

from __future__ import annotations

from pathlib import Path

from meshlab.errors import NotFound

_SAMPLES = Path(__file__).parent / "samples"


def samples() -> list[str]:
    """Names for `sample:NAME`."""
    return sorted(path.stem for path in _SAMPLES.glob("*.yaml"))


def resolve(name: str) -> Path:
    """The file of `sample:NAME`. NotFound names what there is."""
    path = _SAMPLES / f"{name.removeprefix('sample:')}.yaml"
    if path.parent != _SAMPLES or not path.is_file():
        raise NotFound(f"no such sample: {name}", hint=f"samples: {', '.join(samples())}")
    return path
