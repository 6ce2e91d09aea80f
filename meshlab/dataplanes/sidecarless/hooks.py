"""The programs by name: what each is to the kernel, and whose descriptor it attaches to (see `node.py`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Hook:
    """How a program is loaded and where it goes (numbers of enum bpf_prog_type and bpf_attach_type)."""

    program_type: int
    attach_type: int


HOOKS: Mapping[str, Hook] = {
    "connect4": Hook(18, 10),
    "connect6": Hook(18, 11),
    "getpeername4": Hook(18, 29),
    "getpeername6": Hook(18, 30),
    "sock_create": Hook(9, 2),
    "life": Hook(13, 3),
    "listen": Hook(13, 3),
    "getsockopt": Hook(25, 21),
    "lookup": Hook(30, 36),
    "egress": Hook(8, 1),
    "ingress": Hook(8, 0),
    "inward": Hook(18, 10),
    "peer": Hook(3, 46),
}
