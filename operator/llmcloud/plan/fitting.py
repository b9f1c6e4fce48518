"""Whether a model from scratch fits what it is trained with: decided before a pod starts.

Lower bounds only: what is refused here could not be trained in any way.
"""

from llmcloud.api.dataset import LLMDatasetSpec
from llmcloud.api.model import ArchitectureSpec
from llmcloud.api.names import Reason
from llmcloud.api.training import LLMTrainingJobSpec
from llmcloud.plan.stores import Missing

BYTES_PER_WEIGHT = 16
"""The weight, its gradient and AdamW's two moments, 4 bytes each."""
_UNITS = {"m": 1e-3, "": 1.0}
_UNITS |= {unit: 1000.0 ** (power + 1) for power, unit in enumerate("kMGTP")}
_UNITS |= {f"{unit}i": 1024.0 ** (power + 1) for power, unit in enumerate("KMGTP")}


def quantity(text: str) -> float:
    """The number that a Kubernetes quantity stands for."""
    number = text.rstrip("mkMGTPKi")
    return float(number) * _UNITS[text.removeprefix(number)]


def fewest_weights(architecture: ArchitectureSpec) -> int:
    """Weights of the blocks' matrices, without embeddings, which depend on a tokenizer.

    Attention has 4 width^2 (less with fewer key-value heads) and the feed-forward layer 8 width^2;
    t5 has a decoder with one attention more beside as many blocks of an encoder.
    """
    square = architecture.hidden_size**2
    shared = (architecture.key_value_heads or architecture.heads) / architecture.heads
    block = (2 + 2 * shared + 8) * square
    if architecture.family == "t5":
        block += (4 + 4 + 8) * square
    return int(architecture.layers * block)


def memory_refusal(spec: LLMTrainingJobSpec) -> Missing | None:
    """Why no pod on CPUs could hold the model; None where one may, or accelerators hold it."""
    architecture = spec.model.architecture
    if architecture is None or spec.resources.accelerator is not None:
        return None
    needed_bytes = BYTES_PER_WEIGHT * fewest_weights(architecture)
    given_bytes = quantity(spec.resources.memory) * spec.nodes.max
    if needed_bytes <= given_bytes:
        return None
    return Missing(
        Reason.SPEC_INVALID,
        f"A model of spec.model.architecture's sizes needs at least {needed_bytes / 2**30:.1f} GiB "
        "for its weights, gradients and optimizer, and spec.resources.memory is "
        f"{spec.resources.memory} for each of at most {spec.nodes.max} nodes: raise it, or choose "
        "a smaller model.",
        stalled=True,
    )


def length_refusal(spec: LLMTrainingJobSpec, name: str, dataset: LLMDatasetSpec) -> Missing | None:
    """Why the dataset's packed sequences do not fit the model; None if they do."""
    architecture = spec.model.architecture
    if architecture is None or dataset.type != "text":
        return None
    if dataset.sequence_length <= architecture.context_length:
        return None
    return Missing(
        Reason.DATASET_UNSUITABLE,
        f"LLMDataset {name} has sequences of {dataset.sequence_length} tokens, and the model a "
        f"context of {architecture.context_length}: raise spec.model.architecture.contextLength to "
        f"at least {dataset.sequence_length}, or prepare a dataset with a smaller sequenceLength.",
        stalled=True,
    )
