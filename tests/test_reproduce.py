"""From one command to the printed table, and what it says on the way."""

import itertools
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from hydra import compose, initialize_config_dir
from rich.console import Console

from tests.optimizers.test_int8 import Products
from tightfit.datasets.dataset import DataUnavailable
from tightfit.launch import reproduce
from tightfit.launch.combinations import parsed, values_of
from tightfit.launch.reproduce import Planned, conclude, duration, main, plan, standing, summary, time_left
from tightfit.numerics.int8 import matmul as integer_matmul
from tightfit.records.places import CONF
from tightfit.records.record import RunRecord, append_eval, write_run
from tightfit.run.configuration import resolved
from tightfit.run.estimate import estimated, measured_steps
from tightfit.run.holding import only_process_in
from tightfit.run.profiles import with_profile
from tightfit.tracking.local import LocalOnly


@pytest.mark.parametrize(("seconds", "text"), [(42, "42 s"), (600, "10 min"), (9000, "2.5 h")])
def test_durations_are_told_in_the_unit_people_think_in(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_time_left_follows_from_the_share_done() -> None:
    assert time_left(60.0, 0.25) == "about 3 min left"
    assert time_left(60.0, 0.0) == ""


def planned(folder: Path) -> Planned:
    return Planned({"cell": {"row": "full_zo", "column": "mnist_fp32"}, "seed": 1}, folder)


def test_standing_tells_where_a_run_is(tmp_path: Path) -> None:
    run = planned(tmp_path)
    record = RunRecord(key="k", experiment="e", config={}, dataset={"scored": "test"})
    assert standing(run) == (0.0, "waiting")
    write_run(tmp_path, record)
    with only_process_in(tmp_path, "this"):
        assert standing(run) == (0.0, "starting")
        append_eval(tmp_path, {"done": 0.5, "test_accuracy": 0.876, "train_seconds": 12.0})
        assert standing(run) == (0.5, "accuracy 87.60% after 12 s of training")
    assert standing(run) == (0.0, "failed: its process was killed; run again to continue")
    record.status, record.reason = "diverged", "loss is nan at step 7"
    write_run(tmp_path, record)
    assert standing(run) == (1.0, "diverged: loss is nan at step 7")
    assert run.label == "full_zo · mnist_fp32 · seed 1"


def test_command_line_replaces_values_of_the_sweep() -> None:
    runs = plan(["experiments=elasticzo/table1", "dataset=mnist", "seed=4,5"])
    assert {(run.config["dataset"]["name"], run.config["seed"]) for run in runs} == {("mnist", 4), ("mnist", 5)}
    assert len(runs) == 8


@pytest.mark.parametrize(
    "words",
    [
        ["experiments=elasticzo/table1", "dataset=mnist", "seed=1,0"],
        ["experiments=shelf/tuning/kb256", "trial=t2,t5", "training.batch_size=8"],
        ["experiments=elasticzo/table1", "dataset=mnist", "seed=0", "training={fraction: 0.5},{evaluations: 3}"],
        ["experiments=elasticzo/table1", "dataset=mnist", "seed=0", "+training.other=1,2", "optimizer.lr=0.1"],
        [
            *("experiments=elasticzo/table1", "experiments/elasticzo/row@_global_=full_zo", "dataset=mnist", "seed=0"),
            *("training=1,2", "training={fraction: 0.5, evaluations: 2},{fraction: 0.6}"),
        ],
    ],
)
def test_planned_runs_are_those_that_hydra_composes_one_by_one(words: list[str]) -> None:
    with initialize_config_dir(config_dir=str(CONF), version_base="1.3"):
        given = [str(override.input_line) for override in parsed(words) if not override.is_sweep_override()]
        sweeper = compose("config", overrides=given, return_hydra_config=True).hydra.sweeper
        swept = parsed([*(f"{key}={value}" for key, value in (sweeper.params or {}).items()), *words])
        choices = {override.get_key_element(): values_of(override) for override in swept}
        keyed = ([f"{key}={value}" for value in values] for key, values in choices.items())
        composed = [resolved(compose("config", overrides=list(chosen))) for chosen in itertools.product(*keyed)]
    assert [run.config for run in plan(words)] == composed


@pytest.mark.parametrize(
    ("words", "added"),
    [
        (["-m", "experiments=mobizo/queries", "profile=smoke"], ["seed=0"]),
        (["-m", "experiments=mobizo/queries", "profile=smoke", "seed=1,2"], []),  # what is given counts
        (["experiments=mobizo/queries"], []),
        (["experiments=elasticzo/memory", "profile=smoke"], []),
        (["optimizer=mezo", "profile=smoke"], []),
    ],
)
def test_an_experiments_file_says_what_a_profile_trains(words: list[str], added: list[str]) -> None:
    assert with_profile(words) == [*words[:2], *added, *words[2:]]


def test_several_profiles_of_an_experiment_that_tells_them_apart_are_refused() -> None:
    with pytest.raises(ValueError, match="profile=short,smoke are several"):
        with_profile(["experiments=mobizo/queries", "profile=short,smoke"])


def test_the_plan_is_told_in_a_line_for_each_experiment() -> None:
    runs = plan(["experiments=elasticzo/table1", "dataset=mnist", "profile=short"])
    assert summary("elasticzo/table1", runs) == (
        "elasticzo/table1: 4 runs; rows full_zo, cls2, cls1, full_bp; columns mnist_fp32; seeds 0; profile short"
    )


def test_overrides_without_an_experiment_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["profile=short"]) == 2
    assert "name at least one experiment, such as elasticzo/table1" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["table1_modelnet40", "table1_modelnet40_cpu"])
