"""The one place that knows where shipped files lie, in a checkout and in a wheel."""

from __future__ import annotations

from pathlib import Path

from meshlab.errors import NotFound

PREFIX = "sample:"

_PACKAGE = Path(__file__).resolve().parent
_SAMPLES = _PACKAGE / "samples"
_FOLDERS = ("bpf", "proxy", "kind-config")


def folder(name: str) -> Path:
    """Where `bpf`, `proxy` or `kind-config` lies: beside the package in a checkout, in `_assets` inside a wheel.
    NotFound where the installation lacks it."""
    if name not in _FOLDERS:
        raise NotFound(f"no such folder of assets: {name}", hint=f"folders: {', '.join(_FOLDERS)}")
    for path in (_PACKAGE / "_assets" / name, _PACKAGE.parent / name):
        if path.is_dir():
            return path
    raise NotFound(f"the folder {name} was not installed", hint="install meshlab again, or work from a checkout")


def samples() -> list[str]:
    """Names for `sample:NAME`."""
    return sorted(path.stem for path in _SAMPLES.glob("*.yaml"))


def resolve(name: str) -> Path:
    """The file that a `-f` value means: `sample:NAME` or a path as it is. NotFound names the samples there are."""
    if not name.startswith(PREFIX):
        return Path(name)
    stem = name.removeprefix(PREFIX)
    if stem not in samples():
        raise NotFound(f"no such sample: {stem}", hint=f"samples: {', '.join(samples())}")
    return _SAMPLES / f"{stem}.yaml"


def sample_text(name: str) -> str:
    """The YAML of a sample, by its bare name. NotFound names the samples there are."""
    return resolve(f"{PREFIX}{name}").read_text(encoding="utf-8")
