"""The flow store: order, bounds, readers of another process, torn writes."""

from __future__ import annotations

from pathlib import Path

from meshlab.telemetry import store
from meshlab.telemetry.store import FlowStore, Record


def test_gives_back_what_was_appended_in_order(tmp_path: Path) -> None:
    flows = FlowStore(tmp_path)
    cursors = [flows.append(f"shop/pod-{i % 3}", 1000 + i, bytes([i]) * i) for i in range(13)]
    assert cursors == list(range(1, 14))
    assert list(flows.read()) == [Record(i + 1, f"shop/pod-{i % 3}", 1000 + i, bytes([i]) * i) for i in range(13)]
    assert [record.cursor for record in flows.read(after=10)] == [11, 12, 13]
    assert list(flows.read(after=13)) == []


def test_is_bounded_and_counts_what_it_evicted(tmp_path: Path) -> None:
    flows = FlowStore(tmp_path, max_bytes=8_000)
    for i in range(211):
        flows.append("shop/web", i, b"x" * 100)
    held = list(flows.read())
    counters = flows.counters
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) == counters.bytes <= 8_000
    assert held[-1].cursor == counters.appended == 211
    assert counters.held == len(held) >= 40
    assert counters.evicted == 211 - len(held) == held[0].cursor - 1


def test_keeps_a_batch_that_is_larger_than_a_segment(tmp_path: Path) -> None:
    flows = FlowStore(tmp_path, max_bytes=1_000)
    flows.append("shop/web", 1, b"x" * 10)
    flows.append("shop/web", 2, b"y" * 5_000)
    assert [record.payload for record in flows.read()] == [b"y" * 5_000]
    assert flows.counters.evicted == 1


def test_a_new_writer_continues_and_cuts_off_a_torn_record(tmp_path: Path) -> None:
    first = FlowStore(tmp_path)
    first.append("shop/web", 1, b"one")
    first.append("shop/web", 2, b"two")
    first.close()
    [segment] = tmp_path.iterdir()
    segment.write_bytes(segment.read_bytes()[:-1])
    second = FlowStore(tmp_path)
    assert second.cursor == 1
    assert second.append("shop/web", 3, b"three") == 2
    assert [record.payload for record in second.read()] == [b"one", b"three"]


def test_counts_survive_a_restart(tmp_path: Path) -> None:
    flows = FlowStore(tmp_path, max_bytes=2_000)
    for i in range(53):
        flows.append("shop/web", i, b"x" * 100)
    flows.close()
    assert FlowStore(tmp_path, max_bytes=2_000).counters == flows.counters


def test_streams_the_same_records_as_bytes_also_across_segments(tmp_path: Path) -> None:
    flows = FlowStore(tmp_path, max_bytes=100_000)
    for i in range(503):
        flows.append("shop/web", i, b"x" * 100)
    assert len(list(tmp_path.iterdir())) > 2
    for after in (0, 1, 250, 502):
        raw = b"".join(store.stream(tmp_path, after))
        assert list(store.records(raw)) == list(flows.read(after))
        assert [record.cursor for record in store.records(raw)] == list(range(after + 1, 504))


def test_an_incomplete_tail_is_not_read() -> None:
    whole = store.encode(Record(1, "shop/web", 5, b"abc"))
    assert list(store.records(whole + whole[:-1])) == [Record(1, "shop/web", 5, b"abc")]
    assert list(store.records(b"")) == []


def test_an_empty_folder_has_nothing(tmp_path: Path) -> None:
    flows = FlowStore(tmp_path / "new")
    assert list(flows.read()) == []
    assert flows.counters == (0, 0, 0, 0)
