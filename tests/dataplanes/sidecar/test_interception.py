"""The rules by which the connections of a sidecar pod come to its Envoy."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator

import pytest

from meshlab.dataplanes.sidecar import interception
from meshlab.model import wire


@pytest.fixture
def namespace() -> Iterator[str]:
    """A fresh network namespace."""
    name = f"mlt-{os.getpid()}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    yield name
    subprocess.run(["ip", "netns", "del", name], check=True)


def nft(namespace: str, *words: str, script: str = "") -> subprocess.CompletedProcess[str]:
    argv = ["ip", "netns", "exec", namespace, "nft", *words]
    return subprocess.run(argv, input=script, capture_output=True, text=True, check=False)


def test_nft_takes_the_rules_in_a_fresh_namespace(namespace: str) -> None:
    checked = nft(namespace, "-c", "-f", "-", script=interception.rules())
    assert checked.returncode == 0, checked.stderr
    assert nft(namespace, "list", "ruleset").stdout == ""
    loaded = nft(namespace, "-f", "-", script=interception.rules())
    assert loaded.returncode == 0, loaded.stderr
    found = nft(namespace, "list", "ruleset").stdout
    assert "table ip meshlab" in found
    assert "table ip6 meshlab" in found
    wrong = nft(namespace, "-c", "-f", "-", script=interception.rules().replace("hook prerouting", "hook nowhere", 1))
    assert wrong.returncode != 0


def test_rules_and_compilers_agree_on_ports_the_users_id_and_the_way_in() -> None:
    text = interception.rules()
    assert f"redirect to :{wire.OUTBOUND_PORT}" in text
    assert f"redirect to :{wire.INBOUND_PORT}" in text
    assert f"skuid {wire.PROXY_UID}" in text
    assert f"mark {wire.INBOUND_MARK} notrack" in text
    for port in (wire.HEALTH_PORT, wire.STATS_PORT):
        assert str(port) in text
