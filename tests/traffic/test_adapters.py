"""wrk and h2load: what they are told, and what they said on a real machine (recorded/) as a summary."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from meshlab.errors import MeshlabError
from meshlab.traffic import adapters
from meshlab.traffic.adapters import ClosedLoop
from meshlab.traffic.results import Result

RECORDED = Path(__file__).with_name("recorded")
KEYS = {
    "sent", "ok", "failed", "status", "errors", "latency_ms", "rate_target", "rate_achieved", "valid", "why_invalid",
    "loop", "note",
}  # fmt: skip


def load(tool: str, **options: Any) -> ClosedLoop:
    return ClosedLoop("http://ratings/x?n=1", tool, **options)


def read(name: str) -> Result:
    log = RECORDED / f"{name}.tsv"
    output = (RECORDED / f"{name}.txt").read_text()
    return adapters.read(load(name.split("-")[0]), output, log.read_bytes() if log.exists() else b"")


@pytest.mark.parametrize("name", ["wrk-mixed", "wrk-post", "h2load-mixed", "h2load-post"])
def test_a_recorded_run_of_a_backend_that_fails_every_tenth_time(name: str) -> None:
    summary = read(name).summary
    assert set(summary) == KEYS
    assert set(summary["status"]) == {"200", "503"}
    assert summary["status"]["503"] == summary["failed"]
    assert abs(summary["failed"] - summary["sent"] / 10) <= 1
    assert summary["ok"] + summary["failed"] == summary["sent"] == sum(summary["status"].values())
    latency = summary["latency_ms"]
    assert 0 < latency["p50"] <= latency["p90"] <= latency["p99"] <= latency["max"]
    assert (summary["rate_target"], summary["loop"], summary["valid"]) == (None, "closed", True)
    assert "coordinated omission" in summary["note"]


def test_wrk_s_own_words_and_ours_are_the_same_numbers() -> None:
    output = (RECORDED / "wrk-mixed.txt").read_text()
    summary = read("wrk-mixed").summary
    assert f"{summary['sent']} requests in" in output
    assert f"Non-2xx or 3xx responses: {summary['failed']}" in output
    [rate] = [line.split()[1] for line in output.splitlines() if line.startswith("Requests/sec:")]
    assert float(rate) == pytest.approx(summary["rate_achieved"], abs=0.01)


def test_h2load_gives_a_row_per_request() -> None:
    result = read("h2load-mixed")
    assert len(result.frame) == result.summary["sent"]
    assert result.frame["latency_ms"].max() == result.summary["latency_ms"]["max"]
    assert str(result.frame["sent"].dtype.tz) == "UTC"


def test_answers_that_came_too_late_are_failed_and_have_no_latency() -> None:
    summary = read("wrk-late").summary
    assert (summary["sent"], summary["ok"], summary["errors"]) == (8, 0, {"timeout": 8})
    assert summary["latency_ms"] == dict.fromkeys(("p50", "p90", "p99", "max"))


@pytest.mark.parametrize("name", ["wrk-silent", "h2load-silent"])
def test_a_run_without_one_answer_is_not_valid(name: str) -> None:
    summary = read(name).summary
    assert (summary["sent"], summary["valid"], summary["why_invalid"]) == (0, False, "no request was answered")


def test_a_run_that_never_connected_is_an_error() -> None:
    with pytest.raises(MeshlabError, match="ever connected"):
        read("h2load-refused")


@pytest.mark.parametrize("tool", ["wrk", "h2load"])
def test_words_that_are_not_understood_are_an_error_with_the_way_out(tool: str) -> None:
    with pytest.raises(MeshlabError, match="what is this") as caught:
        adapters.read(load(tool), "hello\nwhat is this\n", b"")
    assert "tool='meshlab'" in str(caught.value)


def test_wrk_is_told_everything() -> None:
    wanted = load("wrk", duration_s=2.5, connections=8, threads=2, method="POST", headers=(("x-a", "b c"),), body="z")
    words = adapters.command(wanted, Path("/nowhere"))
    script = next(word for word in words if word.startswith("-s")).removeprefix("-s")
    assert Path(script).is_file()
    assert words == [
        "wrk", "-t2", "-c8", "-d3s", "--timeout=10s", f"-s{script}", "-H", "x-a: b c", "http://ratings/x?n=1", "--",
        "POST", "z",
    ]  # fmt: skip


def test_h2load_is_told_everything() -> None:
    wanted = load("h2load", duration_s=2.5, streams=4, protocol="http1", headers=(("x-a", "b"),), body="z")
    assert adapters.files(wanted) == {"body": "z"}
    assert adapters.command(wanted, Path("/f")) == [
        "h2load", "-t1", "-c16", "-m4", "-D2500ms", "--log-file=/f/log.tsv", "--connection-inactivity-timeout=10000ms",
        "--h1", "--data=/f/body", "-H", ":method: GET", "-H", "x-a: b", "http://ratings/x?n=1",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"connections": 0}, "connections"),
        ({"threads": 3, "connections": 2}, "connections"),
        ({"duration_s": 0}, "duration_s"),
        ({"protocol": "http2"}, "HTTP/1.1 only"),
        ({"streams": 2}, "HTTP/1.1 only"),
        ({"protocol": "http3"}, "protocol"),
        ({"method": "GE T"}, "method"),
        ({"headers": (("a", "b\r\nc: d"),)}, "header"),
    ],
)
def test_wrong_options_are_refused_by_name(options: dict[str, Any], word: str) -> None:
    with pytest.raises(MeshlabError, match=word):
        load("wrk", **options)
