"""SVIDs are renewed at half life while requests go on."""

from __future__ import annotations

from collections.abc import Callable

from meshlab import Lab
from tests.live.tools import Load


def test_svids_are_renewed_under_load_and_no_request_fails(lab_name: Callable[[], str]) -> None:
    with Lab(lab_name(), nodes=2, svid_ttl_s=8.0) as lab:
        lab.apply("sample:shop")
        lab.wait(timeout_s=120)
        before = lab.identities().set_index("pod")
        with Load(lab, "web", "http://catalog/", namespace="shop", rate=50.0, duration_s=12.0) as load:
            pass
        after = lab.identities().set_index("pod")
    assert load.summary["failed"] == 0, load.summary
    assert (after["serial"] != before["serial"]).all()
    assert (after["not_before"] > before["not_before"]).all()
    assert set(after["spiffe_id"]) == set(before["spiffe_id"])
