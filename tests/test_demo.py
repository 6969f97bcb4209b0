"""The first minute: three runs on record, their commands, and a picture of what is on record."""

import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hydra.core.global_hydra import GlobalHydra

from analysis.lesson import lesson, write_lesson
from analysis.style import NoRecords
from tightfit.commands import main
from tightfit.launch.demo import METHODS
from tightfit.records.record import read_run
from tightfit.run.composed import composed
from tightfit.run.keys import run_folder

from .test_own_folder import FILES


@pytest.fixture
def demo(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str]]:
    """Runs the demo on images made on the spot; the exit code, and what was said."""
    option = tmp_path / "my_conf" / "dataset" / "bars.yaml"
    option.parent.mkdir(parents=True)
    option.write_text(FILES["dataset/bars.yaml"])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("TIGHTFIT_CONF", str(option.parents[1]))

    def said(*words: str) -> tuple[int, str]:
        GlobalHydra.instance().clear()
        code = main(["demo", "dataset=bars", "seconds=1", *words])
        return code, capsys.readouterr().out

    return said


def test_the_demo_trains_in_three_ways_and_draws_them(demo: Callable) -> None:
    code, said = demo()
    assert code == 0
    assert said.startswith("3 runs of 1 s of training, one after another")
    folders = sorted(path.parent for path in Path("runs/demo").glob("*/run.json"))
    records = [read_run(folder) for folder in folders]
    assert sorted(record.config["optimizer"]["name"] for record in records if record) == [
        "bp_sgd",
        "elastic_zo",
        "mezo",
    ]
    assert all(record and record.status == "finished" for record in records)
    assert Path("runs/demo/demo.png").read_bytes().startswith(b"\x89PNG")
    assert "runs/demo/demo.png: the picture, after " in said
    assert "already finished" not in said
    assert demo()[1].count("already finished") == 3


def test_the_commands_that_are_shown_are_those_of_the_runs(demo: Callable) -> None:
    commands = re.findall(r": tightfit run (.*)", demo()[1])
    assert len(commands) == len(METHODS)
    for command in commands:
        assert (run_folder(composed(command.split())) / "run.json").exists()


def test_the_picture_shows_what_is_on_record(demo: Callable) -> None:
    demo()
    folders = {f"run {number}": path.parent for number, path in enumerate(sorted(Path("runs/demo").glob("*/run.json")))}
    learned, held = lesson(folders).axes
    lines = {line.get_label(): list(line.get_ydata()) for line in learned.get_lines()}
    for (called, folder), bar in zip(folders.items(), held.patches, strict=False):
        record = read_run(folder)
        assert record is not None
        assert lines[called][-1] == pytest.approx(100 * record.summary["final_accuracy"])
        assert bar.get_width() == pytest.approx(record.memory["measured_peak_bytes"] / 2**20)


def test_runs_that_never_trained_are_no_picture(tmp_path: Path) -> None:
    with pytest.raises(NoRecords, match=r"none of the runs trained; see run.json in .*nowhere"):
        write_lesson({"a run": tmp_path / "nowhere"}, tmp_path / "demo")
