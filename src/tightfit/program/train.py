"""Train a program by a stock runtime, as a device would: `tightfit train-program program=…/program.pte`.

Neither the model's code nor autograd is here: batches are read from the file beside the program, one at a time, and
the host turns the two losses of each direction into the slope that the next call updates by.
"""

from __future__ import annotations

import json
import math
import time
from array import array
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from tightfit.commands import DONE, carry_out
from tightfit.commands.verbs import TRAIN_PROGRAM
from tightfit.commands.words import Said, WrongWords
from tightfit.memory.process import ProcessPeak
from tightfit.program.driver import Driver
from tightfit.program.manifest import Manifest, read_manifest
from tightfit.program.runtimes import library, open_program
from tightfit.records.record import write_atomically

ADAPTERS, LOSSES, COST = "adapters.safetensors", "losses.f32", "device_train.json"
LINES = 10  # of progress


class Batches:
    """The batches of a program's data file, read as they are asked for.

    Raises ValueError when the file is missing, is no such file, or belongs to a program of another shape.
    """

    def __init__(self, path: Path, manifest: Manifest) -> None:
        safetensors = library("safetensors")
        if not path.exists():
            raise WrongWords(f"{path} does not exist; tightfit export writes it beside the program")
        try:
            self._file: Any = safetensors.safe_open(path, framework="numpy")
            self._inputs, self._order = self._file.get_slice("inputs"), self._file.get_slice("order")
        except safetensors.SafetensorError as error:
            raise ValueError(f"{path} is no file of batches ({error}); export the run again") from error
        self._labels = self._file.get_tensor("labels")
        self._rates = [self._file.get_tensor(name) for name in ("lr", "eps", "clip")]
        self.steps, batch_size = self._order.get_shape()
        shape, taken = [batch_size, *self._inputs.get_shape()[1:]], [manifest.batch_size, *manifest.example_shape]
        if shape != taken:
            raise ValueError(
                f"{path} has batches of {shape} but the program takes {taken}; name the file exported with it"
            )

    def batch(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """Inputs (b, …) and labels (b,) of a step."""
        chosen = self._order[step : step + 1][0]
        return np.concatenate([self._inputs[index : index + 1] for index in chosen.tolist()]), self._labels[chosen]

    def rates(self, step: int) -> tuple[float, float, float]:
        """The rate lr, the length eps and the bound on slopes of a step."""
        lr, eps, clip = (float(rate[step]) for rate in self._rates)
        return lr, eps, clip


def train(program: Path, data: Path | None, steps: int | None, out: Path, threads: int) -> dict[str, float]:
    """Train for `steps` steps, all by default, and write what comes of it to the folder `out`; returns what it cost.

    Raises ValueError for files that do not fit together, more steps than there are, and a loss that is not finite.
    """
    with ProcessPeak() as opening:
        manifest = read_manifest(program)
        batches = Batches(data or program.parent / manifest.data, manifest)
        steps = batches.steps if steps is None else steps
        if not 1 <= steps <= batches.steps:
            choice = f"choose 1–{batches.steps}"
            raise WrongWords(f"steps={steps} but the data file has batches for {batches.steps}; {choice}")
        opened = open_program(program, manifest, threads)
    with ProcessPeak() as training:
        driver, watch = Driver(opened, manifest.queries), Stopwatch()
        losses = array("f")
        for step in range(steps):
            with watch:
                new = driver.step(*batches.batch(step), step, *batches.rates(step))
            losses.extend(new.tolist())
            show(step, steps, float(new.mean()), watch.seconds[-1])
        driver.flush(*batches.batch(steps - 1), steps, batches.rates(steps - 1)[1])
    write_adapters(out / ADAPTERS, opened.adapters(), manifest, steps)
    write_atomically(out / LOSSES, np.array(losses, dtype="<f4").tobytes())
    cost = {"steps": steps, **watch.medians(), **peaks(opening, training)}
    write_atomically(out / COST, json.dumps({"format": manifest.format, "threads": threads, **cost}).encode() + b"\n")
    return cost


class Stopwatch:
    """Times steps by the clock on the wall, and by that of the processor, which stops while others have the core."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self._cpu_seconds: list[float] = []

    def __enter__(self) -> None:
        self._began = time.perf_counter(), time.process_time()

    def __exit__(self, *_: object) -> None:
        wall, cpu = self._began
        self._cpu_seconds.append(time.process_time() - cpu)
        self.seconds.append(time.perf_counter() - wall)

    def medians(self) -> dict[str, float]:
        return {"median_step_seconds": median(self.seconds), "median_step_cpu_seconds": median(self._cpu_seconds)}


def peaks(opening: ProcessPeak, training: ProcessPeak) -> dict[str, int]:
    """The most that the process held, and the most while it trained, what opening left behind included."""
    return {"process_peak_bytes": max(opening.bytes, training.bytes), "training_peak_bytes": training.bytes}


def show(step: int, steps: int, loss: float, seconds: float) -> None:
    """A line now and then. Raises ValueError when the loss is not finite."""
    if not math.isfinite(loss):
        raise ValueError(f"loss is {loss} at step {step}; lower the learning rate of the run, and export it again")
    if step % -(-steps // LINES) == 0 or step == steps - 1:
        print(f"step {step + 1} of {steps}: loss {loss:.4f}, {seconds:.3f} s", flush=True)


def write_adapters(path: Path, adapters: dict[str, np.ndarray], manifest: Manifest, steps: int) -> None:
    metadata = {"run": manifest.run, "steps": str(steps), "format": manifest.format}
    write_atomically(path, library("safetensors.numpy").save(adapters, metadata))


def main(words: Sequence[str]) -> int:
    return carry_out(TRAIN_PROGRAM, words, train_as_told, (ValueError, OSError))


def train_as_told(said: Said) -> int:
    """Train the program that was said, and say what that cost; the exit code."""
    settings = said.settings
    program, data = Path(settings["program"]), settings["data"]
    out = Path(settings["out"] or program.parent)
    cost = train(program, Path(data) if data else None, settings["steps"], out, settings["threads"])
    print(
        f"{out / ADAPTERS}: after {cost['steps']} steps of {cost['median_step_seconds']:.3f} s (median), "
        f"the process held {cost['process_peak_bytes'] / 1e6:.0f} MB at most"
    )
    return DONE
