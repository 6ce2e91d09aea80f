"""One vocabulary from the kernel to the charts: the headers in `bpf/include` against the Python that reads them."""

from __future__ import annotations

import re

from meshlab import assets
from meshlab.dataplanes.sidecarless import source
from meshlab.dataplanes.sidecarless.plan import PlaneOf, RuleVerdict
from meshlab.model.outcomes import Reason, Verdict

INCLUDE = assets.folder("bpf") / "include"


def test_every_reason_of_the_kernel_is_a_reason_of_the_model() -> None:
    found = source.numbers("reasons", "REASON_")
    assert {name.lower() for name in found} <= {reason.value for reason in Reason}
    assert sorted(found.values()) == list(range(len(found)))  # each number once, none left out


def test_verdicts_and_outcomes_and_planes_agree() -> None:
    assert source.numbers("rules", "VERDICT_") == {verdict.name: verdict.value for verdict in RuleVerdict}
    outcomes = source.numbers("events", "OUTCOME_")
    assert [name.lower() for name in sorted(outcomes, key=outcomes.__getitem__)] == [v.value for v in Verdict]
    flags = source.numbers("addresses", "ADDRESS_")
    assert (flags["KERNEL"], flags["SIDECAR"], flags["BYPASS"]) == (
        PlaneOf.SIDECARLESS,
        PlaneOf.SIDECAR,
        PlaneOf.BYPASS,
    )


def test_counters_have_numbers_of_their_own_within_the_array() -> None:
    found = source.numbers("counters", "COUNT_")
    assert sorted(found.values()) == list(range(len(found)))
    assert len(found) <= 64


def test_every_map_says_who_inserts_deletes_and_reads_and_is_in_the_table() -> None:
    table = (INCLUDE.parent / "README.md").read_text()
    for header in INCLUDE.glob("*.h"):
        text = header.read_text()
        maps = set(re.findall(r"^HASH\((\w+), \w+, \w+, \w+\);|PINNED\(\"\w+\", \"(\w+)\"\)", text, re.MULTILINE))
        for name in {first or second for first, second in maps} - {"name"}:
            assert f"| `{name}` |" in table, name
            for words in ("inserted in:", "deleted in:", "read in:", "Size:"):
                assert words in text, (header.name, words)


def test_every_file_says_its_licence() -> None:
    for path in INCLUDE.parent.rglob("*.[ch]"):
        first = path.read_text().splitlines()[0]
        assert first == "/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only OR Apache-2.0 */", path


def test_the_text_has_each_header_once() -> None:
    text = source.program(INCLUDE)
    assert "#include" not in re.sub(r"#include <uapi/linux/\w+\.h>", "", text)
    for header in INCLUDE.glob("*.h"):
        assert text.count(f"#define MESHLAB_{header.stem.upper()}_H") <= 1
