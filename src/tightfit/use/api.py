"""A run in a few lines of Python, recorded as any other.

>>> import torch, tightfit
>>> draws = torch.Generator().manual_seed(0)
>>> inputs = torch.randn(400, 8, generator=draws)
>>> labels = (inputs[:, 0] > 0).long()
>>> net = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 2))
>>> settings = {"optimizer.lr": 0.01, "training.epochs": 10}
>>> result = tightfit.train(
...     model=net, data=(inputs, labels), optimizer="bp_adam", budget="64MB", seconds=60, settings=settings, quiet=True
... )
>>> result.status, result.accuracy > 0.9, result.memory["measured_peak_bytes"] < 64e6
('finished', True, True)
>>> seconds, accuracy = result.curve[-1]
>>> result.predict(torch.tensor([[-3.0] * 8, [3.0] * 8]))
['0', '1']

The same for data of your own on disk, or by name:

    tightfit.train("lenet5", "mnist", optimizer="mezo", budget="1MiB", seconds=60, settings={"optimizer.lr": 1e-3})
    tightfit.train("lenet5", "image_folder", settings={"dataset.folder": "pets"})
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import nullcontext, redirect_stdout
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tightfit.records.record import RunRecord, read_evals, read_run
from tightfit.run.composed import composed
from tightfit.run.given import Data, describe_data, describe_model
from tightfit.run.session import carry_out
from tightfit.use.trained import Trained, load


def train(
    model: nn.Module | str,
    data: Data | str,
    optimizer: str = "mezo",
    budget: str | None = None,
    seconds: float | None = None,
    *,
    seed: int = 0,
    device: str = "cpu",
    runs: str | Path = "runs",
    settings: Mapping[str, Any] | None = None,
    quiet: bool = False,
) -> Result:
    """Train `model` on `data` by `optimizer` within `budget`, for `seconds` of training, and record it in `runs`.

    model: a module, of which a copy is trained, or an option of `tightfit run`, such as "lenet5".
    data: inputs (n, …) and labels (n,), split 80/10/10 by a hash of the inputs; or {"train": (inputs, labels),
        "test": …}, also with "validation"; or an option, such as "mnist". Inputs are arrays or tensors, uint8 pixels or
        floats; a model sees them less their mean, over their standard deviation.
    optimizer: an option, such as "mezo", "elastic_zo", "bp_sgd" or "bp_adam".
    budget: a size, such as "64MB", or a device, such as "phone_4gb"; None is no limit.
    seconds: None trains `training.epochs`.
    settings: more of the words of a run, such as {"optimizer.lr": 1e-3, "training.batch_size": 64}.
    quiet: say nothing meanwhile.

    A run that ended is not made again: its result is read. One that diverged or was over its budget has a result too.
    Raises ValueError for what cannot be meant, and KeyboardInterrupt after an interrupted run was recorded.
    """
    words = [f"optimizer={optimizer}", "tracker=local", f"seed={seed}", f"device={device}", "experiment=python"]
    words += [f"memory_budget={budget}"] if budget is not None else []
    words += [f"model={model}"] if isinstance(model, str) else []
    words += [f"dataset={data}"] if isinstance(data, str) else []
    said = {"paths.runs": os.fspath(runs), **({"training.seconds": seconds} if seconds is not None else {})}
    config = composed(words, {**said, **(settings or {})})
    if not isinstance(data, str):
        config["dataset"] = describe_data(data)
    if not isinstance(model, str):
        config["model"] = describe_model(model)
    with redirect_stdout(None) if quiet else nullcontext():
        outcome = carry_out(config)
    record = read_run(outcome.folder)
    assert record is not None  # it was written by the run
    return Result(outcome.folder, record)


@dataclass(frozen=True)
class Result:
    """How a run ended, and what it left in `folder`."""

    folder: Path
    record: RunRecord

    @property
    def status(self) -> str:
        """finished, diverged, over_budget or failed."""
        return self.record.status

    @property
    def reason(self) -> str:
        """Why the run ended so; empty where it just finished."""
        return self.record.reason

    @property
    def accuracy(self) -> float | None:
        """At the end, a fraction; None for a run that never trained."""
        return self.record.summary.get("final_accuracy")

    @property
    def curve(self) -> list[tuple[float, float]]:
        """Seconds of training and accuracy, a fraction, at each evaluation, from the one before training on."""
        scored = self.record.dataset.get("scored", "test")
        return [(row["train_seconds"], row[f"{scored}_accuracy"]) for row in self.evaluations]

    @property
    def evaluations(self) -> list[dict[str, Any]]:
        """All that is on record of each evaluation."""
        return read_evals(self.folder)

    @property
    def memory(self) -> dict[str, Any]:
        """Bytes: what the method needs by its formula (`analytic`), and what was measured (`measured_peak_bytes`)."""
        return self.record.memory

    @property
    def model(self) -> nn.Module:
        """The trained model, which takes inputs as training did: see `train`. `predict` takes them as the data do."""
        return self._trained.model

    @torch.no_grad()
    def predict(self, inputs: Any) -> list[str]:
        """The label of each of `inputs`, (n, …) as the data have them; texts are answered by `tightfit predict`."""
        run = self._trained
        if run.tokenizer is not None:
            raise ValueError(f'the run reads texts; write tightfit predict run={self.folder} text="…"')
        chosen = run.model(run.encode(torch.as_tensor(inputs))).argmax(dim=1)
        return [run.labels[number] for number in chosen.tolist()]

    @cached_property
    def _trained(self) -> Trained:
        return load(self.folder)

    @property
    def weights(self) -> dict[str, Any]:
        """Those of the trained model, by name."""
        return self.model.state_dict()
