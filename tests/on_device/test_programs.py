"""A run as a program: driven by a stock runtime in a process of its own, it trains as the run did."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from tests.test_language_runs import REPEATED, SENTENCES, text_config, tiny_llama
from tightfit.optimizers.base import Batch
from tightfit.program.export import export, prepared
from tightfit.program.manifest import read_manifest
from tightfit.program.runtimes import RUNTIMES
from tightfit.program.score import score_adapters
from tightfit.program.train import ADAPTERS, COST, LOSSES
from tightfit.run import checkpoint
from tightfit.run.checkpoint import WEIGHTS
from tightfit.run.session import carry_out


def drawn(noise: str) -> dict[str, Any]:
    """Directions of `noise`, as a configuration has them."""
    return {"_target_": "tightfit.optimizers.directions.independent.Independent", "noise": noise}


P_RGE = {
    "_target_": "tightfit.optimizers.p_rge.PRGE",
    "name": "p_rge",
    "lr": {"_target_": "tightfit.optimizers.schedules.StepDecay", "initial": 0.5, "factor": 0.5, "every_epochs": 1},
    "eps": 0.05,
    "queries": 2,
    "direction": drawn("rademacher"),
}
ADAPTER = {
    "_target_": "tightfit.models.adapters.mp_lora.MPLoRA",
    "name": "mp_lora",
    "rank": 3,  # so that the last word of its noise is not used up
    "alpha": 6,
}
# Modules that a device does not have. PyTorch is among them where the runtime does not bring it.
ABSENT = ("tightfit.models", "tightfit.optimizers", "tightfit.numerics", "tightfit.run.loop", "transformers", "hydra")
DRIVEN = """
import sys
from tightfit.program.train import main
code = main(sys.argv[1:])
print("modules", *sys.modules)
sys.exit(code)
"""


def drawn_by(noise: str) -> dict[str, Any]:
    return {"direction": {**P_RGE["direction"], "noise": noise}}


def p_rge_config(runs: Path, **optimizer: Any) -> dict[str, Any]:
    model = tiny_llama()
    model["settings"] = {**model["settings"], "num_hidden_layers": 1}
    return text_config(
        runs,
        model=model,
        adapter=ADAPTER,
        dataset={**SENTENCES, "template": REPEATED},  # of several widths: the program's is fixed
        optimizer={**P_RGE, **optimizer},
        training={"epochs": 2, "evaluations": 2, "batch_size": 16},
    )


def driven(*arguments: str) -> subprocess.CompletedProcess[str]:
    """`tightfit.program.train` in a process of its own."""
    command = [sys.executable, "-c", DRIVEN, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def read_losses(folder: Path) -> np.ndarray:
    """What a device noted, (steps, 2q)."""
    return np.fromfile(folder / LOSSES, dtype="<f4").reshape(-1, 4)


def losses_of(folder: Path) -> np.ndarray:
    """The losses of the run in `folder`, which is made again, (steps, 2q)."""
    record, _, run = prepared(folder)
    run.bind()
    for step in range(record.summary["steps"]):
        run.learner.step(Batch(*run.batches.batch(step), step, run.epoch(step)))
    return np.array(run.losses.losses).reshape(-1, 4)


@dataclass(frozen=True)
class Driven:
    run: Path
    program: Path
    process: subprocess.CompletedProcess[str]

    def losses(self) -> np.ndarray:
        return read_losses(self.program.parent)

    def summary(self) -> dict[str, float]:
        return json.loads((self.run / "run.json").read_text())["summary"]


@pytest.fixture(scope="module", params=RUNTIMES)
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Driven:
    folder = tmp_path_factory.mktemp(request.param)
    run = carry_out(p_rge_config(folder)).folder
    program = export(run, request.param, folder / "program")
    return Driven(run, program, driven(f"program={program}"))


def test_the_losses_are_those_of_the_run(trained: Driven) -> None:
    assert trained.process.returncode == 0, trained.process.stderr
    ours, theirs = losses_of(trained.run), trained.losses()
    assert len(ours) == 12
    assert np.ptp(ours) > 1e-2
    # Slopes are differences of losses over 2 eps: they multiply rounding by ten, and every step adds to it.
    assert np.abs(ours - theirs).max() < 2e-5


def test_the_adapters_load_back_and_score_as_the_run_did(trained: Driven) -> None:
    result = score_adapters(trained.run, trained.program.parent / ADAPTERS)
    assert result.accuracy == trained.summary()["final_accuracy"]
    assert result.loss == pytest.approx(trained.summary()["final_loss"], abs=1e-5)


def test_the_manifest_says_the_arguments_of_a_call_in_order_with_their_types(trained: Driven) -> None:
    told = read_manifest(trained.program).arguments
    assert " ".join(told) == "inputs labels step lr eps slopes"
    assert list(told.values()) == ["int64"] * 3 + ["float32"] * 3
    if trained.program.suffix == ".onnx":  # whose file says so too
        from onnxruntime import InferenceSession

        named = {each.name: each.type for each in InferenceSession(trained.program).get_inputs()}
        letters = {"int64": "tensor(int64)", "float32": "tensor(float)"}
        assert {name: letters[kind] for name, kind in told.items()}.items() <= named.items()


def test_the_pending_update_is_in_the_adapters(trained: Driven) -> None:
    weights = checkpoint.load(trained.run / WEIGHTS)
    assert weights is not None
    adapters = load_file(trained.program.parent / ADAPTERS)
    assert adapters.keys() == {name for name in weights if name.endswith(".B")}
    for name, B in adapters.items():
        assert np.abs(B - weights[name].numpy()).max() < 1e-3 * weights[name].abs().max()


def test_the_process_has_neither_model_code_nor_autograd(trained: Driven) -> None:
    modules = trained.process.stdout.splitlines()[-1].split()
    absent = (*ABSENT, "torch") if trained.program.suffix == ".onnx" else ABSENT
    assert modules[0] == "modules"
    assert not [name for name in modules if name.startswith(absent)]


def test_what_training_cost_is_written(trained: Driven) -> None:
    cost = json.loads((trained.program.parent / COST).read_text())
    assert cost["steps"] == 12
    assert cost["median_step_seconds"] > 0
    assert cost["process_peak_bytes"] > trained.program.stat().st_size


def test_fewer_steps_are_the_first_of_them(trained: Driven, tmp_path: Path) -> None:
    assert driven(f"program={trained.program}", "steps=2", f"out={tmp_path}").returncode == 0
    assert np.array_equal(read_losses(tmp_path), trained.losses()[:2])


@pytest.mark.parametrize("noise", ["gaussian", "gaussian_fast"])
def test_a_program_of_numbers_by_quantiles_trains_as_the_run_did(noise: str, tmp_path: Path) -> None:
    run = carry_out(p_rge_config(tmp_path, direction=drawn(noise), parallel="none")).folder
    program = export(run, "torch_export", tmp_path / "program")
    assert driven(f"program={program}").returncode == 0
    assert score_adapters(run, program.parent / ADAPTERS).loss == pytest.approx(
        json.loads((run / "run.json").read_text())["summary"]["final_loss"], abs=1e-5
    )
