"""From configuration to ended run, in process: failures of the machine are recorded and nothing is lost."""

import errno
import json
import re
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tightfit.datasets.dataset import DataUnavailable
from tightfit.launch.reproduce import plan
from tightfit.models import widening
from tightfit.numerics.int8 import matmul as integer_matmul
from tightfit.numerics.noise import streams
from tightfit.records.record import read_evals, read_run, write_run
from tightfit.run import checkpoint
from tightfit.run import loop as runner
from tightfit.run.holding import only_process_in
from tightfit.run.keys import run_key
from tightfit.run.parts import choose_device
from tightfit.run.pretraining import NO_ADAPTER
from tightfit.run.session import carry_out
from tightfit.run.trust import checksums
from tightfit.tracking.local import LocalOnly

from . import synthetic
from .killing import killed_at_second_checkpoint

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


def test_pretraining_is_run_once_and_its_weights_are_the_start(tmp_path: Path) -> None:
    pretraining = {
        "optimizer": {
            "_target_": "tightfit.optimizers.bp.Backprop",
            "rule": {"_target_": "tightfit.optimizers.rules.adam.Adam"},
            "name": "bp_adam",
            "lr": 0.003,
        },
        "training": {"epochs": 10, "evaluations": 1, "batch_size": 16},
    }
    first = carry_out(config(tmp_path, pretraining=pretraining))
    carry_out(config(tmp_path, pretraining=pretraining, training={"epochs": 1, "evaluations": 1, "batch_size": 16}))
    (pretrained,) = (tmp_path / "pretraining").iterdir()
    end_of_pretraining = read_evals(pretrained)[-1]
    assert read_evals(first.folder)[0]["test_loss"] == end_of_pretraining["test_loss"]


def test_failed_pretraining_fails_the_run_that_needs_it(tmp_path: Path) -> None:
    pretraining = {
        "optimizer": {
            "_target_": "tightfit.optimizers.bp.Backprop",
            "name": "bp_sgd",
            "rule": {"_target_": "tightfit.optimizers.rules.sgd.SGD"},
            "lr": 1e30,
        }
    }
    outcome = carry_out(config(tmp_path, pretraining=pretraining))
    record = read_run(outcome.folder)
    assert record is not None
    assert record.status == "failed"
    assert "pretraining ended as diverged" in record.reason


DAMAGED = "delete the folder to run it again"
FOREIGN = "no record of this program .*; leave it and keep your runs in another place by paths.runs=…"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", DAMAGED),
        ("{", DAMAGED),
        ('{"schema": 2, "key": "only"}', "it has no experiment.*" + DAMAGED),
        ('{"schema": 2, "key": "k", "experiment": "e", "config": []}', "its config is of another kind.*" + DAMAGED),
        (
            '{"schema": 2, "key": "k", "experiment": "e", "config": {}, "status": "done"}',
            "status is 'done'.*" + DAMAGED,
        ),
        ("[1]", FOREIGN),
        ('{"command": "train"}', FOREIGN),
        ('{"schema": 99}', FOREIGN),
        ('{"schema": 1, "key": "k"}', "schema 1, whose settings had other names; read it by the commit that it names"),
    ],
)
def test_unreadable_record_is_named_with_the_remedy(content: str, message: str, tmp_path: Path) -> None:
    folder = tmp_path / "scratch" / run_key(config(tmp_path))
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(content)
    with pytest.raises(ValueError, match=message):
        carry_out(config(tmp_path))
    assert (folder / "run.json").read_text() == content


def test_a_folder_in_the_place_of_a_record_is_named(tmp_path: Path) -> None:
    (tmp_path / "scratch" / run_key(config(tmp_path)) / "run.json").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"run.json cannot be read \(Is a directory\); leave it"):
        carry_out(config(tmp_path))


@pytest.mark.parametrize("part", ["summary", "memory", "config"])
def test_a_finished_run_is_told_as_finished_whatever_its_record_lost(part: str, tmp_path: Path) -> None:
    changed = {"dataset": {**OWN, "folder": None}}
    folder = carry_out(config(tmp_path, **changed)).folder
    content = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({**content, part: {}}))
    assert carry_out(config(tmp_path, **changed)).status == "finished"


