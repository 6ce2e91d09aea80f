"""The store's door: what this lab can never run is refused before anything changes."""

from __future__ import annotations

from typing import Any

import pytest

from meshlab.errors import MeshlabError
from meshlab.runtimes.local import admission
from tests.runtimes.support import SHOP, changed, manifests

NODES = ["node-1", "node-2"]
PINNED = (("    spec:\n      containers", "    spec:\n      nodeName: node-2\n      containers"),)


def test_what_is_valid_comes_in() -> None:
    admission.admit(manifests(), NODES)
    admission.admit(changed(SHOP, *PINNED), NODES)
    admission.admit([], NODES)


def test_a_pin_to_a_node_that_is_not_there_is_refused_with_those_that_are() -> None:
    with pytest.raises(MeshlabError) as caught:
        admission.admit(changed(SHOP, *PINNED), ["node-1"])
    assert caught.value.message == "Deployment/shop/web nodeName: no node 'node-2' in this lab"
    assert caught.value.hint == "nodes: node-1"


@pytest.mark.parametrize(
    "document",
    [
        {}, {"kind": "Nothing"}, {"kind": "Pod"}, {"kind": "Pod", "metadata": None}, {"kind": ["Pod"]},
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "x"}, "spec": {"prots": []}},
    ],
    ids=str,
)  # fmt: skip
def test_what_is_no_document_is_refused_whoever_sends_it(document: dict[str, Any]) -> None:
    with pytest.raises(MeshlabError, match="not a valid document"):
        admission.admit([*manifests(), document], NODES)
