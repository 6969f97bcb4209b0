"""What each command says of input it cannot use: one line with the value, the rule and the remedy, and no work done.

A case is a command line, with {tmp} for a folder that holds files, and what the line must say. Commands run
in this process.
"""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hydra.core.global_hydra import GlobalHydra

from tightfit.bench import __main__ as bench
from tightfit.datasets import __main__ as datasets
from tightfit.launch import reproduce as reproduce_command
from tightfit.plan import __main__ as plan
from tightfit.plan import layers
from tightfit.program import export
from tightfit.program import score as score_program
from tightfit.program import train as train_program
from tightfit.run import configuration as run_command
from tightfit.run import gain, replay

from .bad_input import of_commands, of_files, of_runs


def hydra_anew(main: Callable[[list[str]], int]) -> Callable[[list[str]], int]:
    def call(words: list[str]) -> int:
        GlobalHydra.instance().clear()
        return main(words)

    return call


MAINS: dict[str, Callable[[list[str]], int]] = {
    "run": hydra_anew(run_command.main),
    "reproduce": hydra_anew(reproduce_command.main),
    "layers": layers.main,
    "plan": plan.main,
    "replay": replay.main,
    "gain": gain.main,
    "export": export.main,
    "train-program": train_program.main,
    "score-program": score_program.main,
    "data": datasets.main,
    "bench": bench.main,
}
CASES = [*of_runs.CASES, *of_commands.CASES, *of_files.CASES]


def three_channels(classes: int, seed: int) -> object:
    """A network for coloured images."""
    from torch import nn

    del seed
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.LazyLinear(classes))


def other_pixels(classes: int, seed: int) -> object:
    """A network for images of 32 × 32."""
    from torch import nn

    del seed
    return nn.Sequential(nn.Flatten(), nn.Linear(1024, classes))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    for name, content in of_files.FILES.items():
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], files: Path, tmp_path: Path):
    """What a command says, and with what code it ends."""
    monkeypatch.setattr(sys, "argv", ["tightfit"])
    monkeypatch.setenv("TIGHTFIT_RUNS", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "2000")  # so that no line is wrapped

    def call(command: str, words: tuple[str, ...]) -> tuple[object, str]:
        try:
            code: object = MAINS[command]([word.replace("{tmp}", str(files)) for word in words])
        except SystemExit as ended:
            code = ended.code
        shown = capsys.readouterr()
        return code, shown.out + shown.err

    return call


@pytest.mark.parametrize(("command", "words", "code", "message"), CASES)
def test_bad_input_is_told_in_one_line_before_any_work(
    command: str, words: tuple[str, ...], code: int, message: str, said: Callable, files: Path, tmp_path: Path
) -> None:
    ended, told = said(command, words)
    assert "Traceback" not in told
    assert message.replace("{tmp}", str(files)) in told
    assert ended == code
    assert not list(tmp_path.rglob("evals.jsonl"))


def test_the_table_is_long_and_no_case_is_in_it_twice() -> None:
    assert len(CASES) > 200
    assert len({(command, words) for command, words, _, _ in CASES}) == len(CASES)
    assert {command for command, _, _, _ in CASES} == set(MAINS)
