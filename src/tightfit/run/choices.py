"""What a run leaves to its machine, and how that chose: part of the evidence that its seconds carry."""

from __future__ import annotations

from tightfit.models.int8_layers import Int8Sequential
from tightfit.models.language_model import LanguageModel
from tightfit.numerics.int8 import arithmetic
from tightfit.numerics.noise.streams import kernel_on
from tightfit.optimizers.directions.independent import Independent
from tightfit.run.task import Task


def choices_for(task: Task) -> dict[str, str]:
    """By the name of the setting that leaves it to the machine, or of the part that does.

    backend: of integer products; sweeps: over integers; compute: the type a language model multiplies in; kernel: of
    perturbation. Pooling is no choice: one way is the faster one on every processor that was tried.
    """
    made: dict[str, str] = {}
    if isinstance(task.model, Int8Sequential):
        made["backend"] = task.model.backend_on(task.device)
        made["sweeps"] = "compiled" if arithmetic.compiled and task.device.type == "cpu" else "eager"
    if isinstance(task.model, LanguageModel):
        made["compute"] = str(task.model.computes_in).removeprefix("torch.")
    direction = getattr(task.optimizer, "direction", None)
    if isinstance(direction, Independent) and direction.noise != "torch_gaussian":
        made["kernel"] = kernel_on(direction.kernel, task.device)
    return made
