"""Whether several datasets can be learned from as one: what is known before a pod starts.

The pod compares the versions themselves.
"""

from collections.abc import Sequence
from itertools import pairwise

from llmcloud.api.dataset import LLMDatasetSpec
from llmcloud.api.names import Reason
from llmcloud.plan.stores import Missing

Known = tuple[str, LLMDatasetSpec, str | None]
"""Name, specification, and digest of the tokenizer where it is known."""


def mixture_refusal(datasets: Sequence[Known]) -> Missing | None:
    """Why datasets do not go together; None if they may."""
    for (name, one, _), (other_name, other, _) in pairwise(datasets):
        both = f"LLMDatasets {name} and {other_name} are learned from together and"
        members = {
            "type": (one.type, other.type),
            "sequenceLength": (one.sequence_length, other.sequence_length),
            "labels": (one.labels, other.labels),
        }
        for member, (mine, theirs) in members.items():
            if mine != theirs:
                message = (
                    f"{both} differ in spec.{member} ({mine} and {theirs}): prepare them alike, or "
                    "remove one from spec.datasets"
                )
                return Missing(Reason.DATASET_UNSUITABLE, message, stalled=True)
    known = [(name, tokenizer) for name, _, tokenizer in datasets if tokenizer is not None]
    for (name, tokenizer), (other_name, another) in pairwise(known):
        if tokenizer != another:
            message = (
                f"LLMDatasets {name} and {other_name} are learned from together and have other "
                "tokenizers: prepare both with the tokenizer of one model (spec.tokenizer.model), "
                "or remove one from spec.datasets"
            )
            return Missing(Reason.VOCABULARY_MISMATCH, message, stalled=True)
    return None
