"""A first minute: the same network trained in three ways, and a picture of what that gave: `tightfit demo`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from tightfit.commands import DONE, FAILED, carry_out
from tightfit.commands.verbs import DEMO
from tightfit.commands.words import Said
from tightfit.records.places import analysis
from tightfit.run import session
from tightfit.run.composed import composed
from tightfit.run.faults import EXPECTED

# Constant rates that show learning within seconds; tuned ones are in experiments/.
METHODS = {
    "backpropagation": ("optimizer=bp_sgd", "optimizer.lr=0.05"),
    "hybrid (last layer by backpropagation)": ("optimizer=elastic_zo", "optimizer.lr=0.0005", "optimizer.bp_lr=0.05"),
    "MeZO (forward passes only)": ("optimizer=mezo", "optimizer.lr=0.001"),
}
COMMON = ("model=lenet5", "experiment=demo", "tracker=local", "dataset.test_limit=2000", "training.evaluations=12")
CALLED = {"hybrid (last layer by backpropagation)": "hybrid", "MeZO (forward passes only)": "MeZO"}


def main(words: Sequence[str]) -> int:
    return carry_out(DEMO, words, demo, EXPECTED)


def demo(said: Said) -> int:
    """Make the runs one after another, and draw them; the exit code."""
    seconds, dataset = said.settings["seconds"], said.settings["dataset"]
    common = (*COMMON, f"dataset={dataset}", f"training.seconds={seconds}")
    configs = {called: composed([*words, *common]) for called, words in METHODS.items()}
    print(
        f"{len(configs)} runs of {seconds} s of training, one after another; scoring takes up to a fifth beside, so "
        f"about {round(len(configs) * seconds * 1.2 + 5)} s in all\n"
    )
    start = time.perf_counter()
    folders: dict[str, Path] = {}
    for called, config in configs.items():
        print(f"{called}: tightfit run {' '.join([*METHODS[called], *common])}")
        outcome = session.carry_out(config)
        folders[CALLED.get(called, called)] = outcome.folder
        if outcome.status == "failed":
            return FAILED
        print()
    picture, *_ = analysis("lesson").write_lesson(folders, folders["MeZO"].parent / "demo")
    print(f"{picture}: the picture, after {time.perf_counter() - start:.0f} s")
    return DONE
