"""What all tests share: root or a clear refusal, and names for labs that no other run uses."""

from __future__ import annotations

import itertools
import os
import string
from collections.abc import Callable
from pathlib import Path

import pytest

_NEEDS_ROOT = {
    "live",
    "runtimes",
    "daemons",
    "kit",
    "dataplanes",
    "bpf",
    "contracts",
    "workbench",
    "xds",
    "test_cli.py",
}
_TESTS = Path(__file__).parent
_DIGITS = string.digits + string.ascii_lowercase


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--refresh-golden", action="store_true", help="write the golden files anew, then compare")


@pytest.fixture
def refresh_golden(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--refresh-golden"))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Fail at once, with the way out, instead of skipping what needs root: a skipped contract is not kept."""
    rooms = {item.path.relative_to(_TESTS).parts[0] for item in session.items}
    if os.geteuid() != 0 and (needing := sorted(rooms & _NEEDS_ROOT)) and not session.config.option.collectonly:
        pytest.exit(
            f"tests/{{{','.join(needing)}}} make network namespaces, cgroups or sockets for other users: run them as "
            "root (sudo make test), or name the rooms that need none, for example: pytest tests/model tests/compile",
            returncode=3,
        )


@pytest.fixture
def lab_name() -> Callable[[], str]:
    """Gives a new lab name at each call: short (names of links have 15 characters) and unlike those of other runs."""
    return unused_name


_numbers = itertools.count(1)


def unused_name() -> str:
    return f"t{_base36(os.getpid())}-{next(_numbers)}"


def _base36(number: int) -> str:
    digits = ""
    while number:
        number, rest = divmod(number, 36)
        digits = _DIGITS[rest] + digits
    return digits or "0"
