"""MobiZO's tables and figures from made records, and what its experiments promise about the rows of a pass."""

from pathlib import Path
from typing import Any

import pytest

from analysis.figures import report_experiment
from analysis.load import Records, load_published, load_runs
from analysis.parallel_modes import SPEED, modes, sequential_rows, step_by_mode
from analysis.parallel_modes import page as speed_page
from analysis.queries import QUERIES, accuracy_by_queries, shares
from analysis.queries import page as queries_page
from analysis.render.markdown import markdown
from analysis.style import NoRecords
from tests.analysis.miniature import make_run
from tightfit.launch.reproduce import plan


@pytest.fixture
def timed(tmp_path: Path) -> Records:
    """One model, two kinds of random numbers; all at once three times as fast as one by one."""
    folder = tmp_path / "runs"

    def make(row: str, noise: str, seconds: float, **how: Any) -> None:
        model = {"model": {"name": "smollm2_135m"}, "dataset": {"name": "vader"}}
        how |= {"seconds": seconds, "batch_size": 4, "passes": (1 if row.endswith("both") else 8, 0), **model}
        facts = {"noise": noise, "adapter": None if row == "mezo" else "lora"}
        make_run(folder, SPEED, row, "any column", [0.5, 0.5], method=facts, pretraining={"apart": noise}, **how)

    for seed in (0, 1):
        make("p_rge_both", "gaussian_fast", 100.0 + 20 * seed, seed=seed)
        make("p_rge_none", "gaussian_fast", 330.0, seed=seed)
    make("p_rge_both", "gaussian", 150.0)
    make("mezo_lora", "gaussian", 450.0)
    make("mezo", "gaussian", 4500.0)
    return load_runs(folder, SPEED)


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """Two seeds of two ways to share 16 rows; a seed of a third diverged."""
    folder = tmp_path / "runs"
    model = {"model": {"name": "minilm_l6"}, "dataset": {"name": "vader"}}
    for seed in (0, 1):
        few, many = ({"seed": seed, "method": {"queries": queries}, **model} for queries in (1, 16))
        make_run(folder, QUERIES, "few", "any column", [0.5, 0.9, 0.7 + 0.1 * seed], batch_size=16, **few)
        make_run(folder, QUERIES, "a lot", "any column", [0.5, 0.6, 0.7], batch_size=1, seconds=5.0, **many)
    how = {"status": "diverged", "reason": "loss is nan at step 3; lower the learning rate", "batch_size": 4, **model}
    make_run(folder, QUERIES, "q8_b2, by a wrong name", "any column", [0.5], method={"queries": 4}, **how)
    return folder


def test_a_mode_is_compared_on_its_model_with_its_random_numbers(timed: Records):
    text = markdown(speed_page(timed, load_published(SPEED), "paper"))
    lines = [line for line in text.splitlines() if "| P-RGE, all" in line]
    gaussian, fast = lines
    assert "| gaussian fast | P-RGE, all at once | 1.1 (1 – 1.2) |" in fast
    assert "| – | – | 3.00 |" in fast
    assert "| 30.00 | 3.00 | – |" in gaussian


def test_whoever_probes_one_after_the_other_is_compared_to_whatever_its_name(tmp_path: Path):
    for row, passes in (("p_rge_both", 1), ("by_another_name", 8)):
        facts = {"noise": "gaussian"}
        make_run(tmp_path, SPEED, row, "any column", [0.5, 0.5], passes=(passes, 0), method=facts)
    assert sequential_rows(modes(load_runs(tmp_path, SPEED))) == ["by_another_name"]


def test_seconds_of_a_step_come_apart_into_phases(timed: Records):
    both = next(mode for mode in modes(timed) if mode.row == "p_rge_both" and mode.noise == "gaussian")
    assert both.step_seconds == pytest.approx(1.5)
    assert (both.phases["forward"], both.phases["perturb"]) == (pytest.approx(1.2), pytest.approx(0.15))


def test_the_figure_of_modes_cuts_the_bar_that_would_hide_the_others(timed: Records):
    figure = step_by_mode(timed)
    left, right = (axes for axes in figure.axes if axes.get_title(loc="left"))
    assert "gaussian fast" in right.get_title(loc="left")
    words = [text.get_text() for text in left.texts]
    assert "45 s →" in words
    assert "1.5 s  ×3.00 MeZO LoRA" in words
    assert left.get_xlim()[1] < 15  # of 45


def test_a_share_has_its_accuracy_its_best_and_its_seconds(shared: Path):
    one, diverged, many = shares(load_runs(shared, QUERIES))
    assert [(way.queries, way.batch_size) for way in (one, diverged, many)] == [(1, 16), (4, 4), (16, 1)]
    assert one.final is not None
    assert (one.final.mean, one.final.n, one.best, one.initial) == (pytest.approx(0.75), 2, 0.9, 0.5)
    assert many.step_seconds == pytest.approx(one.step_seconds / 2)
    assert (diverged.final, diverged.note) == (None, "diverged at step 3")


def test_published_numbers_say_that_they_are_second_hand(shared: Path):
    text = markdown(queries_page(load_runs(shared, QUERIES), load_published(QUERIES), "paper"))
    assert "| MiniLM-L6 | 1 | 16 | 75.00 ± 7.07 (2) |" in text
    assert "Before training: MiniLM-L6 50.00%." in text
    assert "8.1 points (second-hand:" in text
    for experiment in (QUERIES, SPEED):
        assert load_published(experiment)["source"].str.contains("second-hand").all()


def test_a_report_writes_tables_and_figure(shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    files = report_experiment(QUERIES, "paper", shared, out=tmp_path / "figures")
    assert [path.name for path in files] == [
        *("queries.md", "queries.csv", "accuracy_by_queries.png", "accuracy_by_queries.svg")
    ]
    assert "directions or sentences" in capsys.readouterr().out
    (panel,) = accuracy_by_queries(load_runs(shared, QUERIES)).axes
    assert "16 directions × 1: 70.0%" in {text.get_text() for text in panel.texts}


def test_without_records_the_figures_say_what_to_run(tmp_path: Path):
    for experiment, draw in ((QUERIES, accuracy_by_queries), (SPEED, step_by_mode)):
        with pytest.raises(NoRecords, match="run make reproduce-mobizo"):
            draw(load_runs(tmp_path, experiment))


def test_every_share_forwards_as_many_rows_in_as_many_steps():
    """What makes accuracies and seconds comparable; and the name of a row says what it does."""
    runs = plan([f"experiments={QUERIES}", "seed=0"])
    seen = set()
    for run in runs:
        optimizer, training, dataset = (run.config[part] for part in ("optimizer", "training", "dataset"))
        assert run.config["cell"]["row"] == f"q{optimizer['queries']}_b{training['batch_size']}"
        steps = training["epochs"] * (dataset["train_size"] // training["batch_size"])
        seen.add((optimizer["queries"] * training["batch_size"], round(steps, 6), optimizer["parallel"]))
    assert seen == {(16, 150.0, "both")}


def test_modes_and_baselines_see_the_same_batches_in_the_same_layers():
    runs = [run.config for run in plan([f"experiments={SPEED}", "seed=0"])]
    assert {(run["optimizer"]["queries"], run["training"]["batch_size"], run["model"]["dtype"]) for run in runs} == {
        (4, 4, "bfloat16")
    }
    assert len({str(run["dataset"]) for run in runs}) == 1
    adapters = {run["adapter"]["name"]: (run["adapter"].get("rank"), run["adapter"].get("alpha")) for run in runs}
    assert adapters == {"mp_lora": (16, 32), "lora": (16, 32), "none": (None, None)}
