"""Which shapes a model may have, and what is said about the others."""

from typing import Any

import pytest

from llmcloud.api.contract import (
    Architecture,
    DatasetInput,
    DatasetManifest,
    ModelInput,
    ShardEntry,
    StoreLocation,
    TrainingTask,
)
from llmcloud.cloud.errors import ConfigurationInvalid
from llmcloud_runtime.configuration import (
    check_dataset,
    check_length,
    check_schedule,
    check_split,
    check_task,
    feed_forward_size,
    model_arguments,
)

STORE = StoreLocation(name="s", provider="aws", bucket="bucket")


def architecture(**changes: Any) -> Architecture:
    shape = {"family": "llama", "hidden_size": 64, "layers": 2, "heads": 4, "context_length": 128}
    return Architecture(**(shape | changes))


def task(**changes: Any) -> TrainingTask:
    members = {
        "job": "j",
        "namespace": "n",
        "owner_uid": "u",
        "attempt": 1,
        "recipe": "sha256:r",
        "code_version": "1",
        "task": "causal-lm",
        "method": "pretrain",
        "model": ModelInput(architecture=architecture()),
        "datasets": [DatasetInput(store=STORE, path="corpus/", name="corpus", version="sha256:v")],
        "output": STORE,
        "output_path": "out/",
        "learning_rate": 0.001,
        "warmup_steps": 10,
        "weight_decay": 0.0,
        "global_batch_size": 8,
        "precision": "auto",
        "seed": 0,
        "checkpoint_keep": 1,
        "metrics": [],
    }
    return TrainingTask(**(members | changes))


def manifest(**members: Any) -> DatasetManifest:
    shards = [ShardEntry(key="k", bytes=0, sha256="0", sequences=1)]
    return DatasetManifest(
        version="sha256:v",
        recipe="r",
        attempt=1,
        sources=[],
        documents=1,
        validation_documents=1,
        tokens=1,
        validation_tokens=1,
        sequence_length_tokens=128,
        vocabulary_size=256,
        end_of_text_id=0,
        rejected={},
        tokenizer_digest="sha256:t",
        tokenizer=[],
        train=shards,
        validation=shards,
        **members,
    )


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"heads": 5}, "heads is 5, which does not divide hiddenSize 64"),
        ({"hidden_size": 60, "heads": 4}, "need an even number"),
        ({"key_value_heads": 3}, "keyValueHeads is 3, which does not divide heads 4"),
        ({"family": "gpt2", "key_value_heads": 2}, "not known to the family gpt2"),
        ({"family": "t5", "heads": 3}, "heads is 3, which does not divide"),
    ],
)
def test_a_shape_that_cannot_exist_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationInvalid, match=said):
        model_arguments(architecture(**changes), 256, 0, 1)


def test_llama_without_key_value_heads_has_as_many_as_heads() -> None:
    assert model_arguments(architecture(), 256, 0, 1)["num_key_value_heads"] == 4


def test_gpt2_has_odd_head_sizes_if_asked_to() -> None:
    arguments = model_arguments(architecture(family="gpt2", hidden_size=60), 256, 7, 1)
    assert arguments["n_embd"] == 60
    assert arguments["eos_token_id"] == 7
    assert arguments["resid_pdrop"] == 0.0


@pytest.mark.parametrize(("hidden", "expected"), [(64, 192), (128, 352), (192, 512), (4096, 10944)])
def test_the_feed_forward_layer_is_eight_thirds_wide(hidden: int, expected: int) -> None:
    assert feed_forward_size(hidden) == expected


def test_a_decoder_begins_with_the_padding() -> None:
    assert model_arguments(architecture(family="t5"), 256, 7, 1)["decoder_start_token_id"] == 1


def test_a_family_for_another_task_is_refused() -> None:
    check_task(task())
    with pytest.raises(ConfigurationInvalid, match="llama does not do seq2seq; choose t5"):
        check_task(task(task="seq2seq"))


def test_a_dataset_for_another_task_is_refused() -> None:
    check_dataset(task(), "corpus", manifest())
    with pytest.raises(ConfigurationInvalid, match="of type pairs and"):
        check_dataset(task(), "corpus", manifest(type="pairs"))


def test_there_must_be_two_labels_to_choose_from() -> None:
    judge = task(task="sequence-classification")
    check_dataset(judge, "corpus", manifest(type="labeled", labels=["a", "b"]))
    with pytest.raises(ConfigurationInvalid, match="has 1 labels"):
        check_dataset(judge, "corpus", manifest(type="labeled", labels=["a"]))


def test_sequences_longer_than_the_context_are_refused() -> None:
    for context in (128, None):
        check_length("corpus", manifest(), context)
    with pytest.raises(ConfigurationInvalid, match="contextLength to at least 128"):
        check_length("corpus", manifest(), 127)


def test_examples_are_cut_to_the_context_instead() -> None:
    check_length("corpus", manifest(type="labeled"), 16)


def test_there_must_be_something_to_learn_from() -> None:
    check_split("corpus", 1, "training")
    with pytest.raises(ConfigurationInvalid, match="less than one training sequence"):
        check_split("corpus", 0, "training")


def test_an_evaluation_needs_something_held_out() -> None:
    check_split("corpus", 1, "validation")
    with pytest.raises(ConfigurationInvalid, match="validationFraction"):
        check_split("corpus", 0, "validation")


def test_a_warmup_longer_than_the_training_is_refused() -> None:
    check_schedule(task(), 10)
    with pytest.raises(ConfigurationInvalid, match="warmupSteps is 10 and the training has 9"):
        check_schedule(task(), 9)
