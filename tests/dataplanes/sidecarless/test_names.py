"""Numbers that outlive who gave them."""

from __future__ import annotations

from pathlib import Path

from meshlab.dataplanes.sidecarless.names import Names


def test_a_name_keeps_its_number_over_agents_and_no_number_has_two_names(tmp_path: Path) -> None:
    first = Names(tmp_path / "names.json")
    named = [("pod", "shop/web-1", "u1"), ("identity", "spiffe://x"), ("pod", "y", "u")]
    assert [first.number(*words) for words in named] == [1, 2, 3]
    assert first.number("pod", "shop/web-1", "u1") == 1
    first.save()
    heir = Names(tmp_path / "names.json")
    assert heir.number("identity", "spiffe://x") == 2
    assert heir.number("pod", "shop/web-1", "u2") == 4
    assert (heir.words(1), heir.words(0), heir.words(99)) == (["shop/web-1", "u1"], [], [])


def test_what_was_not_saved_was_never_given(tmp_path: Path) -> None:
    Names(tmp_path / "names.json").number("a", "b")
    assert Names(tmp_path / "names.json").words(1) == []
