"""Checks across documents: references, planes, images."""

from __future__ import annotations

import pytest

from meshlab import assets
from meshlab.model import checks, documents

SHOP = assets.sample_text("shop")


def found(text: str, severity: str) -> list[str]:
    loaded = documents.load(text)
    assert not loaded.problems
    return [f"{p.object} {p.path}: {p.message} {p.hint}" for p in checks.check(loaded.mesh) if p.severity == severity]


def test_the_shop_is_clean() -> None:
    assert found(SHOP, "error") == found(SHOP, "warning") == []


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("name: reviews, port: 80", "name: review, port: 80", "parentRefs[0].name: no Service shop/review"),
        ("name: reviews, port: 80", "name: reviews, port: 81", "parentRefs[0].port: Service reviews has no port 81"),
        ("name: reviews, port: 80", "name: reviews, sectionName: x", "sectionName"),
        ("name: reviews-v2, port: 80", "name: reviews-v3, port: 80", "backendRefs[1].name: no Service shop/reviews-v3"),
    ],
)
def test_a_dangling_reference_of_a_route_is_an_error(old: str, new: str, expected: str) -> None:
    canary = assets.sample_text("shop-canary")
    assert old in canary
    (error,) = found(f"{SHOP}\n---\n{canary.replace(old, new)}", "error")
    assert expected in error


def test_alone_a_missing_reference_is_only_a_warning() -> None:
    assert {p.severity for p in documents.validate(assets.sample_text("shop-canary"))} == {"warning"}


def test_a_policy_that_selects_nothing_is_a_warning() -> None:
    policy = assets.sample_text("shop-policy").replace("app: ratings", "app: rating")
    (warning,) = found(f"{SHOP}\n---\n{policy}", "warning")
    assert "ratings-readers spec.selector: selects no workload" in warning


def test_a_plane_is_sidecar_sidecarless_or_none() -> None:
    (error,) = found(SHOP.replace("meshlab.io/mode: sidecar", "meshlab.io/mode: ambient"), "error")
    assert "unknown plane 'ambient' expected sidecar, sidecarless or none" in error
    assert found(SHOP.replace("meshlab.io/mode: sidecar", "meshlab.io/mode: sidecarless"), "error") == []


def test_a_tunnel_is_hbone_and_for_raw_connections() -> None:
    head = "kind: Service\nmetadata: {name: reviews, namespace: shop"

    def labelled(value: str) -> str:
        return SHOP.replace(head, f"{head}, labels: {{meshlab.io/tunnel: {value}}}")

    (error,) = found(labelled("http3"), "error")
    assert "reviews metadata.labels[meshlab.io/tunnel]: unknown tunnel 'http3' expected hbone" in error
    (warning,) = found(labelled("hbone"), "warning")
    assert "no port of it carries raw connections" in warning
    assert found(labelled("hbone"), "error") == []


def test_an_image_needs_a_command_or_is_built_in() -> None:
    other = SHOP.replace("image: meshlab/echo", "image: nginx:1", 1)
    (error,) = found(other, "error")
    assert "'nginx:1' cannot be run here" in error
    assert found(other.replace("image: nginx:1", "image: nginx:1\n        command: [nginx]"), "error") == []


def test_a_principal_has_no_scheme() -> None:
    policy = assets.sample_text("shop-policy").replace("[cluster.local/ns/shop/sa/web]", "['spiffe://a/ns/b/sa/c']")
    (error,) = found(f"{SHOP}\n---\n{policy}", "error")
    assert "spec.rules[0].from[0].source.principals" in error
