"""Every verb of `tightfit`: help, no words, a wrong name and a value of a wrong type, by message and exit code."""

import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hydra.core.global_hydra import GlobalHydra

from tightfit.commands import main
from tightfit.commands.verbs import VERBS
from tightfit.commands.vocabulary import check_words, options
from tightfit.records.places import HOME
from tightfit.run.attempt import Outcome

Call = Callable[[str], tuple[int, str]]
FORMER = {
    **{verb: [verb] for verb in ("run", "reproduce", "plan", "layers", "replay", "gain", "export")},
    "train-program": ["device_train"],
    "score-program": ["device_score"],
    "data": ["datasets"],
    "bench": ["bench", "bench_language", "bench_device"],
}
NAMED = {
    "reproduce": "name at least one experiment, such as elasticzo/table1",
    "replay": "name at least one folder of a run, such as runs/scratch/0123456789ab",
    "gain": "name at least one folder of a run, such as runs/scratch/0123456789ab",
    "predict": "run is missing; write run=…",
    "score": "run is missing; write run=…",
    "export": "run is missing; write run=…",
    "train-program": "program is missing; write program=…",
    "score-program": "run is missing; write run=…",
    "data": "name at least one data set, such as mnist or fashion_mnist",
    "federated": "name at least one role, such as serve, join or simulate",
}
WRONG_NAMES = {
    "run optimiser=mezo": "Could not override 'optimiser': optimiser is no setting of a run; write optimizer; it has",
    "run optimizer=mezzo": "Could not find 'optimizer/mezzo'; write optimizer=mezo; choose adazeta, admm_pruning, bp",
    "reproduce elasticzo/tabel1": "Could not find 'experiments/elasticzo/tabel1'; write elasticzo/table1; tightfit",
    "reproduce elasticzo/table1 job=1": "Could not override 'job': job is no setting of a run",
    "plan modle=lenet5": "modle is not a key of a plan; write model; choose",
    "plan model=lenet6": "model=lenet6 is not known; write model=lenet5; choose",
    "layers modle=lenet5": "modle is no setting of a run; write model; it has",
    "replay folder trust": "trust holds no run",
    "replay folder trusted=true": "trusted is no setting of replay; write trust; it has trust",
    "gain folder cvs=gains.csv": "cvs is no setting of gain; write csv; it has csv, trust",
    "gain folder --cvs gains.csv": "--cvs is no setting of gain; write csv; it has csv, trust",
    "predict rum=x": "rum is no setting of predict; write run; it has run, text, file, out, trust",
    "score run=x optimizer=mezo": "optimizer=mezo is nothing that a score takes; it has run, file, trust and dataset",
    "export rum=x": "rum is no setting of export; write run; it has run, format, out, trust",
    "train-program programm=x": "programm is no setting of train-program; write program; it has",
    "score-program adapter=x": "adapter is no setting of score-program; write adapters; it has",
    "bench prat=language": "prat is no setting of bench; write part; it has",
    "bench part=langauge": "part=langauge is no part of bench; write part=language; choose",
    "demo second=3": "second is no setting of demo; write seconds; it has seconds, dataset",
    "choose-update share=1": "share is no setting of a run",
    "federated sevre": "sevre is no role; write serve; choose one of serve, join, simulate",
    "federated serve join": "join is no role beside serve; choose one of serve, join, simulate",
    "federated serve clients=3": "clients is no setting of federated serve; it has log, host, port, patience, rounds",
    "federated join": "client is missing; write client=…, a name that no other client has",
    "federated join client=a/b": "client=a/b is no name; write 1 to 64 letters, digits, dots, - or _",
    "federated join client=a url=somewhere": "url=somewhere is no address; write one such as http://127.0.0.1:8000",
    "federated join client=a url=http://x:y": "url=http://x:y is no address; write one such as http://127.0.0.1:8000",
    "data minst": "minst is no data set that is fetched by itself; write mnist; choose",
    "report rums=x": "rums is no setting of report; write runs; it has runs, group, x, facet, map, out",
    "ls rums=x": "rums is no setting of ls; write runs; it has runs",
    "exprot run=x": "exprot is no verb of tightfit; write export; choose run, reproduce",
}
WRONG_TYPES = {
    "run seed=abc tracker=local": "seed=abc is no whole number from 0",
    "reproduce elasticzo/table1 jobs=x": "jobs=x is no whole number from 1; choose one",
    "plan training.batch_size=many": "training.batch_size=many is not a whole number",
    "layers csv=maybe": "csv=maybe is neither true nor false",
    "replay folder trust=maybe": "trust=maybe is neither true nor false",
    "gain folder trust=yes": "trust=yes is neither true nor false",
    "predict run=x trust=1": "trust=1 is neither true nor false",
    "score run=x trust=1": "trust=1 is neither true nor false",
    "export run=x trust=1": "trust=1 is neither true nor false",
    "train-program program=x steps=1.5": "steps=1.5 is no whole number from 1; choose one",
    "score-program run=x adapters=y trust=1": "trust=1 is neither true nor false",
    "demo seconds=0": "seconds=0 is no whole number from 1; choose one",
    "choose-update shares=many dataset.held_out=9 memory_budget=1MiB": "shares=many are no shares of channels; write",
    "federated serve rounds=0": "rounds=0 is no whole number from 1; choose one",
    "federated serve port=65536": "port=65536 is no port; choose 1 to 65535",
    "federated join client=a share=4/3": "share=4/3 is no share; write one such as 3/100, the third of a hundred",
    "federated simulate faults=1": "faults=1 is no fraction from 0 to less than 1; choose one",
    "federated simulate faults=nan": "faults=nan is no fraction from 0 to less than 1; choose one",
    "bench part=language threads=0": "threads=0 is no whole number from 1; choose one",
}


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Call:
    """Does what a line asks for, in an empty folder; the exit code, and what was said."""
    monkeypatch.setattr(sys, "argv", ["tightfit"])
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("COLUMNS", "2000")
    monkeypatch.chdir(tmp_path)

    def said(line: str) -> tuple[int, str]:
        GlobalHydra.instance().clear()
        code = main(line.split())
        told = capsys.readouterr()
        return code, told.out + told.err

    return said


