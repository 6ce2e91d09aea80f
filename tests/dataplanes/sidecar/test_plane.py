"""What a sidecar pod gets: the bootstrap, the interception rules, one Envoy."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from meshlab.dataplanes.envoy.bootstrap import bootstrap
from meshlab.dataplanes.sidecar import SidecarPlane, interception
from meshlab.dataplanes.sidecar.plane import envoy_binary
from meshlab.model import wire
from meshlab.model.world import Endpoint, PodId

WEB = Endpoint(PodId("shop", "web-1"), "u", "10.129.0.2", "node-1", "web", "web")


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


def test_the_bootstrap_names_the_pod_and_shows_its_token_with_every_stream() -> None:
    made = json.loads(bootstrap(WEB, "/x/ads.sock", "t0ken"))
    assert made["node"] == {"id": "sidecar~10.129.0.2~web-1.shop~shop", "cluster": "web.shop"}
    assert made["dynamic_resources"]["ads_config"]["api_type"] == "DELTA_GRPC"
    ads, admin = made["static_resources"]["clusters"]
    assert "Bearer t0ken" in json.dumps(ads)
    assert "t0ken" not in json.dumps([made["node"], made["dynamic_resources"], admin])
    assert "/x/ads.sock" in json.dumps(ads)


def test_the_admin_port_is_on_loopback_only() -> None:
    made = json.loads(bootstrap(WEB, "/x/ads.sock", "t"))
    where = {"address": "127.0.0.1", "port_value": wire.ADMIN_PORT}
    assert made["admin"]["address"]["socket_address"] == where


def test_envoy_takes_the_bootstrap(tmp_path: Path) -> None:
    path = tmp_path / "envoy.json"
    path.write_text(bootstrap(WEB, str(tmp_path / "ads.sock"), "t"))
    argv = [envoy_binary(), "--mode", "validate", "-c", str(path)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_pod_gets_one_envoy_that_is_ready_and_drains_where_the_compilers_listen(tmp_path: Path) -> None:
    plan = SidecarPlane(tmp_path / "ads.sock", lambda endpoint: f"token-of-{endpoint.pod.name}").plan(WEB)
    [companion] = plan.companions
    assert (plan.rules, plan.local_mark) == (interception.rules(), wire.INBOUND_MARK)
    assert (companion.uid, companion.ready_port, companion.ready_path) == (
        wire.PROXY_UID,
        wire.HEALTH_PORT,
        "/healthz/ready",
    )
    assert companion.drain_port == wire.ADMIN_PORT
    assert list(companion.files) == ["envoy.json"]
    assert "token-of-web-1" in companion.files["envoy.json"]
    assert not any("token" in word for word in companion.argv)
