"""Programs that would train something else are refused, and so is what no program can be made of."""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from torch import nn

from tests.synthetic import adapted
from tests.test_session import config
from tightfit.commands.words import TRUST
from tightfit.models.adapters.mp_lora import MPLoRA, adapters_of
from tightfit.optimizers import p_rge
from tightfit.optimizers.base import Batch
from tightfit.optimizers.directions.independent import Independent
from tightfit.program import export, to_executorch
from tightfit.program import score as device_score
from tightfit.program import train as device_train
from tightfit.program.check import check, first_steps
from tightfit.program.formats import SUFFIXES, writer_for
from tightfit.program.manifest import Manifest, beside
from tightfit.program.program import TrainingStep
from tightfit.run.session import carry_out

from .test_programs import drawn, p_rge_config

OPTIMIZER = p_rge.PRGE(0.1, 1e-2, queries=2, direction=Independent("rademacher"))
SEED = 3
NOT_BY_CHANCE = 0.1234  # a number that no memory holds by chance


def checked(format_name: str, folder: Path, begin: float = 0.0) -> dict[str, float]:
    """What the check says of a small network's program. begin: the numbers in its adapters, at first."""
    torch.manual_seed(0)
    model = adapted(nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 3)), MPLoRA(3, 6), SEED)
    for adapter in adapters_of(model).values():
        adapter.B.data.fill_(begin)
    inputs = torch.randn(3, 8, 6)
    batches = [Batch(x, x[:, :3].argmax(dim=1), step, epoch=0.0) for step, x in enumerate(inputs)]
    reference = first_steps(OPTIMIZER, model, SEED, batches)
    step = TrainingStep(model, SEED, OPTIMIZER.direction.noise, OPTIMIZER.queries)
    path = folder / f"program{SUFFIXES[format_name]}"
    writer_for(format_name)(step, step.example(batches[0].inputs, batches[0].labels), path)
    shapes = {name: list(B.shape) for name, B in reference.adapters.items()}
    where = {"adapters": shapes, "starts": step.starts}
    return check(
        path,
        Manifest(format_name, path.name, "", "", SEED, OPTIMIZER.direction.noise, 8, [6], 2, **where, steps=3),
        reference,
    )


@pytest.mark.parametrize("format_name", SUFFIXES)
def test_a_program_begins_with_the_adapters_it_was_made_of(format_name: str, tmp_path: Path) -> None:
    distance = checked(format_name, tmp_path, NOT_BY_CHANCE)
    assert distance["losses"] < 1e-6
    assert distance["adapters"] < 1e-6


def test_a_program_whose_buffers_are_not_initialised_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(to_executorch, "mutated_placeholders", lambda edge: [])
    with pytest.raises(ValueError, match="the executorch program computes something else: after 3 steps its losses"):
        checked("executorch", tmp_path, NOT_BY_CHANCE)


Moves = tuple[torch.Tensor, torch.Tensor]  # the pending update (n,) and the probes (q, n)


def without_update(update: torch.Tensor, probes: torch.Tensor) -> Moves:
    return torch.zeros_like(update), probes


def with_the_opposite_update(update: torch.Tensor, probes: torch.Tensor) -> Moves:
    return -update, probes


def with_directions_exchanged(update: torch.Tensor, probes: torch.Tensor) -> Moves:
    return update, probes.flip(0)


def without_probes(update: torch.Tensor, probes: torch.Tensor) -> Moves:
    return update, torch.zeros_like(probes)