def test_a_finished_run_is_told_as_finished_where_nothing_can_be_written(tmp_path: Path) -> None:
    folder = carry_out(config(tmp_path)).folder
    (folder / ".lock").unlink()
    (folder / ".lock").mkdir()  # cannot be opened, as on a file system for reading only
    assert carry_out(config(tmp_path)).status == "finished"
    (folder / "run.json").unlink()
    with pytest.raises(ValueError, match=r"cannot be written .*; choose a place by paths.runs=…"):
        carry_out(config(tmp_path))


def test_what_a_killed_process_was_writing_is_cleared_away_and_nothing_else(tmp_path: Path) -> None:
    with killed_at_second_checkpoint() as saves:
        carry_out(config(tmp_path))
    folder = saves[0].parent
    names = ("checkpoint.pt", "weights.pt", "run.json", "evals.jsonl", "losses.f32")
    left = [folder / f".{name}.a1b2c3_d" for name in names]
    mine = [folder / ".run.json.swp", folder / "run.json.a1b2c3_d", folder / ".model.safetensors.a1b2c3_d"]
    for path in (*left, *mine):
        path.write_text("part of a file")
    carry_out(config(tmp_path))
    assert [path for path in left if path.exists()] == []
    assert [path for path in mine if not path.exists()] == []


def test_a_checkpoint_left_by_a_run_that_was_killed_as_it_ended_is_cleared_away(tmp_path: Path) -> None:
    folder = carry_out(config(tmp_path)).folder
    (folder / "checkpoint.pt").write_text("of a step before the end")
    record = (folder / "run.json").read_bytes()
    assert carry_out(config(tmp_path)).status == "finished"
    assert not (folder / "checkpoint.pt").exists()
    assert (folder / "run.json").read_bytes() == record


def test_a_process_that_waits_for_another_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with only_process_in(tmp_path, "first"):
        waiting = threading.Thread(target=hold_for_a_moment, args=(tmp_path,))
        waiting.start()
        while not (said := capsys.readouterr().out):
            time.sleep(0.01)
    waiting.join()
    assert said == f"[second] waits for another process, which has this run in {tmp_path}\n"


def hold_for_a_moment(folder: Path) -> None:
    with only_process_in(folder, "second"):
        pass


def test_every_session_of_a_run_is_on_record_with_its_commit_its_machine_and_its_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def as_of(day: int, cpu: str) -> None:
        monkeypatch.setattr("tightfit.run.attempt.now", lambda: f"2026-01-0{day}")
        monkeypatch.setattr("tightfit.run.attempt.commit", lambda: (f"commit {day}", day == 2))
        monkeypatch.setattr("tightfit.run.session.describe_machine", lambda _: {"cpu": cpu})

    def unavailable(**_: object) -> None:
        raise DataUnavailable("gone")

    as_of(1, "one")
    with monkeypatch.context() as patch, killed_at_second_checkpoint():
        patch.setattr("tightfit.run.attempt.write_end", lambda *_: None)
        carry_out(config(tmp_path))
    as_of(2, "two")
    with monkeypatch.context() as patch:
        patch.setattr("tests.synthetic.bars", unavailable)
        carry_out(config(tmp_path))
    as_of(3, "three")
    record = read_run(carry_out(config(tmp_path)).folder)
    assert record is not None
    assert (record.started_at, record.commit, record.machine["cpu"]) == ("2026-01-01", "commit 3", "three")
    told = ("started_at", "commit", "dirty", "status", "from_step", "to_step")
    assert [tuple(session.get(name) for name in told) for session in record.sessions] == [
        ("2026-01-01", "commit 1", False, "running", 0, 12),
        ("2026-01-02", "commit 2", True, "failed", None, None),
        ("2026-01-03", "commit 3", False, "finished", 12, 24),
    ]
    assert [session["machine"].get("cpu") for session in record.sessions] == ["one", "two", "three"]
    assert [("last_seen" in session, "ended_at" in session) for session in record.sessions] == [
        (True, False),
        (False, True),
        (False, True),
    ]


