"""The tree of errors; every message says what happened and the way out.

MeshlabError                 exit code 2: wrong use or input, unless a child says otherwise
├── InvalidDocuments         documents did not pass; carries every Problem (`.problems`)
├── NotFound                 a named thing is not there (lab, pod, service, namespace)
├── Conflict                 it exists already, or somebody else holds it
├── CannotRun                exit code 3: this machine lacks something (root, Envoy, nftables, cgroup v2)
├── Unauthenticated          a caller did not prove who it is; it is given nothing
├── Unavailable              a daemon of the lab does not answer; try again or `meshlab doctor`
└── TimedOut                 a wait ended before what was waited for came
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


class MeshlabError(Exception):
    """Something was wrong; `hint` is the way out and is part of the text."""

    exit_code = 2

    def __init__(self, message: str, *, hint: str = "") -> None:
        self.message = message
        self.hint = hint
        super().__init__(f"{message}\n  → {hint}" if hint else message)


class InvalidDocuments(MeshlabError):
    """Documents did not pass validation; nothing was applied."""

    def __init__(self, problems: Sequence[object], *, hint: str = "") -> None:
        self.problems = tuple(problems)
        count = len(self.problems)
        lines = "\n".join(f"  {problem}" for problem in self.problems)
        super().__init__(f"{count} problem{'s' if count != 1 else ''} in the documents\n{lines}", hint=hint)


class NotFound(MeshlabError):
    """A thing that was named does not exist."""


class Conflict(MeshlabError):
    """The thing exists already, or another owner holds it."""


class CannotRun(MeshlabError):
    """This machine lacks what the call needs."""

    exit_code = 3


class Unauthenticated(MeshlabError):
    """A caller did not prove who it is."""


class Unavailable(MeshlabError):
    """A daemon of the lab does not answer."""

    exit_code = 3


class TimedOut(MeshlabError):
    """A wait ended before what was waited for came."""

    exit_code = 1
