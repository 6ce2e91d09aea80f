"""What a sidecar pod gets: the interception rules, one Envoy."""

from __future__ import annotations

import json
from pathlib import Path

from meshlab.dataplanes.sidecar import SidecarPlane, interception
from meshlab.model import wire
from meshlab.model.world import Endpoint, PodId

WEB = Endpoint(PodId("shop", "web-1"), "u", "10.129.0.2", "node-1", "web", "web")


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
    node = json.loads(companion.files["envoy.json"])["node"]
    assert node == {"id": "sidecar~10.129.0.2~web-1.shop~shop", "cluster": "web.shop"}
    assert "token-of-web-1" in companion.files["envoy.json"]
    assert not any("token" in word for word in companion.argv)