def test_data_that_could_not_be_had_in_between_are_still_those_of_the_run(
    tmp_path: Path, file: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def unavailable(**_: object) -> None:
        raise DataUnavailable("gone")

    with killed_at_second_checkpoint():
        carry_out(config(tmp_path, dataset=OWN))
    with monkeypatch.context() as patch:
        patch.setattr("tests.synthetic.bars", unavailable)
        assert carry_out(config(tmp_path, dataset=OWN)).status == "failed"
    file["sha256"] = "2" * 64
    checksums.cache_clear()
    with pytest.raises(ValueError, match=CHANGED):
        carry_out(config(tmp_path, dataset=OWN))


def test_a_run_made_again_from_its_beginning_started_when_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tightfit.run.attempt.now", lambda: "2026-01-01")
    with killed_at_second_checkpoint() as saves:
        carry_out(config(tmp_path))
    saves[0].unlink()
    monkeypatch.setattr("tightfit.run.attempt.now", lambda: "2026-01-02")
    record = read_run(carry_out(config(tmp_path)).folder)
    assert record is not None
    assert record.started_at == "2026-01-02"
    assert [(session["from_step"], session["to_step"]) for session in record.sessions] == [(0, 0), (0, 24)]


def test_a_record_from_before_there_were_sessions_is_read_and_continued(tmp_path: Path) -> None:
    with killed_at_second_checkpoint() as saves:
        carry_out(config(tmp_path))
    path = saves[0].parent / "run.json"
    content = json.loads(path.read_text())
    old = {name: value for name, value in content.items() if name not in ("sessions", "evaluations")}
    path.write_text(json.dumps({**old, "commit": "old"}))
    record = read_run(carry_out(config(tmp_path)).folder)
    assert record is not None
    assert [session["commit"] for session in record.sessions] == ["old", record.commit]
    assert record.sessions[0]["to_step"] == 12


PRETRAINING = {
    "optimizer": {
        "_target_": "tightfit.optimizers.bp.Backprop",
        "rule": {"_target_": "tightfit.optimizers.rules.adam.Adam"},
        "name": "bp_adam",
        "lr": 0.003,
    },
    "training": {"epochs": 1, "evaluations": 1, "batch_size": 16},
}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda path: path.unlink(), "is gone"),
        (lambda path: path.write_bytes(path.read_bytes()[:500]), "is damaged"),
        (
            lambda path: path.write_bytes(path.read_bytes().replace(b"fc1.weight", b"fc9.weight")),
            "holds weights of another model",
        ),
        (lambda path: checkpoint.save(path, {"fc1.weight": torch.zeros(2)}), "holds weights of another model"),
        (lambda path: checkpoint.save(path, [1]), "holds weights of another model"),
        (lambda path: flip_a_bit(path), "holds other weights than the run ended with"),
    ],
    ids=["gone", "cut", "renamed", "other shapes", "no weights", "flipped"],
)
def test_pretrained_weights_that_are_not_those_on_record_are_made_again_beside_the_record(
    change: Callable[[Path], object], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    carry_out(config(tmp_path, pretraining=PRETRAINING))
    (weights,) = (tmp_path / "pretraining").glob("*/weights.pt")
    record, content = (weights.parent / "run.json").read_bytes(), weights.read_bytes()
    change(weights)
    outcome = carry_out(config(tmp_path, pretraining=PRETRAINING, optimizer=MEZO))
    assert outcome.status == "finished"
    assert re.search(rf"weights.pt ({message}).*; pretraining again \(\d+ s\)", capsys.readouterr().out)
    assert weights.read_bytes() == content
    assert (weights.parent / "run.json").read_bytes() == record
    assert not (weights.parent / "again").exists()


def test_pretraining_that_ends_with_other_weights_than_those_on_record_is_no_replacement(tmp_path: Path) -> None:
    carry_out(config(tmp_path, pretraining=PRETRAINING))
    (weights,) = (tmp_path / "pretraining").glob("*/weights.pt")
    path = weights.parent / "run.json"
    content = json.loads(path.read_text())
    content["summary"]["weights_sha256"] = "3" * 64  # as of another machine
    path.write_text(json.dumps(content))
    for _ in range(2):
        outcome = carry_out(config(tmp_path, pretraining=PRETRAINING, optimizer=MEZO))
        assert outcome.status == "failed"
        assert re.search(
            r"again ended with weights of sha256 \w+…, not 3+… as on record.* or move .* away", outcome.reason
        )
    assert json.loads(path.read_text()) == content


def test_pretraining_that_is_made_again_goes_on_where_it_was_killed(tmp_path: Path) -> None:
    longer = {**PRETRAINING, "training": {"epochs": 4, "evaluations": 4, "batch_size": 16}}
    carry_out(config(tmp_path, pretraining=longer))
    (weights,) = (tmp_path / "pretraining").glob("*/weights.pt")
    content = weights.read_bytes()
    weights.unlink()
    with killed_at_second_checkpoint():
        carry_out(config(tmp_path, pretraining=longer, optimizer=MEZO))
    outcome = carry_out(config(tmp_path, pretraining=longer, optimizer=MEZO))
    assert outcome.status == "finished"
    assert weights.read_bytes() == content


def flip_a_bit(path: Path) -> None:
    content = path.read_bytes()
    middle = len(content) // 2
    path.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])


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


