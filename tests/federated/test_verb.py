"""`tightfit federated` as it is typed: a server and a client as processes, and the simulation."""

import csv
import os
import re
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.ports import free_ports
from tightfit.commands import main

HOME = Path(__file__).parents[2]
TINY = ["experiments=federated/lenet5", "dataset._target_=tests.synthetic.bars", "training.batch_size=4"]
ROUND = ["rounds=2", "contributions=1", "steps=2"]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@contextmanager
def served(words: list[str], environment: dict[str, str], folder: Path) -> Generator[Any]:
    """A server as a process, which is gone afterwards whatever happens; Ctrl-C reaches it also where the tests run in
    the background of a shell, which ignores it."""
    process = subprocess.Popen(
        words,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
        cwd=folder,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.slow
def test_a_client_joins_what_is_served_and_leaves_weights_to_start_from(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And the server, stopped and started again, knows that the federation is over."""
    words = [sys.executable, "-m", "tightfit", "federated", "serve", f"port={free_ports(1)[0]}", *ROUND, *TINY]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HOME / "src"), str(HOME)])}
    for first in (0, 2):
        with served(words, environment, tmp_path) as process:
            line = process.stdout.readline()
            said = re.fullmatch(
                rf"serving (http://127\.0\.0\.1:\d+) from round {first} of 2; stop it at any time\n", line
            )
            assert said, line
            joining = ["client=a", "share=1/2", f"url={said[1]}", "patience=5", f"out={tmp_path / 'out'}", *TINY]
            assert main(["federated", "join", *joining]) == 0
            process.send_signal(signal.SIGINT)
            assert process.wait(60) == 130
        told = capsys.readouterr().out
        assert told.count("accepted") == 2 - first
        assert "over after 2 rounds: accuracy " in told
    assert (tmp_path / "out" / "model.safetensors").exists()
    assert main(["federated", "join", "client=a", f"url={said[1]}", "patience=1", *TINY]) == 1
    assert "cannot be reached" in capsys.readouterr().err


def test_a_simulation_is_told_and_appended_to_a_record(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["federated", "simulate", "clients=3", "csv=row.csv", *ROUND, *TINY]
    assert main(words) == 0
    with (tmp_path / "row.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert (row["clients"], row["perturbations"], row["refused"]) == ("3", "4", "")
    assert f"perturbations       {row['perturbations']}\n" in capsys.readouterr().out
    assert not list(tmp_path.glob("*.sqlite*"))  # the log was temporary


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["simulate", TINY[1], "optimizer=mezo"],
            "ValueError: a federation adds up slopes along a pool of seeds; choose",
        ),
        (["serve", *TINY, "optimizer.clip=inf"], "ValueError: optimizer.clip is infinite, so nothing bounds what one"),
        (["serve", *TINY, "optimizer.clip=.inf"], "ValueError: optimizer.clip=.inf is no number; write one"),
        (["serve", *TINY, "log=nowhere/a.sqlite"], "FileNotFoundError: "),
        (
            ["simulate", *TINY, "clients=3"],
            "ValueError: clients=3 but a round has contributions=10, one of each; choose",
        ),
    ],
    ids=["method", "unbounded", "a text", "log", "clients"],
)
def test_what_makes_no_federation_is_told_in_a_line(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["federated", *words]) == 1
    told = capsys.readouterr().err
    assert told.startswith(message)
    assert told.count("\n") == 1
