"""From configuration to ended run, in process: failures of the machine are recorded and nothing is lost."""

import errno
import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.rewritten import rewritten
from tests.synthetic import bars
from tightfit.datasets.dataset import DataUnavailable
from tightfit.launch.reproduce import plan
from tightfit.models import widening
from tightfit.models.adapters.adapter import NoAdapter
from tightfit.numerics.int8 import matmul as integer_matmul
from tightfit.numerics.noise import streams
from tightfit.records.record import read_evals, read_run
from tightfit.run import checkpoint
from tightfit.run import loop as runner
from tightfit.run.keys import run_folder
from tightfit.run.parts import choose_device
from tightfit.run.pretraining import NO_ADAPTER
from tightfit.run.session import build_model, carry_out

FULL = OSError(errno.ENOSPC, "No space left on device")


def config(runs: Path, **changes: Any) -> dict[str, Any]:
    return {
        "experiment": "scratch",
        "profile": "smoke",
        "cell": None,
        "seed": 0,
        "device": "cpu",
        "threads": 1,
        "training": {"epochs": 4, "evaluations": 4, "batch_size": 16},
        "pretraining": None,
        "paths": {"runs": str(runs)},
        "adapter": NO_ADAPTER,
        "optimizer": {
            "_target_": "tightfit.optimizers.bp.Backprop",
            "name": "bp_sgd",
            "rule": {"_target_": "tightfit.optimizers.rules.sgd.SGD"},
            "lr": 0.05,
        },
        "model": {"_target_": "tightfit.models.lenet5.lenet5", "name": "lenet5"},
        "dataset": {"_target_": "tests.synthetic.bars", "name": "bars"},
        "memory_budget": {"_target_": "tightfit.memory.budget.MemoryBudget", "name": "unlimited"},
        "tracker": {"_target_": "tightfit.tracking.local.LocalOnly"},
        **changes,
    }


INTEGERS = {"_target_": "tightfit.models.lenet5_int8.lenet5_int8", "name": "lenet5_int8"}


def test_on_a_gpu_convolutions_multiply_whole_float32_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    choose_device({"device": "cuda", "threads": 1})
    assert not torch.backends.cudnn.allow_tf32


