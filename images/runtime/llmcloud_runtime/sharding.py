"""Weights, gradients and the optimizer's state spread over all ranks (FSDP2), where one cannot
hold them. Otherwise every rank has all of them (DDP), which needs less of the network.

Every layer is gathered when it is computed and let go again. To the Trainer it is a model that
transformers itself has sharded; what says so are private members of the pinned version.
"""

import copy
import logging
from typing import Any

import torch
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from transformers import PreTrainedModel
from transformers.distributed.configuration_utils import DistributedConfig

from llmcloud.api.contract import TrainingTask
from llmcloud_runtime.group import Group
from llmcloud_runtime.methods import ADAPTING
from llmcloud_runtime.resources import too_large
from llmcloud_runtime.training import precision_of

log = logging.getLogger(__name__)


def sharded(task: TrainingTask, model: PreTrainedModel, group: Group) -> "Shards | None":
    """The model, sharded from now on; None if every rank keeps all of it."""
    if not _wants_shards(task, model, group):
        return None
    log.info("Weights and optimizer are sharded over %d ranks", group.ranks)
    return Shards(model, group, precision_of(task.precision))


def _wants_shards(task: TrainingTask, model: Any, group: Group) -> bool:
    """Whether the model should be sharded: as the task says, else by its size.

    An adapter's base has no gradient and no optimizer's state: every rank holds it.
    """
    if group.ranks == 1 or task.method in ADAPTING or task.sharded is False:
        return False
    gpus = torch.cuda.is_available()
    memory_bytes = torch.cuda.get_device_properties(group.local_rank).total_memory if gpus else None
    return task.sharded is True or too_large(model.num_parameters(), memory_bytes)


class Shards:
    """A model that is sharded in place, layer by layer."""

    def __init__(self, model: PreTrainedModel, group: Group, dtype: torch.dtype) -> None:
        """`dtype`: what is computed in; gradients are summed in float32."""
        self._model, self._group = model, group
        self._kind, self._config = type(model), copy.deepcopy(model.config)
        device = "cuda" if torch.cuda.is_available() else "cpu"
        policy = {
            "mesh": init_device_mesh(device, (group.ranks,)),
            "mp_policy": MixedPrecisionPolicy(param_dtype=dtype, reduce_dtype=torch.float32),
        }
        kinds = set(model._no_split_modules or ())
        embeddings = model.get_input_embeddings()  # their weights may be the output's as well
        for module in model.modules():
            if type(module).__name__ in kinds and embeddings not in set(module.modules()):
                fully_shard(module, **policy)
        fully_shard(model, **policy)
        model.config.distributed_config = DistributedConfig(fsdp_size=group.ranks)
        model._is_distributed_loading_by_transformers = True
        model._is_fsdp_managed_module = True

    def whole(self) -> PreTrainedModel:
        """Of rank 0 the model with all of its weights; every rank must call it."""
        options = StateDictOptions(full_state_dict=True, cpu_offload=True)
        weights = get_model_state_dict(self._model, options=options)
        if not self._group.leads:
            return self._model
        device = next(self._model.parameters()).device
        model = self._kind(self._config)
        model.load_state_dict(weights)
        if model.can_generate():
            model.generation_config = self._model.generation_config
        return model.to(device)