def test_a_finished_run_that_is_met_again_has_its_mirror_completed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    completed: list[tuple[str, Path]] = []
    monkeypatch.setattr(LocalOnly, "complete", lambda self, record, folder: completed.append((record.status, folder)))
    outcome = carry_out(config(tmp_path))
    assert not completed
    carry_out(config(tmp_path))
    assert completed == [("finished", outcome.folder)]


@pytest.fixture
def file(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The checksum of the data, to be changed: that of the user's own file."""
    content = {"sha256": "1" * 64}
    real = synthetic.bars
    monkeypatch.setattr("tests.synthetic.bars", lambda **_: replace(real(), checksums={"file.npz": content["sha256"]}))
    checksums.cache_clear()
    return content


OWN = {"_target_": "tests.synthetic.bars", "name": "bars", "folder": "mine"}
CHANGED = r"a run on file.npz with sha256 111111111111…, but that has 222222222222… now; put the earlier data back, or"


def test_a_run_on_a_users_file_that_changed_since_is_not_passed_for_one_on_what_it_is_now(
    tmp_path: Path, file: dict[str, str]
) -> None:
    folder = carry_out(config(tmp_path, dataset=OWN)).folder
    record = (folder / "run.json").read_bytes()
    assert carry_out(config(tmp_path, dataset=OWN)).status == "finished"
    file["sha256"] = "2" * 64
    checksums.cache_clear()
    with pytest.raises(ValueError, match=CHANGED):
        carry_out(config(tmp_path, dataset=OWN))
    assert (folder / "run.json").read_bytes() == record


def test_a_killed_run_is_not_continued_on_other_data(tmp_path: Path, file: dict[str, str]) -> None:
    with killed_at_second_checkpoint():
        carry_out(config(tmp_path, dataset=OWN))
    file["sha256"] = "2" * 64
    with pytest.raises(ValueError, match=CHANGED):
        carry_out(config(tmp_path, dataset=OWN))


def test_records_without_checksums_and_data_that_are_gone_leave_a_finished_run_finished(
    tmp_path: Path, file: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def unavailable(**_: object) -> None:
        raise DataUnavailable("gone")

    folder = carry_out(config(tmp_path, dataset=OWN)).folder
    with monkeypatch.context() as patch:
        patch.setattr("tests.synthetic.bars", unavailable)
        assert carry_out(config(tmp_path, dataset=OWN)).status == "finished"
    file["sha256"] = "2" * 64
    record = read_run(folder)
    assert record is not None
    del record.dataset["checksums"]
    write_run(folder, record)
    assert carry_out(config(tmp_path, dataset=OWN)).status == "finished"


def test_a_row_cut_short_by_a_crash_is_left_out(tmp_path: Path) -> None:
    outcome = carry_out(config(tmp_path))
    rows = read_evals(outcome.folder)
    with (outcome.folder / "evals.jsonl").open("a") as file:
        file.write('{"step": 99, "test_acc')
    assert read_evals(outcome.folder) == rows
