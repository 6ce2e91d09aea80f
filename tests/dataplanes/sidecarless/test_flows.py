"""Events of the kernel to rows: what is not held by a live lab already."""

from __future__ import annotations

import pytest
from dnslib import DNSRecord

from meshlab.dataplanes.sidecarless.flows import _question


@pytest.mark.parametrize(("name", "kind"), [("web.shop.svc.cluster.local", "A"), ("_http._tcp.web", "SRV"), ("", "NS")])
def test_a_question_is_read_as_it_is_on_the_wire(name: str, kind: str) -> None:
    raw = DNSRecord.question(name, kind).pack()[12:]
    assert _question(raw) == (name, kind)
    assert _question(raw + b"answers that follow") == (name, kind)


def test_of_a_question_that_was_cut_off_there_is_what_is_there() -> None:
    raw = DNSRecord.question(f"{'a' * 60}.{'b' * 60}.example").pack()[12:]
    assert _question(raw[:128].rstrip(b"\0")) == (f"{'a' * 60}.{'b' * 60}.examp...", None)
    assert _question(raw[:122].rstrip(b"\0")) == (f"{'a' * 60}.{'b' * 60}...", None)
    assert _question(b"") == ("...", None)
