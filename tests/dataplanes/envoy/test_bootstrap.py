"""What any Envoy of ours starts with: the bootstrap."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from meshlab.dataplanes.envoy.binary import envoy_binary
from meshlab.dataplanes.envoy.bootstrap import bootstrap
from meshlab.model import wire


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
