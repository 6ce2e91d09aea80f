from __future__ import annotations

import pytest

from meshlab.telemetry.paths import template


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        ("/", "/"),
        ("", ""),
        ("/items/42", "/items/{id}"),
        ("/items/42/parts/007/", "/items/{id}/parts/{id}/"),
        ("/users/8C1E6E0A-7F2B-4B53-9A53-0D1C8D3F6A11", "/users/{id}"),
        ("/blobs/9f86d081884c7d659a2feaa0c55ad015", "/blobs/{id}"),
        ("/runs/01ARZ3NDEKTSV4RRFFQ69G5FAV", "/runs/{id}"),
        ("/v1/items", "/v1/items"),
        ("/reviews-v2/top10", "/reviews-v2/top10"),
        ("/shop.Catalog/GetItem", "/shop.Catalog/GetItem"),
        ("/my-service-version-2-stable", "/my-service-version-2-stable"),
        ("/a-very-long-name-that-a-person-chose", "/a-very-long-name-that-a-person-chose"),
        ("*", "*"),
    ],
)
def test_segments_that_name_one_thing_among_many_are_named(path: str, wanted: str) -> None:
    assert template(path) == wanted
    assert template(wanted) == wanted
