"""What training makes small: cross-entropy, and the distance from a teacher.

Sums over all labels are divided by the number of labels in the whole optimizer step, so that the
gradient does not depend on how the batch is cut.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch.nn.functional import cross_entropy, kl_div, log_softmax, pad
from transformers import PreTrainedModel, TrainerState

from llmcloud_runtime.encoding import IGNORED
from llmcloud_runtime.snapshot import SnapshotTrainer


def aligned(
    logits: torch.Tensor, labels: torch.Tensor, *, shifted: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """Predictions and what they should be: (n, classes) in float32 and (n,).

    `shifted`: every position predicts the next one's label, and the last nothing. Logits before
    the first label, those of learned prompts, are left out. Others are not copied.
    """
    if labels.dim() > 1:
        if logits.shape[1] > labels.shape[1]:
            logits = logits[:, -labels.shape[1] :]
        if shifted:
            labels = pad(labels[:, 1:], (0, 1), value=IGNORED)
    return logits.reshape(-1, logits.shape[-1]).float(), labels.reshape(-1)


class Loss:
    """Cross-entropy; of a student also the divergence from its teacher:

    (1 - alpha) CE + alpha T^2 KL(teacher || student), both softened by the temperature T
    (G. Hinton, O. Vinyals and J. Dean, "Distilling the Knowledge in a Neural Network", 2015).
    `smoothing`: the share of every label's weight that all classes get alike (C. Szegedy et al.,
    "Rethinking the Inception Architecture for Computer Vision", 2016).
    """

    def __init__(
        self,
        *,
        shifted: bool,
        smoothing: float = 0.0,
        teacher: PreTrainedModel | None = None,
        temperature: float = 1.0,
        alpha: float = 0.0,
    ) -> None:
        self.shifted = shifted
        self._smoothing = smoothing
        self._teacher = teacher
        self._temperature = temperature
        self._alpha = alpha
        self._taught: torch.Tensor | None = None

    def listen(self, inputs: dict[str, Any]) -> None:
        """Let the teacher answer what the student is asked next."""
        if self._teacher is None:
            return
        teacher = self._teacher.to(inputs["input_ids"].device).eval()
        asked = {name: value for name, value in inputs.items() if name != "labels"}
        with torch.no_grad():
            self._taught = teacher(**asked).logits

    def __call__(
        self,
        outputs: Any,
        labels: torch.Tensor,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> torch.Tensor:
        logits, wanted = aligned(outputs["logits"], labels, shifted=self.shifted)
        count = num_items_in_batch
        if count is None:
            count = (wanted != IGNORED).sum()
        # Of a step without a label the loss is 0.
        count = count.clamp(min=1) if isinstance(count, torch.Tensor) else max(count, 1)
        options = {"ignore_index": IGNORED, "label_smoothing": self._smoothing}
        hard = cross_entropy(logits, wanted, reduction="sum", **options) / count
        if self._taught is None:
            return hard
        taught, _ = aligned(self._taught, labels, shifted=self.shifted)
        known = wanted != IGNORED
        soft = kl_div(
            log_softmax(logits[known] / self._temperature, dim=-1),
            log_softmax(taught[known] / self._temperature, dim=-1),
            reduction="sum",
            log_target=True,
        )
        weight = self._alpha * self._temperature**2
        return (1 - self._alpha) * hard + weight * soft / count


class TaskTrainer(SnapshotTrainer):
    """A Trainer with our loss, which hears the teacher first.

    `check` gets the state, the loss (summed since it was last logged) and the gradient's norm of
    every step, before the step is logged or saved.
    """

    def __init__(
        self, *, loss: Loss, check: Callable[[TrainerState, float, float], None], **members: Any
    ) -> None:
        super().__init__(compute_loss_func=loss, **members)
        self._listen, self._check = loss.listen, check
        # Labels are counted as the loss aligns them.
        self._loss_shifts_labels = loss.shifted

    def compute_loss(self, model: Any, inputs: dict[str, Any], *more: Any, **named: Any) -> Any:
        self._listen(inputs)
        return super().compute_loss(model, inputs, *more, **named)

    def _maybe_log_save_evaluate(
        self, tr_loss: torch.Tensor, grad_norm: float | None, *more: Any, **named: Any
    ) -> None:
        self._check(self.state, tr_loss.item(), grad_norm or 0.0)
        super()._maybe_log_save_evaluate(tr_loss, grad_norm, *more, **named)
