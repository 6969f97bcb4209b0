"""A zeroth-order run leaves its losses, and they rebuild its weights; checkpoints may be losses too."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.rewritten import rewritten
from tightfit.commands.words import TRUST
from tightfit.optimizers.base import Batch
from tightfit.program.export import main as export
from tightfit.program.score import main as score_program
from tightfit.records.record import read_run
from tightfit.run import checkpoint
from tightfit.run.checkpoint import CHECKPOINT, REPLAY_LOG, WEIGHTS
from tightfit.run.gain import main as gain
from tightfit.run.loss_log import LossLog
from tightfit.run.replay import main, rebuild
from tightfit.run.session import carry_out
from tightfit.run.start import EXPORTED
from tightfit.use.predict import main as predict
from tightfit.use.score import main as score

from .killing import killed_at_second_checkpoint
from .test_language_runs import text_config
from .test_session import config

MEZO = {"_target_": "tightfit.optimizers.mezo.MeZO", "name": "mezo", "lr": 1e-4, "eps": 1e-3, "queries": 2}
PRGE = {**MEZO, "_target_": "tightfit.optimizers.p_rge.PRGE", "name": "p_rge"}
MP_LORA = {"_target_": "tightfit.models.adapters.mp_lora.MPLoRA", "name": "mp_lora", "rank": 2, "alpha": 4}
DESCENTS = "tightfit.optimizers.descents."
ADAM = {**MEZO, "name": "adam", "descent": {"_target_": DESCENTS + "adam.Adam"}}
ONE_SIDED = {
    **MEZO,
    "_target_": "tightfit.optimizers.one_sided.OneSided",
    "name": "one_sided",
    "descent": {"_target_": DESCENTS + "normalised.Normalised"},
}
ADAMU = {**MEZO, "_target_": "tightfit.optimizers.zo_adamu.ZOAdaMU", "name": "adamu", "queries": 1, "epochs": 4}
DIRECTIONS: dict[str, dict[str, Any]] = {
    "sparse": {"_target_": "tightfit.optimizers.directions.sparse.Sparse", "keep": 0.5},
    "low_rank": {"_target_": "tightfit.optimizers.directions.low_rank.LowRank", "rank": 2, "period": 3},
    "subspace": {"_target_": "tightfit.optimizers.directions.subspace.Subspace", "rank": 2, "period": 3},
    "rank_one": {
        "_target_": "tightfit.optimizers.directions.low_rank.LowRank",
        "rank": 1,
        "period": 1,
        "probed": "activations",
    },
}
ALONG = {
    name: {**MEZO, "name": name, "direction": direction, "restore": "exact" if name == "rank_one" else "merged"}
    for name, direction in DIRECTIONS.items()
}
ALONG["lozo_m"] = {**ALONG["low_rank"], "name": "lozo_m", "_target_": "tightfit.optimizers.lozo_m.LOZOM"}
ELASTIC = {"_target_": "tightfit.optimizers.elastic_zo.ElasticZO", "name": "elastic_zo", "lr": 1e-4, "eps": 1e-3}
FORWARD_GRADIENT = {
    "_target_": "tightfit.optimizers.forward_gradient.ForwardGradient",
    "name": "forward_gradient",
    "lr": 1e-4,
}
HIZOO = {**MEZO, "_target_": "tightfit.optimizers.hizoo.HiZOO", "name": "hizoo", "alpha": 1e-4}
SVRG = {
    **MEZO,
    "_target_": "tightfit.optimizers.mezo_svrg.MeZOSVRG",
    "name": "mezo_svrg",
    "anchor_lr": 1e-4,
    "anchor_batches": 2,
}
POOL = {**MEZO, "_target_": "tightfit.optimizers.seed_pool.SeedPool", "name": "seed_pool", "pool": 8}
GROWING = {
    **MEZO,
    "name": "growing",
    "queries": 3,
    "growth": {"_target_": "tightfit.optimizers.schedules.Power", "factor": 1.0, "power": 1.0},
}
REPLAYED = [MEZO, PRGE, ADAM, ADAMU, ONE_SIDED, FORWARD_GRADIENT, HIZOO, SVRG, POOL, GROWING]


CLOUDS = {
    "model": {"_target_": "tightfit.models.pointnet.pointnet", "name": "pointnet"},
    "dataset": {"_target_": "tests.synthetic.boxes", "name": "boxes"},
}
KEEP_LOSSES = {"epochs": 4, "evaluations": 4, "batch_size": 16, "keep": "losses"}


def summary(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "run.json").read_text())["summary"]


def test_the_log_of_a_run_is_four_bytes_a_pass_and_rebuilds_its_weights(tmp_path: Path) -> None:
    folder = carry_out(config(tmp_path, optimizer=MEZO)).folder
    assert (folder / REPLAY_LOG).stat().st_size == 4 * 4 * summary(folder)["steps"]
    assert main([str(folder), TRUST]) == 0
    rebuilt, kept = load_file(folder / EXPORTED), checkpoint.load(folder / WEIGHTS)
    assert kept is not None
    assert rebuilt.keys() == kept.keys()
    assert all(torch.equal(rebuilt[name], kept[name]) for name in kept)


def test_a_hybrid_without_bp_layers_leaves_a_log_and_one_with_them_does_not(tmp_path: Path) -> None:
    for bp_layers in (0, 1):
        optimizer = {**ELASTIC, "bp_lr": 1e-3, "bp_layers": bp_layers}
        folder = carry_out(config(tmp_path, optimizer=optimizer)).folder
        assert (folder / REPLAY_LOG).exists() == (bp_layers == 0)


def test_a_private_run_leaves_no_losses_of_its_examples_to_be_rebuilt_from(tmp_path: Path) -> None:
    private = {**MEZO, "_target_": "tightfit.optimizers.dp_zo.DPZO", "queries": 1, "noise_multiplier": 1.0}
    folder = carry_out(config(tmp_path, optimizer=private, training=KEEP_LOSSES)).folder
    assert not (folder / REPLAY_LOG).exists()
    assert (folder / WEIGHTS).exists()


@pytest.mark.parametrize("parallel", ["none", "outer", "inner", "both"])
def test_passes_that_hold_several_copies_leave_a_log_all_the_same(parallel: str, tmp_path: Path) -> None:
    folder = carry_out(
        config(tmp_path, optimizer={**PRGE, "parallel": parallel}, adapter=MP_LORA, training=KEEP_LOSSES)
    ).folder
    assert not (folder / WEIGHTS).exists()
    rebuild(folder)


def test_a_run_that_was_asked_to_keep_losses_writes_no_weights_unless_it_needs_them(tmp_path: Path) -> None:
    zeroth_order = carry_out(config(tmp_path, optimizer=MEZO, training=KEEP_LOSSES)).folder
    assert not (zeroth_order / WEIGHTS).exists()
    rebuild(zeroth_order)
    backpropagated = carry_out(config(tmp_path, training=KEEP_LOSSES)).folder
    assert (backpropagated / WEIGHTS).exists()


def test_a_model_whose_passes_move_statistics_keeps_its_weights_and_leaves_no_log(tmp_path: Path) -> None:
    """Losses alone would rebuild the weights with the statistics of an untrained network."""
    arguments = {**CLOUDS, "optimizer": MEZO, "training": KEEP_LOSSES}
    whole = carry_out(config(tmp_path / "whole", **arguments)).folder
    assert (whole / WEIGHTS).exists()
    assert not (whole / REPLAY_LOG).exists()
    with killed_at_second_checkpoint():
        carry_out(config(tmp_path / "killed", **arguments))
    resumed = carry_out(config(tmp_path / "killed", **arguments)).folder
    assert summary(resumed)["weights_sha256"] == summary(whole)["weights_sha256"]
    assert not (resumed / REPLAY_LOG).exists()


@pytest.mark.parametrize("optimizer", ALONG.values(), ids=ALONG.keys())
def test_directions_are_drawn_again_by_a_replay(optimizer: dict[str, Any], tmp_path: Path) -> None:
    rebuild(carry_out(config(tmp_path, optimizer=optimizer, training=KEEP_LOSSES)).folder)


@pytest.mark.parametrize(
    "method", [{"optimizer": each} for each in (*REPLAYED, *ALONG.values())], ids=lambda each: each["optimizer"]["name"]
)
@pytest.mark.parametrize("keep", ["weights", "losses"])
def test_a_killed_run_continues_from_either_kind_of_checkpoint(
    keep: str, method: dict[str, Any], tmp_path: Path
) -> None:
    adapter = {"adapter": MP_LORA} if method["optimizer"] == PRGE else {}
    method = {**method, **adapter, "training": {**KEEP_LOSSES, "keep": keep}}
    whole = carry_out(config(tmp_path / "whole", **method)).folder
    with killed_at_second_checkpoint() as saves:
        carry_out(config(tmp_path / "killed", **method))
    assert (saves[0].stat().st_size < 10_000) == (keep == "losses")
    resumed = carry_out(config(tmp_path / "killed", **method)).folder
    assert summary(resumed)["weights_sha256"] == summary(whole)["weights_sha256"]
    assert (resumed / REPLAY_LOG).read_bytes() == (whole / REPLAY_LOG).read_bytes()
    assert not (resumed / CHECKPOINT).exists()


def test_a_language_model_with_lora_is_kept_by_what_was_trained(tmp_path: Path) -> None:
    folder = carry_out(text_config(tmp_path, lora=True, optimizer=MEZO)).folder
    assert main([str(folder), TRUST]) == 0
    assert all(".lora_" in name for name in load_file(folder / EXPORTED))


def test_a_log_that_was_changed_or_cut_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = carry_out(config(tmp_path, optimizer=MEZO)).folder
    log = (folder / REPLAY_LOG).read_bytes()
    (folder / REPLAY_LOG).write_bytes(log[4:] + log[:4])
    assert main([str(folder), TRUST]) == 1
    assert "the run ended with" in capsys.readouterr().err
    (folder / REPLAY_LOG).write_bytes(log[:-3])
    assert main([str(folder), TRUST]) == 1
    assert "4 bytes each" in capsys.readouterr().err


@pytest.mark.parametrize("folders", [[], ["nowhere"]])
def test_what_is_no_run_is_told(folders: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(folders) == 2
    assert capsys.readouterr().err.startswith(("name at least one folder of a run", "nowhere holds no run"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda log: b"", "the log holds 0 losses, but the steps took more; it was cut"),
        (lambda log: log[:-8], "the log holds 94 losses, but the steps took more; it was cut"),
        (lambda log: log + 40 * b"1", "the log holds 106 losses, but the steps took 96"),
    ],
    ids=["emptied", "short", "long"],
)
def test_a_log_of_another_length_than_the_run_is_refused_and_never_trained_on(
    change: Callable[[bytes], bytes],
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def passes(*_: object) -> None:
        raise AssertionError("a forward pass was made")

    folder = carry_out(config(tmp_path, optimizer=MEZO)).folder
    path = folder / REPLAY_LOG
    path.write_bytes(change(path.read_bytes()))
    monkeypatch.setattr("tightfit.run.course.cross_entropy", passes)
    assert main([str(folder), TRUST]) == 1
    assert capsys.readouterr().err == f"ValueError: {path}: {message}; put the whole file back\n"
    assert not (folder / EXPORTED).exists()


def test_a_folder_that_cannot_be_written_is_told_and_stops_no_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = (carry_out(config(tmp_path, optimizer=MEZO, seed=seed)).folder for seed in (0, 1))
    (first / EXPORTED).mkdir()  # cannot be replaced by a file, as on a file system for reading only
    assert main([str(first), str(second), TRUST]) == 1
    assert capsys.readouterr().err.startswith("IsADirectoryError: ")
    assert (second / EXPORTED).exists()


@pytest.mark.parametrize(
    ("part", "lost"), [("summary", "summary.steps"), ("memory", "memory.batch_size"), ("config", "config.optimizer")]
)
def test_a_record_that_lost_a_part_is_told_in_one_line(
    part: str, lost: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = carry_out(config(tmp_path, optimizer=MEZO)).folder
    path = folder / "run.json"
    with rewritten(folder) as content:
        content[part] = {}
    for command in (main, gain):
        capsys.readouterr()
        assert command([str(folder), TRUST]) == 1
        told = capsys.readouterr()
        assert told.err.startswith(f"ValueError: {path} lacks {lost}; put the whole file back, or delete the folder")
        assert told.err.count("\n") == 1
        assert told.out == ""


@pytest.mark.parametrize("command", [export, predict, score, score_program])
def test_a_record_without_its_configuration_is_told_in_one_line(
    command: Callable[[list[str]], int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = carry_out(config(tmp_path, optimizer=MEZO)).folder
    path = folder / "run.json"
    with rewritten(folder) as content:
        content["config"] = {}
    capsys.readouterr()
    more = {predict: ["text=fine"], score_program: ["adapters=none"]}.get(command, [])
    assert command([f"run={folder}", TRUST, *more]) in (1, 2)
    told = capsys.readouterr().err
    assert f"{path} lacks config.optimizer; put the whole file back" in told
    assert told.count("\n") == 1


def test_a_log_gives_what_it_noted_and_then_goes_on() -> None:
    given = iter([0.1, 0.2, 0.3])
    log = LossLog(lambda model, batch: torch.tensor(next(given)))
    batch = Batch(torch.empty(0), torch.empty(0), 0, 0.0)
    noted = [log(lambda x: x, batch).item() for _ in range(2)]
    with log.replaying(bytes(log)):
        assert [log(lambda x: x, batch).item() for _ in range(2)] == noted
    assert log(lambda x: x, batch).item() == torch.tensor(0.3).item()


def test_a_log_refuses_losses_that_it_would_give_back_in_another_type() -> None:
    log = LossLog(lambda model, batch: torch.tensor(0.1, dtype=torch.bfloat16))
    with pytest.raises(ValueError, match=r"gives back float32, but this loss is torch.bfloat16; let the objective"):
        log(lambda x: x, Batch(torch.empty(0), torch.empty(0), 0, 0.0))


@pytest.mark.parametrize(
    "settings",
    [
        {"direction": {"_target_": "tightfit.optimizers.directions.torch_legacy.TorchLegacy"}, "queries": 1},
        {"restore": "exact"},
        {"descent": {"_target_": DESCENTS + "sign.Sign"}},
        {"descent": {"_target_": DESCENTS + "momentum.Momentum"}},
    ],
    ids=["torch_legacy", "exact", "sign", "momentum"],
)
def test_losses_rebuild_weights_where_they_matter_to_the_last_bit_or_no_layer_runs(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    rebuild(carry_out(config(tmp_path, optimizer={**MEZO, "lr": 1e-2, **settings})).folder)


def test_a_run_that_goes_wrong_is_on_record_with_its_log(tmp_path: Path) -> None:
    folder = carry_out(config(tmp_path, optimizer={**MEZO, "lr": 1e30})).folder
    record = read_run(folder)
    assert record is not None
    assert record.status == "diverged"
    rebuild(folder)
