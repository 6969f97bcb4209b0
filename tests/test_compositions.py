"""Every configuration composes, every experiment plans, and one run of each of its rows goes through at smoke size."""

import csv
from functools import cache, reduce
from operator import getitem
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from tightfit.launch.reproduce import Planned, plan
from tightfit.models import widening
from tightfit.records.places import HOME as ROOT
from tightfit.run.checks import check_configuration
from tightfit.run.configuration import resolved
from tightfit.run.session import build, build_optimizer, carry_out

CONF, EXPERIMENTS = Path(ROOT) / "conf", Path(ROOT) / "experiments"
OPTIONS = sorted(
    f"{path.parent.relative_to(CONF)}={path.stem}"
    for path in [*CONF.glob("*/*.yaml"), *CONF.glob("optimizer/*/*.yaml")]
    if path.parent.name not in ("plan", "profile")
)
SWEEPS = sorted(
    str(path.relative_to(EXPERIMENTS).with_suffix(""))
    for path in EXPERIMENTS.rglob("*.yaml")
    if "MULTIRUN" in path.read_text()
)


# What the user must say beside the option.
MISSING = {
    **{f"optimizer/{part}": ["optimizer=bp"] for part in ("rule", "activations")},
    "memory_budget=custom": ["memory_budget.size=1MiB"],
    "model=hf_causal_lm": ["model.name=hf_causal_lm"],
    "model=hf_masked_lm": ["model.name=hf_masked_lm"],
    "dataset=text_file": ["dataset.path=my.tsv", "dataset.verbalizers={neg: bad, pos: good}"],
}


@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_composes_and_names_itself(option: str) -> None:
    group, name = option.split("=")
    extra = MISSING.get(option, MISSING.get(group, []))
    with initialize_config_dir(config_dir=str(CONF), version_base="1.3"):
        config = resolved(compose("config", overrides=[option, *extra]))
    check_configuration(config)
    part = reduce(getitem, group.split("/"), config)
    assert part.get("name", name) in (name, "1MiB") or option == "optimizer=bp"  # which its parts name
    if group in ("memory_budget", "tracker"):
        build(part)
    build_optimizer(config)


@pytest.mark.parametrize("profile", ["paper", "short", "smoke", "tuning"])
def test_profile_has_the_last_word_over_an_experiment(profile: str) -> None:
    runs = plan(["experiments=elasticzo/table1", f"profile={profile}"])
    fractions = {"paper": 1.0, "short": 0.08, "smoke": 0.02, "tuning": 0.2}
    assert {(run.config["profile"], run.config["training"]["fraction"]) for run in runs} == {
        (profile, fractions[profile])
    }


@cache  # every test of a sweep plans it, which takes a fifth of a second a run
def planned(experiment: str) -> list[Planned]:
    """As on a processor that multiplies 16 bits fast: others compute in float32, and that is in the key."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(widening, "has_fast_16_bits", lambda _: True)
        return plan([f"experiments={experiment}"])


# Recorded before their methods had all of today's options: these few start over, and cost minutes.
OUTDATED = {"elasticzo/tuning/full_zo", "elasticzo/tuning/full_zo_int8"}


def results_of(experiment: str) -> list[dict[str, str]]:
    """The recorded runs of `experiment`; none before it is recorded."""
    folder, _, name = experiment.partition("/")
    path = EXPERIMENTS / folder / "results" / f"{name}_runs.csv"
    return list(csv.DictReader(path.read_text().splitlines())) if path.exists() else []


@pytest.mark.parametrize("experiment", sorted(set(SWEEPS) - OUTDATED))
def test_recorded_runs_keep_their_keys(experiment: str) -> None:
    """A key that changed would orphan what was recorded: experiments would start over."""
    runs = planned(experiment)
    recorded: dict[tuple[str, ...], set[str]] = {}
    for row in results_of(runs[0].config["experiment"]):
        cell = (row["cell_row"], row["cell_column"], row["seed"], row["profile"])
        recorded.setdefault(cell, set()).add(row["key"])
    for run in runs:
        cell = (*(str(run.config["cell"][name]) for name in ("row", "column")), str(run.config["seed"]))
        assert run.folder.name in recorded.get((*cell, run.config["profile"]), {run.folder.name}), cell


@pytest.mark.parametrize("experiment", SWEEPS)
def test_runs_of_an_experiment_differ_and_know_their_cell(experiment: str) -> None:
    runs = planned(experiment)
    assert len({run.folder for run in runs}) == len(runs) > 1
    for run in one_of_each_row(runs):
        check_configuration(run.config)
    cells = {(run.config["cell"]["row"], run.config["cell"]["column"], run.config["seed"]) for run in runs}
    assert len(cells) == len(runs)


def one_of_each_row(runs: list[Planned]) -> list[Planned]:
    return list({run.config["cell"]["row"]: run for run in reversed(runs)}.values())


# By the experiment or its folder: random weights instead of a download, a moment instead of minutes.
SMALLER = {
    "on_device_mezo": ["model=llama_tiny_lora", "dataset=vader", "device=cpu", "training.seconds=10"],
    "mobizo": ["model=llama_tiny"],
    "noise/language": ["model=llama_tiny"],
    "elasticzo/memory_int8": ["model.backend=auto"],
    "memory_grid/lenet5_int8": ["model.backend=auto"],
}


@pytest.mark.slow
@pytest.mark.parametrize("experiment", SWEEPS)
def test_every_experiment_runs_at_smoke_size(experiment: str, tmp_path: Path) -> None:
    overrides = [f"experiments={experiment}", "profile=smoke", "tracker=local", f"paths.runs={tmp_path}"]
    overrides += SMALLER.get(experiment, SMALLER.get(experiment.partition("/")[0], []))
    if planned(experiment)[0].config["dataset"]["name"] == "modelnet40":  # which not every machine can have
        overrides += ["dataset=mnist_points", "dataset.points=64"]
    for run in one_of_each_row(plan(overrides)):
        assert carry_out(run.config).status in ("finished", "over_budget"), run.label
