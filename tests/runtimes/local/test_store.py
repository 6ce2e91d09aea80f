"""The store: all or nothing, kept over restarts, a revision that only grows."""

from __future__ import annotations

from pathlib import Path

import pytest

from meshlab.errors import Conflict, MeshlabError, NotFound
from meshlab.model.ids import Ref
from meshlab.model.services import Service
from meshlab.runtimes.local.store import Store
from tests.runtimes.support import SHOP, changed, manifests

WEB = ("shop", "web")


def test_says_what_an_apply_did(tmp_path: Path) -> None:
    store = Store(tmp_path / "store.json")
    assert {change.verb for change in store.apply(manifests())} == {"created"}
    before = store.revision
    assert {change.verb for change in store.apply(manifests())} == {"unchanged"}
    assert store.revision == before
    verbs = {str(change.ref): change.verb for change in store.apply(changed(SHOP, ("replicas: 2", "replicas: 3")))}
    assert verbs.pop("Deployment/shop/web") == "configured"
    assert set(verbs.values()) == {"unchanged"}
    assert store.revision == before + 1


def test_creation_time_stays(tmp_path: Path) -> None:
    store = Store(tmp_path / "store.json")
    store.apply(manifests())
    stamps = {manifest["metadata"]["creationTimestamp"] for manifest in store.manifests.values()}
    store.apply(changed(SHOP, ("replicas: 2", "replicas: 3")))
    assert {manifest["metadata"]["creationTimestamp"] for manifest in store.manifests.values()} == stamps
    assert len(stamps) == 1


def test_is_found_again_with_a_revision_that_only_grows(tmp_path: Path) -> None:
    path = tmp_path / "store.json"
    first = Store(path)
    first.apply(manifests())
    assert path.stat().st_mode & 0o777 == 0o600
    revisions = [first.revision]
    for _ in range(3):  # daemons that saw pods change, but no document
        again = Store(path)
        assert again.manifests == first.manifests
        assert again.cluster_ips == first.cluster_ips
        assert again.mesh.get(Service, *WEB)
        for _ in range(1009):
            again.touch()
        revisions += [again.revision]
    assert revisions == sorted(set(revisions))


def test_a_refused_apply_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "store.json"
    store = Store(path)
    store.apply(manifests())
    before = (dict(store.manifests), dict(store.cluster_ips), store.revision, path.read_bytes())
    taken = store.cluster_ips[WEB]
    with pytest.raises(Conflict, match=r"Service/shop/web"):
        store.apply(changed(SHOP, ("clusterIP: None", f"clusterIP: {taken}"), ("name: web-pods", "name: other")))
    with pytest.raises(MeshlabError, match=r"10\.96\.0\.0/16"):
        store.apply(changed(SHOP, ("clusterIP: None", "clusterIP: 192.0.2.1")))
    assert (dict(store.manifests), dict(store.cluster_ips), store.revision, path.read_bytes()) == before


def test_delete_is_all_or_nothing_and_a_namespace_takes_its_content() -> None:
    store = Store(None)
    store.apply(manifests())
    with pytest.raises(NotFound, match="Service/shop/nobody"):
        store.delete([Ref("Service", "shop", "web"), Ref("Service", "shop", "nobody")])
    assert len(store.manifests) == 4
    gone = store.delete([Ref("Namespace", "", "shop")])
    assert len(gone) == 4
    assert not store.manifests
    assert not store.cluster_ips


def test_the_order_of_fields_and_labels_is_no_change() -> None:
    store = Store(None)
    store.apply(manifests())
    turned = [{**one, "metadata": dict(reversed(list(one["metadata"].items())))} for one in manifests()]
    before = list(store.manifests.values())
    assert {change.verb for change in store.apply(turned)} == {"unchanged"}
    assert [str(one) for one in store.manifests.values()] == [str(one) for one in before]


def test_an_address_stays_with_its_service_over_changes_and_restarts(tmp_path: Path) -> None:
    path = tmp_path / "store.json"
    store = Store(path)
    store.apply(manifests())
    address = store.cluster_ips[WEB]
    other = changed(SHOP, ("name: web-pods", "name: early"), ("clusterIP: None", "clusterIP: ''"))
    store.apply(other)
    store.delete([Ref("Service", "shop", "early")])
    again = Store(path)
    again.apply(other)
    assert again.cluster_ips[WEB] == address
    assert again.cluster_ips[("shop", "early")] != address
