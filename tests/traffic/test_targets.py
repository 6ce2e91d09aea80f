"""What `meshlab traffic` may be asked for."""

from __future__ import annotations

from typing import Any

import pytest

from meshlab.errors import MeshlabError, NotFound
from meshlab.lab import traffic
from meshlab.traffic.spec import TrafficSpec


@pytest.mark.parametrize(
    "url",
    ["ratings", "http://", "http:///x", "http://a:99999/", "http://a:b/", "http://a/ b", "http://a/\r\nx: y", "ftp://a/",
     "http://[::1", "http://user@a/", "http://a/ü", "http://a:0/"],
)  # fmt: skip
def test_what_is_no_url_is_refused_in_one_sentence(url: str) -> None:
    with pytest.raises(MeshlabError, match="expected http://host") as caught:
        TrafficSpec(url=url)
    assert caught.value.exit_code == 2


def test_https_is_refused_with_the_reason() -> None:
    with pytest.raises(MeshlabError, match="the mesh adds TLS itself"):
        TrafficSpec(url="https://ratings/")


@pytest.mark.parametrize(
    ("name", "value"),
    [("rate", 0.0), ("rate", -1.0), ("rate", float("nan")), ("rate", 1e9), ("duration_s", 0.0), ("timeout_s", 0.0),
     ("max_in_flight", 0), ("profile", "wave"), ("method", ""), ("headers", (("", "x"),))],
)  # fmt: skip
def test_a_value_out_of_range_is_named(name: str, value: Any) -> None:
    with pytest.raises(MeshlabError, match=name.removesuffix("s")):
        TrafficSpec(url="http://ratings/", **{name: value})


@pytest.mark.parametrize("url", ["http://a", "http://a.b.svc:8080/x?y=z", "http://10.0.0.1/", "http://a/%20#f"])
def test_urls_that_are_good(url: str) -> None:
    assert TrafficSpec(url=url).url == url


def test_tools_and_their_options_are_named() -> None:
    with pytest.raises(NotFound, match="meshlab, wrk, h2load"):
        traffic.load("http://a/", tool="ab")
    with pytest.raises(MeshlabError, match="wrk has no option rate"):
        traffic.load("http://a/", tool="wrk", rate=5)
    with pytest.raises(MeshlabError, match="meshlab has no option connections"):
        traffic.load("http://a/", connections=5)