def test_tightfit_alone_lists_the_verbs_with_a_sentence_each(call: Call) -> None:
    code, told = call("")
    assert code == 0
    listed = [line.split(maxsplit=1) for line in told.splitlines() if line.startswith("  ")]
    assert dict(listed) == {name: verb.does for name, verb in VERBS.items()}
    assert call("--help") == (0, told)


@pytest.mark.parametrize("verb", VERBS)
def test_help_shows_purpose_words_defaults_examples_and_exit_codes(verb: str, call: Call) -> None:
    code, told = call(f"{verb} x=1 --help")
    assert code == 0
    assert VERBS[verb].does in told
    for word in VERBS[verb].words:
        assert f"  {word.name}={'…' if word.default is None else word.default}" in told
    assert all(f"  {example}\n" in told for example in VERBS[verb].examples)
    assert "0 done" in told
    assert "130 interrupted" in told
    assert call(f"{verb} -h") == (0, told)


@pytest.mark.parametrize("example", [example for verb in VERBS.values() for example in verb.examples])
def test_an_example_is_understood(example: str) -> None:
    _, name, *words = shlex.split(example)
    own = {"--config-dir", "./my_conf", "model=my_mlp"}  # a folder that is not here
    check_words(VERBS[name].read([word for word in words if word not in own]).of_a_run)


def test_help_of_a_run_lists_every_option_and_that_of_reproduce_every_experiment(call: Call) -> None:
    words, experiments = call("run --help")[1].replace(",", "").split(), call("reproduce --help")[1].split()
    for option in options():
        group, _, name = option.rpartition("/")
        if not group.startswith("experiments/"):
            assert name in words
    assert {"elasticzo/table1", "mobizo/speed"} <= set(experiments)
    assert "training.epochs=100" in words


@pytest.mark.parametrize(("verb", "message"), NAMED.items())
def test_a_verb_that_needs_words_asks_for_them(verb: str, message: str, call: Call) -> None:
    assert call(verb) == (2, f"{message}\n")


def test_a_verb_that_needs_no_words_does_what_is_usual(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    done = []
    monkeypatch.setattr(
        "tightfit.run.session.carry_out", lambda config, command=(): done.append(config) or Outcome("finished", Path())
    )
    monkeypatch.setattr("tightfit.bench.targets.measure_all", lambda csv=None: done.append("targets"))
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert [call(verb)[0] for verb in ("run", "bench", "plan")] == [0, 0, 0]
    config, part = done
    assert (config["optimizer"]["name"], config["dataset"]["name"], part) == ("mezo", "mnist", "targets")


@pytest.mark.parametrize(("line", "message"), [*WRONG_NAMES.items(), *WRONG_TYPES.items()])
def test_wrong_words_are_told_in_a_line_that_names_the_nearest(line: str, message: str, call: Call) -> None:
    code, told = call(line)
    assert message in told
    assert told.splitlines()[-1].startswith(message) or "Could not override" in told
    assert code == 2


def test_the_tables_above_have_every_verb() -> None:
    told = {line.split()[0] for line in WRONG_NAMES} | {"explain"}  # which reads its words itself
    assert told - {"exprot"} == set(VERBS)
    assert {line.split()[0] for line in WRONG_TYPES} | {"data", "explain", "ls", "report"} == set(VERBS)
    silent = {"run", "plan", "layers", "bench", "demo", "choose-update", "explain", "ls", "report"}
    assert NAMED.keys() | silent == set(VERBS)


def test_a_request_to_stop_ends_any_verb_with_130(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("tightfit.plan.question.parse", stopped)
    assert call("plan")[0] == 130


def test_flags_of_former_times_say_the_same() -> None:
    for flags, words in {
        "--csv": "csv=true",
        "--csv=false": "csv=false",
        "optimizer=mezo --csv seed=1": "optimizer=mezo csv=true seed=1",
    }.items():
        assert VERBS["layers"].read(flags.split()) == VERBS["layers"].read(words.split())
    assert VERBS["reproduce"].read(["a", "--jobs", "2"]) == VERBS["reproduce"].read(["a", "jobs=2"])


@pytest.mark.parametrize(("verb", "former"), [(verb, name) for verb, names in FORMER.items() for name in names])
def test_a_former_module_is_the_verb(verb: str, former: str) -> None:
    code = f"import runpy, sys; sys.argv[1:] = ['--help']; runpy.run_module('tightfit.{former}', run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"tightfit {verb} ")


def test_help_waits_for_no_library() -> None:
    code = "import sys; from tightfit.commands import main; main([]); main(['run', '--help']); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=HOME, capture_output=True, text=True, check=True)
    assert not {"torch", "hydra", "omegaconf", "numpy", "rich"} & set(done.stdout.split())


def test_a_reader_who_has_seen_enough_ends_the_output_without_a_trace() -> None:
    code = "from tightfit.commands import forward; forward('--help')"
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as closed:
        ended = subprocess.run([sys.executable, "-c", code], stdout=closed, stderr=subprocess.PIPE, text=True)
    assert (ended.returncode, ended.stderr) == (1, "")
