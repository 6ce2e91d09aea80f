"""One World, its resources by type: the golden files show what a change of a compiler changes.

`pytest tests/compile --refresh-golden` writes them anew.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from meshlab.compile.xds import compile_pod
from meshlab.compile.xds.snapshot import CLUSTER, ENDPOINTS, LISTENER, ROUTE
from tests.compile.worlds import API, message, rich

_GOLDEN = Path(__file__).parents[1] / "golden" / "xds"
_TYPES = {"cds": CLUSTER, "eds": ENDPOINTS, "lds": LISTENER, "rds": ROUTE}


@pytest.mark.parametrize("name", _TYPES)
def test_the_resources_of_a_rich_world_are_those_of_the_golden_file(name: str, refresh_golden: bool) -> None:
    snapshot = compile_pod(rich(), API)
    url = _TYPES[name]
    found = {one: message(snapshot, url, one) for one in sorted(snapshot.resources[url])}
    path = _GOLDEN / f"{name}.json"
    if refresh_golden:
        path.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
    assert found == json.loads(path.read_text())


def test_every_golden_file_is_of_a_test() -> None:
    assert {path.stem for path in _GOLDEN.iterdir()} == set(_TYPES)


_DIGEST = """
import hashlib
from meshlab.compile.xds import compile_pod
from tests.compile.worlds import API, rich
made = compile_pod(rich(), API)
print(made.version, hashlib.sha256(repr(
    [(url, name, one.version, one.body) for url, found in made.resources.items() for name, one in found.items()]
).encode()).hexdigest())
"""


def test_the_same_world_gives_the_same_bytes_in_every_process() -> None:
    digests = {
        subprocess.run(
            [sys.executable, "-c", _DIGEST], env={"PYTHONHASHSEED": seed, "PYTHONPATH": str(_GOLDEN.parents[2])},
            capture_output=True, text=True, check=True,
        ).stdout
        for seed in ("1", "2")
    }  # fmt: skip
    assert len(digests) == 1
