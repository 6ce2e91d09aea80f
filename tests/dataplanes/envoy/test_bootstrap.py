"""What any Envoy of ours starts with: the bootstrap, and the rules by which connections come to it."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from meshlab.dataplanes.envoy import interception
from meshlab.dataplanes.envoy.binary import envoy_binary
from meshlab.dataplanes.envoy.bootstrap import bootstrap
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


def test_the_bootstrap_names_the_proxy_and_shows_its_token_with_every_stream() -> None:
    made = json.loads(bootstrap("node~n", "n", "/x/ads.sock", "t0ken"))
    assert made["node"] == {"id": "node~n", "cluster": "n"}
    assert made["dynamic_resources"]["ads_config"]["api_type"] == "DELTA_GRPC"
    ads, admin = made["static_resources"]["clusters"]
    assert "Bearer t0ken" in json.dumps(ads)
    assert "t0ken" not in json.dumps([made["node"], made["dynamic_resources"], admin])
    assert "/x/ads.sock" in json.dumps(ads)


def test_the_admin_port_is_on_loopback_only() -> None:
    made = json.loads(bootstrap("node~n", "n", "/x/ads.sock", "t"))
    where = {"address": "127.0.0.1", "port_value": wire.ADMIN_PORT}
    assert made["admin"]["address"]["socket_address"] == where


def test_envoy_takes_the_bootstrap(tmp_path: Path) -> None:
    path = tmp_path / "envoy.json"
    path.write_text(bootstrap("node~n", "n", str(tmp_path / "ads.sock"), "t"))
    argv = [envoy_binary(), "--mode", "validate", "-c", str(path)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
