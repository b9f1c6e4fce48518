"""Who refers to whom."""

from llmcloud.control.references import References


def test_a_target_knows_its_referrers() -> None:
    references: References[str] = References()
    references.note("job", ["dataset", "store"])
    references.note("dataset", ["store"])
    assert set(references.referrers("store")) == {"job", "dataset"}
    assert references.referrers("dataset") == ("job",)
    assert references.referrers("nobody") == ()


def test_a_later_note_replaces_the_earlier() -> None:
    references: References[str] = References()
    references.note("job", ["old", "kept"])
    references.note("job", ["kept", "new"])
    assert references.referrers("old") == ()
    assert references.referrers("kept") == references.referrers("new") == ("job",)


def test_nothing_is_left_of_what_is_gone() -> None:
    references: References[str] = References()
    references.note("job", ["store"])
    references.note("job", ["store"])
    references.note("job", [])
    assert (references._targets, references._referrers) == ({}, {})
