"""Which engine runs a deployment's model, and on which nodes."""

from dataclasses import dataclass
from typing import Final, Literal

from llmcloud.api.contract import ModelKind
from llmcloud.api.deployment import LLMDeploymentSpec
from llmcloud.api.model import TaskName
from llmcloud.api.names import Reason
from llmcloud.plan.accelerators import Catalogue, NodeLabels
from llmcloud.plan.placement import Scheduling, schedule
from llmcloud.plan.stores import Missing

Program = Literal["vllm", "transformers", "custom"]
GENERATING: Final[tuple[TaskName | None, ...]] = ("causal-lm", None)
"""Tasks whose models vLLM runs if nobody says otherwise; None: a model from a store."""


GROUP_NAME_LENGTH: Final = 40
"""The names of StatefulSets' revisions, which are theirs and 11 characters, must fit a label."""


@dataclass(frozen=True)
class Chosen:
    """The engine, and where its pods run."""

    program: Program
    scheduling: Scheduling


def choose_engine(
    name: str,
    spec: LLMDeploymentSpec,
    task: TaskName | None,
    kind: ModelKind,
    catalogue: Catalogue,
    nodes: NodeLabels | None,
) -> Chosen | Missing:
    """The engine that `spec` names, or the one that fits the accelerator and the model's task.

    `name` is the LLMDeployment's.
    """
    program = _program(spec, task)
    refusal = _unsuitable(spec, program, task, kind) or _ungrouped(name, spec, program)
    if refusal is not None:
        return refusal
    scheduling = schedule(spec.resources, spec.placement, catalogue, nodes)
    return scheduling if isinstance(scheduling, Missing) else Chosen(program, scheduling)


def _program(spec: LLMDeploymentSpec, task: TaskName | None) -> Program:
    if spec.engine.name != "auto":
        return spec.engine.name
    accelerated = spec.resources.accelerator is not None
    return "vllm" if accelerated and task in GENERATING else "transformers"


def _unsuitable(
    spec: LLMDeploymentSpec, program: Program, task: TaskName | None, kind: ModelKind
) -> Missing | None:
    if kind != "full" and program != "custom":
        what = "an adapter" if kind == "adapter" else "a report without a model"
        return _refused(
            Reason.MODEL_UNSUITABLE,
            f"What the LLMTrainingJob of spec.model made is {what}: name the job of a full "
            "model, or train with lora.merge.",
        )
    if task == "seq2seq" and program != "custom":
        return _refused(
            Reason.MODEL_UNSUITABLE,
            "The model was trained for seq2seq, which neither vllm nor transformers serve: bring "
            "an image by spec.engine custom.",
        )
    if spec.adapters and (program == "custom" or task not in GENERATING):
        return _refused(
            Reason.MODEL_UNSUITABLE if program != "custom" else Reason.SPEC_INVALID,
            "spec.adapters are for models that write text, served by vllm or transformers: "
            "remove them.",
        )
    if program == "custom" and spec.engine.image is None:
        return _refused(Reason.SPEC_INVALID, "spec.engine custom needs an image: set it.")
    if program == "vllm" and spec.resources.accelerator is None:
        return _refused(
            Reason.SPEC_INVALID,
            "spec.engine vllm needs accelerators: set spec.resources.accelerator, or choose "
            "engine transformers.",
        )
    if program == "transformers" and (spec.resources.count or 1) > 1:
        return _refused(
            Reason.SPEC_INVALID,
            "Engine transformers uses one accelerator: set spec.resources.count to 1, or choose "
            "engine vllm.",
        )
    return None


def _ungrouped(name: str, spec: LLMDeploymentSpec, program: Program) -> Missing | None:
    """Why its replicas cannot be spread over several nodes."""
    if spec.nodes.max == 1:
        return None
    if program != "vllm" or spec.adapters:
        return _refused(
            Reason.SPEC_INVALID,
            "Only vllm, without adapters, spreads a replica over several nodes: set spec.nodes to "
            "1.",
        )
    if len(name) > GROUP_NAME_LENGTH:
        return _refused(
            Reason.SPEC_INVALID,
            f"With several nodes metadata.name may have {GROUP_NAME_LENGTH} characters, because "
            "the labels of pods are made of it: choose a shorter one.",
        )
    return None


def _refused(reason: Reason, message: str) -> Missing:
    return Missing(reason, message, stalled=True)
