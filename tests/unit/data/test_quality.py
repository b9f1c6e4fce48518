"""The quality of the steps on a small planted corpus; `make bench-data` measures a large one."""

from pathlib import Path

from tests.support.corpus import DECOYS, TEMPLATES, documents, half
from tests.support.near_copies import planted, remove
from tests.support.redactions import scores


def test_the_parts_share_no_template() -> None:
    for items in (DECOYS, *TEMPLATES.values()):
        assert not set(half(items, "tuned")) & set(half(items, "test"))
        assert set(half(items, "tuned")) | set(half(items, "test")) == set(items)


def test_the_same_seed_gives_the_same_documents() -> None:
    assert list(documents("tuned", 5, seed=1)) == list(documents("tuned", 5, seed=1))
    assert list(documents("tuned", 5, seed=1)) != list(documents("tuned", 5, seed=2))


def test_planted_personal_data_is_found_and_decoys_stay() -> None:
    found = scores(documents("tuned", 150, seed=1))
    assert min(score["f2"].value for score in found.values()) >= 0.9
    assert min(found[entity]["f2"].value for entity in ("creditCard", "iban", "nationalId")) >= 0.95


def test_planted_duplicates_are_found(tmp_path: Path) -> None:
    removed = remove(planted(200, seed=1), 0.8, tmp_path)
    assert removed.copies == 1
    assert removed.alike >= 0.98
    assert removed.apart <= 0.01
