"""What a run starts from where that is no fresh model: a finished run, or a folder that one was exported to.

A run's key names the weights by their sha256, so that other weights in the same place are another run.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from tightfit.commands.words import WrongWords
from tightfit.records.record import read_run, require
from tightfit.run.folders import folder_of

if TYPE_CHECKING:  # names are looked up without waiting for torch
    import torch
    from torch import nn

EXPORTED = "model.safetensors"


def named(said: Any) -> Any:
    """`said` as a configuration has it: a name, and the sha256 of the weights that are there now.

    Raises ValueError where there are none.
    """
    if said is None or isinstance(said, Mapping):
        return said
    folder = folder_of(str(said), "start_from")
    record = read_run(folder)
    if record is not None:
        if record.status != "finished":
            raise WrongWords(f"start_from={said} is a run that ended as {record.status}; name one that finished")
        require(folder, record, "summary.weights_sha256")
        return {"name": str(said), "sha256": record.summary["weights_sha256"]}
    if not (folder / EXPORTED).exists():
        raise WrongWords(
            f"start_from={said} holds neither a run nor {EXPORTED}; write one by tightfit export format=safetensors. "
            "Folders of transformers or peft are models: model=hf_causal_lm model.name=FOLDER"
        )
    return {"name": str(said), "sha256": hashlib.sha256((folder / EXPORTED).read_bytes()).hexdigest()}


def take_start(model: nn.Module, start: Mapping[str, str], adapt: Callable[[], object]) -> None:
    """Give `model` the weights of `start`, before or after `adapt` puts an adapter into it, as they have one or not.

    Only tensors are read, never code. Raises ValueError when they are gone, others, or of another model.
    """
    weights = weights_of(start)
    adapted = weights.keys() != model.state_dict().keys()
    if adapted:
        adapt()
    try:
        model.load_state_dict(weights)
    except (TypeError, RuntimeError) as error:
        odd = sorted(weights.keys() ^ model.state_dict().keys())
        differs = f"such as {odd[0]}" if odd else "in their shapes"
        raise ValueError(
            f"start_from={start['name']} holds weights of another model or adapter ({differs}); choose the model, the "
            "adapter and the answers that it was trained with"
        ) from error
    if not adapted:
        adapt()


def weights_of(start: Mapping[str, str]) -> dict[str, torch.Tensor]:
    """By name. Raises ValueError unless they are there as they were when `start` was said."""
    from tightfit.run import checkpoint

    folder = folder_of(start["name"], "start_from")
    if read_run(folder) is not None:
        weights = checkpoint.load(folder / "weights.pt")
        if weights is None:
            raise ValueError(f"{folder} keeps no weights; run it with training.keep=weights")
        found = checkpoint.digest(weights)
    else:
        from safetensors.torch import load  # of the extra `lm`

        content = (folder / EXPORTED).read_bytes()
        weights, found = load(content), hashlib.sha256(content).hexdigest()
    if found != start["sha256"]:
        raise ValueError(
            f"start_from={start['name']} holds other weights (sha256 {found[:12]}…) than the run began with "
            f"({start['sha256'][:12]}…); put them back"
        )
    return weights
