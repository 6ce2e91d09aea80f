"""A bench a module; a kernel plane a test, which must leave nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from meshlab.dataplanes.sidecarless import libbpf
from meshlab.dataplanes.sidecarless.node import KernelNode
from meshlab.kit import bpffs
from meshlab.kit.ledger import Ledger
from tests.bpf.topology import NAMES, Bench
from tests.conftest import unused_name


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    made = Bench(unused_name(), Ledger(tmp_path_factory.mktemp("bench") / "ledger.jsonl"))
    try:
        made.up()
        yield made
    finally:
        made.down()


@pytest.fixture
def node(bench: Bench) -> Iterator[KernelNode]:
    """Loaded, attached, pods known, nothing applied."""
    opened = KernelNode.open(bench.lab, "node-1")
    try:
        ids = opened.ids()
        opened.attach(pods=bench.pods_group, proxy=bench.proxy_group)
        for name in NAMES:
            opened.add_pod(bench.pod(name))
        yield opened
    finally:
        bench.stop()
        opened.remove()
    nothing_left(bench.lab, ids)


def eventually(check: Callable[[], bool], what: str, within_s: float = 10.0) -> None:
    """Wait for what the kernel does in its own time (RCU, closing sockets)."""
    deadline = time.monotonic() + within_s
    while not check():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


def nothing_left(lab: str, ids: dict[str, set[int]]) -> None:
    assert not bpffs.pins_of(lab).exists()
    for kind, numbers in ids.items():
        eventually(lambda k=kind, n=numbers: not {i for i in n if libbpf.exists(k, i)}, f"{kind}s are left")
    assert bpffs.ROOT.is_dir()
