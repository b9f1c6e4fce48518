"""Which files of a model of the hub are downloaded."""

from huggingface_hub.utils._paths import filter_repo_objects

from llmcloud_runtime.hub import UNWANTED, WANTED


def test_the_weights_of_the_folder_itself_and_no_code() -> None:
    files = ["config.json", "model-00001-of-00002.safetensors", "tokenizer.model",
             "chat_template.jinja", "original/consolidated.00.safetensors",
             "onnx/model.safetensors", "modeling_x.py", "pytorch_model.bin"]  # fmt: skip
    found = filter_repo_objects(files, allow_patterns=list(WANTED), ignore_patterns=list(UNWANTED))
    assert list(found) == files[:4]
