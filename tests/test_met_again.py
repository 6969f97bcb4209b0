"""A run that is met again: what its folder holds is cleared, kept, refused or told, and nothing of it is lost."""

import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tests.rewritten import rewritten
from tightfit.datasets.dataset import DataUnavailable
from tightfit.records.record import RunRecord, read_evals, read_run, write_run
from tightfit.run.holding import only_process_in
from tightfit.run.keys import run_key
from tightfit.run.session import carry_out
from tightfit.run.trust import checksums
from tightfit.tracking.local import LocalOnly

from . import synthetic
from .killing import killed_at_second_checkpoint
from .test_session import config

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


def test_no_bit_of_a_record_flips_unnoticed(tmp_path: Path) -> None:
    sessions = [{"commit": "a" * 40, "from_step": 0, "to_step": 24}]
    summary = {"weights_sha256": "3" * 64, "final_accuracy": 0.8125, "train_seconds": 1.5e-05, "steps": 24}
    written = RunRecord("0123456789ab", "scratch", {"seed": 3}, "finished", summary=summary, sessions=sessions)
    write_run(tmp_path, written)
    content, refused = (tmp_path / "run.json").read_bytes(), 0
    for at in range(8 * len(content)):
        damaged = bytearray(content)
        damaged[at // 8] ^= 1 << at % 8
        (tmp_path / "run.json").write_bytes(damaged)
        try:
            assert read_run(tmp_path) == written, at
        except ValueError:
            refused += 1
    assert refused > 0.99 * 8 * len(content)  # one line feed or space may be as good as another


def test_a_folder_in_the_place_of_a_record_is_named(tmp_path: Path) -> None:
    (tmp_path / "scratch" / run_key(config(tmp_path)) / "run.json").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"run.json cannot be read \(Is a directory\); leave it"):
        carry_out(config(tmp_path))


OWN = {"_target_": "tests.synthetic.bars", "name": "bars", "folder": "mine"}
CHANGED = r"a run on file.npz with sha256 111111111111…, but that has 222222222222… now; put the earlier data back, or"


@pytest.mark.parametrize("part", ["summary", "memory", "config"])
def test_a_finished_run_is_told_as_finished_whatever_its_record_lost(part: str, tmp_path: Path) -> None:
    changed = {"dataset": {**OWN, "folder": None}}
    folder = carry_out(config(tmp_path, **changed)).folder
    with rewritten(folder) as content:
        content[part] = {}
    assert carry_out(config(tmp_path, **changed)).status == "finished"


def test_a_finished_run_is_told_as_finished_where_nothing_can_be_written(tmp_path: Path) -> None:
    folder = carry_out(config(tmp_path)).folder
    (folder / ".lock").unlink()
    (folder / ".lock").mkdir()  # cannot be opened, as on a file system for reading only
    assert carry_out(config(tmp_path)).status == "finished"
    (folder / "run.json").unlink()
    with pytest.raises(ValueError, match=r"cannot be written .*; choose a place by paths.runs=…"):
        carry_out(config(tmp_path))


def test_a_finished_run_that_is_met_again_has_its_mirror_completed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    completed: list[tuple[str, Path]] = []
    monkeypatch.setattr(LocalOnly, "complete", lambda self, record, folder: completed.append((record.status, folder)))
    outcome = carry_out(config(tmp_path))
    assert not completed
    carry_out(config(tmp_path))
    assert completed == [("finished", outcome.folder)]


def test_what_a_killed_process_was_writing_is_cleared_away_and_nothing_else(tmp_path: Path) -> None:
    with killed_at_second_checkpoint() as saves:
        carry_out(config(tmp_path))
    folder = saves[0].parent
    names = ("checkpoint.pt", "weights.pt", "run.json", "evals.jsonl", "losses.f32", "best_3.pt")
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


def test_a_row_cut_short_by_a_crash_is_left_out(tmp_path: Path) -> None:
    outcome = carry_out(config(tmp_path))
    rows = read_evals(outcome.folder)
    with (outcome.folder / "evals.jsonl").open("a") as file:
        file.write('{"step": 99, "test_acc')
    assert read_evals(outcome.folder) == rows


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


@pytest.fixture
def file(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The checksum of the data, to be changed: that of the user's own file."""
    content = {"sha256": "1" * 64}
    real = synthetic.bars
    monkeypatch.setattr("tests.synthetic.bars", lambda **_: replace(real(), checksums={"file.npz": content["sha256"]}))
    checksums.cache_clear()
    return content


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