@pytest.mark.parametrize(
    ("asked", "fast", "means"), [("auto", False, "float32"), ("auto", True, "int8"), ("int8", False, "int8")]
)
def test_means_of_multiplying_integers_are_on_record(
    asked: str, fast: bool, means: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(integer_matmul, "has_fast_int8", lambda: fast)
    monkeypatch.setattr(integer_matmul, "int8_is_exact", lambda: True)
    niti = {"_target_": "tightfit.optimizers.niti_bp.NITIBP", "name": "niti_bp", "bits": 5}
    training = {"epochs": 1, "evaluations": 1, "batch_size": 48}
    described = config(tmp_path, model={**INTEGERS, "backend": asked}, optimizer=niti, training=training)
    record = read_run(carry_out(described).folder)
    assert record is not None
    assert record.machine["choices"]["backend"] == means
    assert record.machine["capability"] == torch.backends.cpu.get_cpu_capability()


@pytest.mark.parametrize(("numba", "kernel"), [(True, "fused"), (False, "portable")])
def test_the_kernel_of_sweeps_is_on_record(
    numba: bool, kernel: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "has_numba", lambda: numba)
    mezo = {"_target_": "tightfit.optimizers.mezo.MeZO", "name": "mezo", "lr": 1e-3, "eps": 1e-3}
    record = read_run(carry_out(config(tmp_path, optimizer=mezo)).folder)
    assert record is not None
    assert record.machine["choices"] == {"kernel": kernel}


@pytest.mark.parametrize(("fast", "chosen"), [(True, "bfloat16"), (False, "float32")])
def test_what_is_left_to_the_machine_is_settled_before_the_key_is_made(
    fast: bool, chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(widening, "has_fast_16_bits", lambda _: fast)
    words = ["model=llama_tiny", "dataset=vader", "model.dtype=bfloat16"]
    (left,), (said,) = plan(words), plan([*words, f"model.compute={chosen}"])
    assert left.config["model"]["compute"] == chosen
    assert left.folder == said.folder
    (on_cuda,) = plan([*words, "device=cuda"])
    assert on_cuda.config["model"]["compute"] == "bfloat16"


def test_a_type_that_cannot_be_computed_in_is_refused_before_anything_is_built() -> None:
    with pytest.raises(ValueError, match=r"model.compute='float16' but the weights are held in float32; choose"):
        plan(["model=llama_tiny", "dataset=vader", "model.compute=float16"])


def test_full_disk_fails_with_the_reason_and_a_later_run_continues(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = carry_out(config(tmp_path / "whole"))
    saves: list[Path] = []
    real = checkpoint.seal

    def seal(path: Path, key: str, state: dict[str, Any]) -> None:
        saves.append(path)
        if len(saves) == 3:
            raise FULL
        real(path, key, state)

    monkeypatch.setattr(checkpoint, "seal", seal)
    outcome = carry_out(config(tmp_path / "full"))
    record = read_run(outcome.folder)
    assert outcome.status == "failed"
    assert record is not None
    assert "No space left on device" in record.reason
    assert len(read_evals(outcome.folder)) == 4
    monkeypatch.setattr(checkpoint, "seal", real)
    again = carry_out(config(tmp_path / "full"))
    digests = [json.loads((o.folder / "run.json").read_text())["summary"]["weights_sha256"] for o in (whole, again)]
    assert digests[0] == digests[1]


def test_full_disk_at_the_record_itself_is_told_and_does_not_hide_the_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> None:
        raise FULL

    monkeypatch.setattr(runner, "append_eval", full)
    monkeypatch.setattr("tightfit.run.attempt.write_run", full)
    outcome = carry_out(config(tmp_path))
    assert outcome.status == "failed"
    assert "free space and run again to continue" in capsys.readouterr().err


def test_data_that_cannot_be_had_is_a_failed_run_with_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unavailable(**_: object) -> None:
        raise DataUnavailable("bars cannot be had: no route led to it")

    monkeypatch.setattr("tests.synthetic.bars", unavailable)
    outcome = carry_out(config(tmp_path))
    record = read_run(outcome.folder)
    assert record is not None
    assert (record.status, record.reason) == ("failed", "DataUnavailable: bars cannot be had: no route led to it")


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError(
            "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 5 bytes\nframes"
        ),
    ],
    ids=["python", "torch"],
)
def test_memory_that_runs_out_is_a_failed_run_with_one_line(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exhausted(*_: object) -> None:
        raise error

    monkeypatch.setattr("tightfit.run.session.run", exhausted)
    outcome = carry_out(config(tmp_path))
    assert outcome.status == "failed"
    assert "\n" not in outcome.reason
    assert outcome.reason.endswith(
        "; memory ran out, so free some, or choose a smaller training.batch_size or another method"
    )


def test_a_number_that_no_type_holds_is_a_failed_run_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def overflowing(*_: object) -> None:
        raise RuntimeError("value cannot be converted to type float without overflow")

    monkeypatch.setattr("tightfit.run.session.run", overflowing)
    outcome = carry_out(config(tmp_path))
    assert outcome.status == "failed"
    assert outcome.reason.endswith("; a setting is too large a number, so lower the learning rate or what else was set")


@pytest.mark.parametrize("rule", ["sgd.SGD", "adam.Adam"])
def test_a_rate_that_no_float_holds_is_a_failed_or_diverged_run(rule: str, tmp_path: Path) -> None:
    by = {"_target_": f"tightfit.optimizers.rules.{rule}"}
    described = {"_target_": "tightfit.optimizers.bp.Backprop", "name": "bp", "rule": by, "lr": 1e300}
    outcome = carry_out(config(tmp_path, optimizer=described))
    assert outcome.status in ("failed", "diverged")
    assert re.search("loss is nan|too large a number", outcome.reason)


MEZO = {"_target_": "tightfit.optimizers.mezo.MeZO", "name": "mezo", "lr": 1e-4, "eps": 1e-3}
PRGE = {"_target_": "tightfit.optimizers.p_rge.PRGE", "name": "p_rge", "lr": 1e-4, "eps": 1e-3}
INT8 = {"_target_": "tightfit.optimizers.elastic_zo_int8.ElasticZOInt8", "name": "zo_int8", "r_max": 15, "p_zero": 0.3}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"optimizer": {**PRGE, "eps": 0}}, "optimizer.eps=0 is not more than 0"),
        ({"optimizer": {**MEZO, "eps": "x"}}, "optimizer.eps='x' is neither a number nor a schedule"),
        ({"optimizer": {**MEZO, "clip": -1}}, "optimizer.clip=-1 is not more than 0"),
        ({"optimizer": {**INT8, "p_zero": 1.5}}, "optimizer.p_zero=1.5 is not from 0 to less than 1"),
    ],
)
def test_impossible_settings_are_a_failed_run_with_one_clear_reason(
    changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    outcome = carry_out(config(tmp_path, **changes))
    assert outcome.status == "failed"
    assert outcome.reason.startswith(f"ValueError: {message}")
    assert read_run(outcome.folder).reason == outcome.reason  # type: ignore[union-attr]


def test_a_place_that_cannot_be_written_is_named_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("a file")
    with pytest.raises(ValueError, match=r"runs/scratch/\w+ cannot be written .*; choose a place by paths.runs=…"):
        carry_out(config(tmp_path / "runs"))


def test_a_tracker_that_cannot_be_built_leaves_no_record(tmp_path: Path) -> None:
    tracker = {"_target_": "tightfit.tracking.wandb.WandbTracker", "mode": "x"}
    with pytest.raises(ValueError, match=r"tracker.mode='x' is unknown; choose auto, online, offline or disabled"):
        carry_out(config(tmp_path, tracker=tracker))
    assert not list(tmp_path.rglob("run.json"))


def test_a_record_that_is_another_runs_is_refused(tmp_path: Path) -> None:
    folder = carry_out(config(tmp_path)).folder
    with rewritten(folder) as content:
        content["key"] = "0123456789ab"
    with pytest.raises(ValueError, match=r"run.json is the record of the run 0123456789ab, not of .*; put"):
        carry_out(config(tmp_path))


def test_a_checkpoint_that_cannot_be_read_is_named_with_the_remedy(tmp_path: Path) -> None:
    folder = run_folder(config(tmp_path))
    (folder / checkpoint.CHECKPOINT).mkdir(parents=True)
    reason = carry_out(config(tmp_path)).reason
    assert re.search(r"checkpoint.pt cannot be read \(Is a directory\); delete it to start the run again", reason)


def test_a_disk_that_is_full_names_the_file_and_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise FULL

    monkeypatch.setattr("os.fsync", full)
    reason = carry_out(config(tmp_path)).reason
    assert re.search(r"No space left on device: '.*evals.jsonl'; free space and run again to continue", reason)


def careless(classes: int, seed: int) -> nn.Module:
    """A network of somebody who forgot the seed."""
    del seed
    return nn.Sequential(nn.Flatten(), nn.Linear(784, classes))


def test_a_network_that_ignores_its_seed_begins_with_the_weights_of_the_runs_seed(tmp_path: Path) -> None:
    described = config(tmp_path, model={"name": "careless", "_target_": f"{__name__}.careless"})
    before = torch.get_rng_state()
    first, again, other = (build_model({**described, "seed": n}, bars(), None, NoAdapter()) for n in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first[1].weight, again[1].weight)
    assert not torch.equal(first[1].weight, other[1].weight)
