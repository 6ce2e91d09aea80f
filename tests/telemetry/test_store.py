"""The flow store: order, bounds, counts, torn writes."""

from __future__ import annotations

from pathlib import Path

import pytest

from meshlab.telemetry import store
from meshlab.telemetry.store import FlowStore, Record


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Segments of a kilobyte instead of megabytes."""
    monkeypatch.setattr(store, "_SEGMENT_BYTES", 1_000)


def read(flows: FlowStore) -> list[Record]:
    return list(store.records(flows.read()))


def fill(flows: FlowStore, count: int, first: int = 0) -> list[Record]:
    found = [Record(f"shop/pod-{i % 3}", 1_000 + i, i % 5, bytes([i % 251]) * 100) for i in range(first, first + count)]
    for record in found:
        flows.append(record.reporter, record.received_ns, record.payload, record.rows)
    return found


def test_gives_back_what_was_appended_in_order(tmp_path: Path) -> None:
    flows = FlowStore(tmp_path)
    assert read(flows) == []
    written = fill(flows, 13)
    assert read(flows) == written


def test_an_empty_payload_and_a_name_in_any_script_are_kept(tmp_path: Path) -> None:
    flows = FlowStore(tmp_path)
    flows.append("läden/π-1", 1, b"", 0)
    assert read(flows) == [Record("läden/π-1", 1, 0, b"")]


@pytest.mark.usefixtures("small")
def test_a_full_segment_is_followed_by_another_and_order_stays(tmp_path: Path) -> None:
    flows = FlowStore(tmp_path)
    written = fill(flows, 101)
    assert read(flows) == written
    names = sorted(path.name for path in tmp_path.iterdir())
    assert len(names) > 5
    assert names == [f"{n:08d}.flows" for n in range(1, len(names) + 1)]


@pytest.mark.usefixtures("small")
def test_is_bounded_keeps_the_newest_and_counts_what_it_evicted(tmp_path: Path) -> None:
    flows = FlowStore(tmp_path, max_bytes=4_000)
    written = fill(flows, 211)
    held = read(flows)
    assert held == written[-len(held) :]
    assert 20 <= len(held) < 60
    on_disk = sum(path.stat().st_size for path in tmp_path.iterdir())
    assert on_disk < 4_000 + 2_000
    counters = flows.counters()
    assert counters["rows"] == {
        f"shop/pod-{n}": sum(r.rows for r in written if r.reporter.endswith(str(n))) for n in range(3)
    }
    lost = (211 - len(held)) * (len(written[0].payload) + len(written[0].reporter))
    evicted = counters["evicted_bytes"]
    assert isinstance(evicted, int)
    assert evicted > lost


def test_nothing_was_evicted_where_all_fits(tmp_path: Path) -> None:
    flows = FlowStore(tmp_path)
    fill(flows, 13)
    assert flows.counters()["evicted_bytes"] == 0


@pytest.mark.usefixtures("small")
def test_a_new_control_plane_goes_on_where_the_last_one_ended(tmp_path: Path) -> None:
    first = FlowStore(tmp_path, max_bytes=4_000)
    fill(first, 53)
    again = FlowStore(tmp_path, max_bytes=4_000)
    assert again.counters() == first.counters()
    assert read(again) == read(first)
    more = fill(again, 3, first=53)
    assert read(again)[-3:] == more


@pytest.mark.parametrize("cut", [1, 99, 100, 110, 115, 125])
def test_a_half_record_of_a_killed_control_plane_hides_no_other(tmp_path: Path, cut: int) -> None:
    first = FlowStore(tmp_path)
    whole = fill(first, 3)
    [segment] = tmp_path.iterdir()
    segment.write_bytes(segment.read_bytes()[:-cut])
    again = FlowStore(tmp_path)
    assert read(again) == whole[:2]
    later = fill(again, 2, first=7)
    assert read(again) == [*whole[:2], *later]


def test_a_half_record_at_the_end_of_bytes_is_left_out(tmp_path: Path) -> None:
    flows = FlowStore(tmp_path)
    whole = fill(flows, 2)
    raw = flows.read()
    for end in range(len(raw) - 120, len(raw)):
        assert list(store.records(raw[:end])) == whole[:1]


def test_nobody_else_may_read_the_folder(tmp_path: Path) -> None:
    FlowStore(tmp_path / "new")
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700


def test_who_had_an_address_outlives_the_control_plane_even_one_killed_while_writing(tmp_path: Path) -> None:
    flows = FlowStore(tmp_path)
    web, api = {"ip": "10.1.0.1", "pod": "web-1"}, {"ip": "10.1.0.2", "pod": "api-1"}
    flows.know([web, api])
    flows.know([web])
    flows.know([{**api, "services": ["api"]}])
    assert FlowStore(tmp_path).peers == {"10.1.0.1": web, "10.1.0.2": {**api, "services": ["api"]}}
    file = tmp_path / "peers.jsonl"
    size = file.stat().st_size
    FlowStore(tmp_path).know([web])
    assert file.stat().st_size == size
    file.write_bytes(file.read_bytes()[:-5])
    after = FlowStore(tmp_path)
    assert after.peers == {"10.1.0.1": web, "10.1.0.2": api}
    new = {"ip": "10.1.0.3", "pod": "new-1"}
    after.know([new])
    assert FlowStore(tmp_path).peers["10.1.0.3"] == new
