"""The flow schema is a promise to the outside."""

from __future__ import annotations

import dataclasses

import pandas as pd

from meshlab.telemetry import schema
from meshlab.telemetry.events import FlowEvent

PROMISED = """time kind count plane observer reporter node
source_namespace source_workload source_pod source_principal source_ip source_port
destination_namespace destination_service destination_workload destination_pod
destination_principal destination_ip destination_port protocol method path path_template authority status grpc_status
verdict reason policy rule route mtls tls_group latency_ms setup_ms duration_ms request_bytes response_bytes retries
retransmits rtt_ms closed_by trace_id config_version"""


def test_the_columns_are_the_promised_ones_in_their_order() -> None:
    assert [column.name for column in schema.FLOWS] == PROMISED.split()


def test_every_column_has_a_type_that_can_be_missing_and_a_meaning() -> None:
    assert {column.dtype for column in schema.FLOWS} == {"string", "Int64", "Float64", "boolean", "datetime64[ns, UTC]"}
    for column in schema.FLOWS:
        pd.Series([None], dtype=column.dtype)
        assert len(column.meaning) > 3, column.name


def test_units_are_those_that_the_names_carry() -> None:
    for column in schema.FLOWS:
        for ending in ("ms", "bytes"):
            assert (column.unit == ending) == column.name.endswith(f"_{ending}"), column.name


def test_an_event_knows_no_column_that_the_schema_does_not() -> None:
    assert {field.name for field in dataclasses.fields(FlowEvent)} - {"link"} <= set(PROMISED.split())


def test_people_can_read_it_as_rows() -> None:
    rows = schema.describe()
    assert [row["name"] for row in rows] == PROMISED.split()
    assert set(rows[0]) == {"name", "dtype", "unit", "meaning", "otel"}
