"""Which files of a repository a config and a split mean."""

from typing import Any

import pytest

from llmcloud.cloud.errors import ConfigurationInvalid
from llmcloud_data.hub import Choice, format_of

PATHS = ["large/test-0.parquet", "large/train-0.parquet", "large/train-1.parquet",
         "small/train-0.parquet", "training.csv"]  # fmt: skip


def config(name: str, data_files: Any, **more: Any) -> dict[str, Any]:
    return {"config_name": name, "data_files": data_files, **more}


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (Choice(None, None), [PATHS[1], PATHS[2], PATHS[3]]),
        (Choice("large", None), [PATHS[1], PATHS[2]]),
        (Choice("large", "test"), [PATHS[0]]),
        (Choice("small", "test"), []),
        (Choice("nowhere", None), []),
    ],
)
def test_paths_tell_where_no_card_does(choice: Choice, expected: list[str]) -> None:
    assert choice.of(PATHS, []) == expected


def test_all_files_are_read_where_no_split_is_told_apart() -> None:
    assert Choice(None, None).of(["a.txt", "b.txt"], []) == ["a.txt", "b.txt"]
    assert Choice(None, "test").of(["a.txt", "b.txt"], []) == []


@pytest.mark.parametrize(
    "data_files",
    [
        "large/train-*",
        ["large/train-0.parquet", "large/train-1.parquet"],
        {"train": "large/train-*", "test": "large/test-*"},
        [{"split": "test", "path": "large/test-*"}, {"split": "train", "path": ["large/train-*"]}],
        [{"split": "other", "path": "large/train-*"}],
    ],
)
def test_a_card_may_write_its_files_in_any_of_its_forms(data_files: Any) -> None:
    assert Choice(None, None).of(PATHS, [config("only", data_files)]) == PATHS[1:3]


def test_a_config_must_be_chosen_where_none_is_the_default() -> None:
    both = [config("large", "large/*"), config("small", "small/*")]
    with pytest.raises(ConfigurationInvalid, match=r"hub\.config must be one of large, small"):
        Choice(None, None).of(PATHS, both)
    with pytest.raises(ConfigurationInvalid, match="not tiny"):
        Choice("tiny", None).of(PATHS, both)
    assert Choice("small", None).of(PATHS, both) == [PATHS[3]]
    default = [*both[:1], config("small", "small/*", default=True)]
    assert Choice(None, None).of(PATHS, default) == [PATHS[3]]


def test_a_suffix_tells_the_format() -> None:
    paths = ["a.parquet", "b.jsonl.gz", "c.JSON", "d.csv.zst", "e.txt", "f.py", "README.md"]
    assert [format_of(path) for path in paths] == [
        "parquet", "jsonl", "jsonl", "csv", "text", None, None
    ]  # fmt: skip