def test_modelnet40_is_a_column_of_table_1(name: str) -> None:
    runs = plan([f"experiments=elasticzo/{name}"])
    assert {run.config["experiment"] for run in runs} == {"elasticzo/table1"}
    assert {run.config["dataset"]["points"] for run in runs} == {256 if name.endswith("cpu") else 1024}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["elasticzo/table9"], "elasticzo/table9"),
        (["elasticzo/table1", "profile=tiny"], "Could not find 'profile/tiny'"),
    ],
)
def test_unknown_names_get_one_line_and_exit_code_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    output = capsys.readouterr().out
    assert message in output
    assert "Traceback" not in output


def test_run_that_cannot_start_does_not_stop_the_estimate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unavailable(**_: object) -> None:
        raise DataUnavailable("no route")

    monkeypatch.setattr("tests.synthetic.bars", unavailable)
    (run,) = plan(["optimizer=bp_sgd", "profile=smoke", "dataset._target_=tests.synthetic.bars"])
    estimate = estimated([(tmp_path, run.config)])
    assert estimate.seconds == 0.0
    assert "not measured, and left out: no route" in estimate.basis


INTEGER_TABLE_1 = ["table1_int8", "table1_int8_star"]


@pytest.mark.parametrize("fast", [True, False])
def test_table_1_is_estimated_without_int8_products_where_the_processor_is_slow_at_them(
    fast: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every row of the short profile in integers, on images made on the spot."""
    monkeypatch.setattr(integer_matmul, "has_fast_int8", lambda: fast)
    monkeypatch.setattr(integer_matmul, "int8_is_exact", lambda: True)
    images = {"_target_": "tests.synthetic.bars", "name": "bars", "count": 300}
    runs = [run for name in INTEGER_TABLE_1 for run in plan([f"experiments=elasticzo/{name}", "profile=short"])]
    configs = [{**run.config, "dataset": images} for run in runs if run.config["dataset"]["name"] == "mnist"]
    assert {config["model"]["backend"] for config in configs} == {"auto"}
    with Products() as products:
        estimate = estimated([(tmp_path, config) for config in configs])
    assert (estimate.kinds, estimate.unmeasured) == (len(configs), ())
    assert estimate.seconds > 0
    assert (products.count > 0) == fast


def test_runs_that_differ_in_rates_and_seeds_alone_are_measured_once(tmp_path: Path) -> None:
    words = ["optimizer=mezo", "profile=smoke", "dataset._target_=tests.synthetic.bars"]
    alike = plan([*words, "optimizer.lr=0.1,0.01", "seed=0,1"])
    longer = plan([*words, "optimizer.lr=0.1,0.01", "optimizer.queries=2"])
    both = [(tmp_path, run.config) for run in [*alike, *longer]]
    assert estimated(both[:4]).kinds == 1
    assert estimated(both).kinds == 2


def test_a_run_that_seconds_end_is_estimated_without_a_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def bind(*_: object) -> None:
        raise AssertionError("bound")

    monkeypatch.setattr("tightfit.optimizers.bp.Backprop.bind", bind)
    overrides = ["optimizer=bp_sgd", "profile=smoke", "dataset._target_=tests.synthetic.bars"]
    (timed,) = plan([*overrides, "training.seconds=500"])
    assert estimated([(tmp_path, timed.config)]).seconds > 10.0  # 2 % of them, and the evaluations
    (counted,) = plan(overrides)
    with pytest.raises(AssertionError, match="bound"):
        estimated([(tmp_path, counted.config)])


@pytest.mark.parametrize(
    ("first", "warm_up", "expected"),
    [
        ((30.0, 12.0), 4, 42.0 + 998),  # two that compile, then two that agree
        ((), 2, 1000.0),
        ((40.0, 20.0, 10.0), 2, 60.0 + 998 * 10),  # the bounds end both
    ],
)
def test_steps_that_compile_are_no_measure_of_those_that_follow(
    first: tuple[float, ...], warm_up: int, expected: float
) -> None:
    clock = [0.0]

    def take(step: int) -> None:
        clock[0] += first[step] if step < len(first) else 1.0

    steps = measured_steps(take, lambda: clock[0])
    assert len(steps.warm_up) == warm_up
    assert sum(steps.measured) <= 8.0 + max(first, default=1.0)
    assert steps.seconds_of(1000) == pytest.approx(expected)


def test_the_announcement_says_what_was_measured(tmp_path: Path) -> None:
    (run,) = plan(["optimizer=bp_sgd", "profile=smoke", "dataset._target_=tests.synthetic.bars"])
    assert estimated([(tmp_path, run.config)]).basis == (
        "one run was measured; 20 steps after warm-up stand for 6; evaluations are from every 8th example"
    )


def test_a_damaged_record_gets_one_line_and_exit_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    overrides = ["profile=smoke", f"paths.runs={tmp_path}"]
    first = plan(["experiments=elasticzo/table1", *overrides])[0]
    first.folder.mkdir(parents=True)
    (first.folder / "run.json").write_text("{")
    assert main(["elasticzo/table1", *overrides]) == 2
    output = capsys.readouterr().out
    assert "delete the folder to run it again" in output
    assert output.count("\n") == 1


def test_recorded_runs_on_a_users_files_are_shown_only_while_these_are_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    overrides = ["profile=smoke", f"paths.runs={tmp_path}", "dataset=modelnet40", "dataset.folder=mine"]
    first = plan(["experiments=elasticzo/table1", *overrides])[0]
    record = RunRecord(first.folder.name, "elasticzo/table1", first.config, status="finished")
    record.dataset = {"checksums": {"train": "1" * 64}}
    write_run(first.folder, record)
    monkeypatch.setattr("tightfit.run.trust.checksums", lambda _: {"train": "2" * 64})
    assert main(["elasticzo/table1", *overrides]) == 2
    assert "a run on train with sha256 111111111111…, but that has 222222222222… now" in capsys.readouterr().out


def test_runs_that_had_ended_have_their_mirrors_completed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    completed: list[tuple[str, Path]] = []
    monkeypatch.setattr(LocalOnly, "complete", lambda self, record, folder: completed.append((record.status, folder)))
    monkeypatch.setattr(reproduce, "analysis", lambda _: SimpleNamespace(report_experiment=lambda *_, **__: []))
    ended, under_way, missing, *_ = plan(
        ["experiments=elasticzo/table1", "seed=0", "profile=smoke", "tracker=local", f"paths.runs={tmp_path}"]
    )
    for run, status in ((ended, "finished"), (under_way, "running")):
        write_run(run.folder, RunRecord(run.folder.name, "elasticzo/table1", run.config, status=status))
    conclude(Console(), [ended, under_way, missing])
    assert completed == [("finished", ended.folder)]


@pytest.mark.parametrize("missing", ["dataset=text_file", "memory_budget=custom"])
def test_a_value_without_a_default_is_asked_for(missing: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["elasticzo/table1", missing]) == 2
    assert "has no default; write " in capsys.readouterr().out


@pytest.mark.slow
def test_runs_that_fail_fail_the_command_and_say_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    overrides = ["profile=smoke", "tracker=local", "dataset=mnist", f"paths.runs={tmp_path}"]
    run = plan(["experiments=elasticzo/table1", *overrides])[0]
    run.folder.mkdir(parents=True)
    (run.folder / "checkpoint.pt").write_bytes(b"no checkpoint")
    assert main(["elasticzo/table1", "seed=0", *overrides]) == 1
    assert "failed: " in capsys.readouterr().out


def test_data_that_cannot_be_had_are_told_before_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["profile=smoke", "tracker=local", f"dataset.folder={tmp_path}", f"paths.runs={tmp_path / 'runs'}"]
    assert main(["elasticzo/table1", "dataset=mnist", "seed=0", *words]) == 2
    assert str(tmp_path) in capsys.readouterr().out
    assert not list(tmp_path.rglob("run.json"))


@pytest.mark.slow
def test_one_command_runs_the_sweeps_and_prints_their_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The floating-point and the integer columns of one table are two sweeps."""
    overrides = ["profile=smoke", "tracker=local", "dataset=mnist", f"paths.runs={tmp_path}"]
    arguments = ["elasticzo/table1", "elasticzo/table1_int8_star", *overrides]
    assert main(arguments) == 0
    output = capsys.readouterr().out
    assert "7 runs, 0 already ended" in output
    assert "Expected duration on this machine" in output
    assert "SMOKE PROFILE" in output
    for row in ("Full ZO", "ZO-Feat-Cls2", "ZO-Feat-Cls1", "Full BP"):
        assert row in output
    statuses = [json.loads(path.read_text())["status"] for path in tmp_path.rglob("run.json")]
    assert statuses == ["finished"] * 7
    for column in ("MNIST FP32", "MNIST INT8*"):
        assert column in output
    assert (tmp_path / "report" / "elasticzo" / "table1.md").exists()
    assert main(arguments) == 0
    assert "measuring" not in capsys.readouterr().out  # nothing is run twice
