"""Envoy's own counts of flow rows, as its admin port prints them."""

from __future__ import annotations

from meshlab.dataplanes.envoy.counters import LogCounters, log_counters, parse_stats

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\nContent-Length: 999\r\n\r\n"


def test_what_stands_in_the_head_of_the_answer_is_no_counter() -> None:
    chunked = b"12\r\na.b: 3\nc: text\n\r\n0\r\n\r\n"
    assert parse_stats(HEAD + chunked) == {"a.b": 3}


def test_connections_are_counted_as_they_begin_and_their_rows_as_they_leave_the_buffer() -> None:
    stats = {
        "access_logs.grpc_access_log.logs_written": 10,
        "access_logs.grpc_access_log.logs_dropped": 2,
        "access_logs.grpc_access_log.grpc_entries_flushed": 4,
        "tcp.outbound_tcp.downstream_cx_total": 5,
        "listener.10.0.0.1_15006.no_filter_chain_match": 1,
        "listener.10.0.0.1_15006.downstream_cx_total": 77,
        "http.hbone.downstream_cx_total": 88,
    }

    def read() -> LogCounters:
        return log_counters(HEAD + "".join(f"{name}: {value}\n" for name, value in stats.items()).encode())

    assert read() == LogCounters(written=10, dropped=2, connections=6)
    stats["access_logs.grpc_access_log.grpc_entries_flushed"] = 14
    assert read() == LogCounters(written=14, dropped=2, connections=2)
    stats["access_logs.grpc_access_log.grpc_entries_flushed"] = 16
    assert read() == LogCounters(written=16, dropped=2, connections=0)


def test_of_a_connection_that_is_carried_there_are_two_rows() -> None:
    stats = {"access_logs.grpc_access_log.grpc_entries_flushed": 3, "tcp.inbound_carried.downstream_cx_total": 2}
    answer = HEAD + "".join(f"{name}: {value}\n" for name, value in stats.items()).encode()
    assert log_counters(answer) == LogCounters(written=3, connections=1)