@pytest.mark.parametrize("spoil", [without_update, with_the_opposite_update, with_directions_exchanged, without_probes])
def test_a_program_that_trains_something_else_is_refused(
    spoil: Callable[[torch.Tensor, torch.Tensor], Moves], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = TrainingStep.moves
    monkeypatch.setattr(TrainingStep, "moves", lambda *arguments: spoil(*real(*arguments)))
    with pytest.raises(ValueError, match="the torch_export program computes something else"):
        checked("torch_export", tmp_path)


def test_nothing_is_left_of_a_program_that_was_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = carry_out(p_rge_config(tmp_path)).folder
    monkeypatch.setattr(TrainingStep, "moves", lambda self, *_: (torch.zeros_like(self.B), torch.zeros(2, 1)))
    with pytest.raises(ValueError, match="something else"):
        export.export(run, "torch_export", tmp_path / "program")
    assert list((tmp_path / "program").iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "run is missing; write run=…"),
        (["format=onnx", "run"], "run is no setting of export; write run; it has run, format, out, trust"),
        (["run=0123456789ab"], "run=0123456789ab is no folder, and 0 runs in"),
        (["run=.", "format=tflite"], "format='tflite' is no format of programs; choose executorch, onnx, torch_export"),
        (["run=."], ". holds no run that began; name the folder or the key of one"),
    ],
)
def test_what_cannot_be_exported_is_told(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setenv("TIGHTFIT_RUNS", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert export.main(arguments) == 2
    assert message in capsys.readouterr().err


def test_a_run_without_adapters_or_with_noise_of_pytorch_is_told_so(tmp_path: Path, capsys: Any) -> None:
    backpropagated = carry_out(config(tmp_path)).folder
    assert export.main([f"run={backpropagated}", "format=torch_export", TRUST]) == 2
    assert "optimizer=bp_sgd is nothing a program does; export a run of optimizer=p_rge" in capsys.readouterr().err
    plain = carry_out(p_rge_config(tmp_path, direction=drawn("torch_gaussian"))).folder
    assert export.main([f"run={plain}", "format=torch_export", TRUST]) == 1
    assert "train with optimizer/direction=gaussian or rademacher or gaussian_fast" in capsys.readouterr().err


@pytest.mark.parametrize(("format_name", "library"), [("executorch", "executorch.exir"), ("onnx", "onnxscript")])
def test_a_missing_library_is_told_with_how_to_install_it(
    format_name: str, library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ValueError, match=rf"programs need {library}.*; pip install 'tightfit\[export\]'"):
        writer_for(format_name)


def test_a_run_that_cannot_be_a_program_is_refused_before_the_exporter_is_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backpropagated = carry_out(config(tmp_path)).folder
    monkeypatch.setitem(sys.modules, "executorch.exir", None)
    for folder, message in {tmp_path: "holds no run that began", backpropagated: "is nothing a program does"}.items():
        with pytest.raises(ValueError, match=message):
            export.export(folder, "executorch", tmp_path / "program")


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("program")
    return export.export(carry_out(p_rge_config(folder)).folder, "torch_export", folder / "program")


def copy_of(program: Path, folder: Path) -> Path:
    return Path(shutil.copytree(program.parent, folder / "program")) / program.name


def refusal(capsys: Any, *arguments: str) -> str:
    assert device_train.main(list(arguments)) in (1, 2)
    return capsys.readouterr().err


def test_a_damaged_program_is_refused(program: Path, tmp_path: Path, capsys: Any) -> None:
    damaged = copy_of(program, tmp_path)
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    assert "is damaged: its sha256 is not the one in program.json; export the run again" in refusal(
        capsys, f"program={damaged}"
    )


def test_a_manifest_that_is_missing_cut_or_of_another_version_is_refused(
    program: Path, tmp_path: Path, capsys: Any
) -> None:
    copied = copy_of(program, tmp_path)
    whole = beside(copied).read_text()
    beside(copied).write_text(whole[:-9])
    assert "program.json is not valid JSON" in refusal(capsys, f"program={copied}")
    beside(copied).write_text(whole.replace('"schema": 2', '"schema": 1'))
    assert "program.json has schema 1, this version reads 2" in refusal(capsys, f"program={copied}")
    beside(copied).unlink()
    assert "program.json does not exist; a program and its .json are written by" in refusal(capsys, f"program={copied}")


def test_data_that_are_missing_damaged_or_of_another_program_are_refused(
    program: Path, tmp_path: Path, capsys: Any
) -> None:
    data = load_file(program.parent / export.DATA)
    elsewhere = tmp_path / "data.safetensors"
    call = [f"program={program}", f"data={elsewhere}", f"out={tmp_path}"]
    assert "data.safetensors does not exist" in refusal(capsys, *call)
    elsewhere.write_bytes(b"no tensors")
    assert "is no file of batches" in refusal(capsys, *call)
    save_file({**data, "inputs": np.ascontiguousarray(data["inputs"][:, :-1])}, elsewhere)
    assert "name the file exported with it" in refusal(capsys, *call)


def test_a_diverging_program_and_impossible_numbers_are_told(program: Path, tmp_path: Path, capsys: Any) -> None:
    call = [f"program={program}", f"out={tmp_path}"]
    assert "steps=13 but the data file has batches for 12; choose 1–12" in refusal(capsys, *call, "steps=13")
    assert "threads=0 is no whole number from 1" in refusal(capsys, *call, "threads=0")
    data = load_file(program.parent / export.DATA)
    save_file({**data, "lr": np.full(12, np.inf)}, tmp_path / "data.safetensors")
    assert "loss is nan at step 1; lower the learning rate" in refusal(
        capsys, *call, f"data={tmp_path / 'data.safetensors'}"
    )


def test_adapters_of_another_model_are_refused(program: Path, tmp_path: Path, capsys: Any) -> None:
    adapters = tmp_path / "adapters.safetensors"
    save_file({"lm.B": np.zeros((2, 2), dtype=np.float32)}, adapters)
    run = next(program.parents[1].glob("scratch/*"))
    assert device_score.main([f"run={run}", f"adapters={adapters}", TRUST]) == 1
    assert "does not fit the run's model" in capsys.readouterr().err
