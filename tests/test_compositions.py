"""Every configuration composes, every experiment plans, and a run of each of its rows goes through at smoke size."""

import re
from collections.abc import Mapping
from functools import cache, reduce
from operator import getitem
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra import compose, initialize_config_dir

from analysis.load import read_records
from analysis.papers import smaller
from tightfit.launch.reproduce import Planned, plan
from tightfit.models import widening
from tightfit.records.places import HOME as ROOT
from tightfit.run.checks import check_configuration
from tightfit.run.configuration import resolved
from tightfit.run.keys import run_key
from tightfit.run.parts import build, without_descriptions
from tightfit.run.profiles import profiles_of
from tightfit.run.session import carry_out

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
    "optimizer/descent=normalised": ["optimizer=one_sided"],
    "memory_budget=custom": ["memory_budget.size=1MiB"],
    "model=hf_causal_lm": ["model.name=hf_causal_lm"],
    "model=hf_classifier": ["model.name=hf_classifier"],
    "model=hf_masked_lm": ["model.name=hf_masked_lm"],
    "dataset=arrays": ["dataset.path=my.npz"],
    "dataset=image_folder": ["dataset.folder=pets"],
    "dataset=hf_folder": ["dataset.folder=saved", "dataset.verbalizers={neg: bad, pos: good}"],
    "dataset=multiple_choice": ["dataset.path=my.jsonl", "dataset.choices=[a, b]"],
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
    for part in ("optimizer", "adapter"):
        build(without_descriptions(config[part]))


@pytest.mark.parametrize("profile", ["paper", "short", "smoke", "tuning"])
def test_profile_has_the_last_word_over_an_experiment(profile: str) -> None:
    runs = plan(["experiments=elasticzo/table1", f"profile={profile}"])
    fractions = {"paper": 1.0, "short": 0.08, "smoke": 0.02, "tuning": 0.5}
    assert {(run.config["profile"], run.config["training"]["fraction"]) for run in runs} == {
        (profile, fractions[profile])
    }


@pytest.mark.parametrize("experiment", [experiment for experiment in SWEEPS if profiles_of(experiment)])
def test_a_shorter_profile_trains_what_the_experiments_file_says(experiment: str) -> None:
    for profile, said in profiles_of(experiment).items():
        runs = plan([f"experiments={experiment}", f"profile={profile}"])
        for name, value in said.items():
            found = {str(of_setting(run.config, name)) for run in runs}
            assert found == {str(value)}, f"{profile}: {name}"


def of_setting(config: dict[str, Any], name: str) -> Any:
    """The value of a setting, the name of the chosen part for a group such as optimizer/direction."""
    found = reduce(getitem, name.replace("/", ".").split("."), config)
    return found["name"] if isinstance(found, dict) else found


COMMAND = re.compile(r"python -m tightfit\.(run|reproduce) ([^,(\n]+)")
RECIPE = re.compile(r"^(reproduce-[a-z0-9-]+): setup.*\n\t(.*)", flags=re.MULTILINE)
RECIPES = dict(RECIPE.findall((Path(ROOT) / "Makefile").read_text()))


@pytest.mark.parametrize("experiment", SWEEPS)
def test_the_header_of_an_experiment_says_how_to_run_it_what_it_costs_and_what_to_expect(experiment: str) -> None:
    lines = (EXPERIMENTS / f"{experiment}.yaml").read_text().splitlines()
    header = "\n".join(line for line in lines if line.startswith("#"))
    for said in ("Run", "Cost", *(["Expect"] if "/tuning/" not in experiment else [])):
        assert re.search(rf"^# {said}: +\S", header, flags=re.MULTILINE), f"{said} is missing"
    targets, commands = re.findall(r"make (reproduce[a-z0-9-]*)", header), COMMAND.findall(header)
    assert targets or commands
    assert all(experiment in RECIPES[target].split() for target in targets)
    for command, text in commands:
        words = text.split("--jobs")[0].split()
        named = [f"experiments={word}" if command == "reproduce" and "=" not in word else word for word in words]
        assert f"experiments={experiment}" in named
        check_configuration(first_of_sweep(experiment, named))


def first_of_sweep(experiment: str, words: list[str]) -> dict[str, Any]:
    """What the first run of the sweep is told, without the time that planning all of them takes."""
    params = yaml.safe_load((EXPERIMENTS / f"{experiment}.yaml").read_text())["hydra"]["sweeper"]["params"]
    given = {word.partition("=")[0] for word in words}
    first = [f"{key}={str(value).partition(',')[0]}" for key, value in params.items() if key not in given]
    with initialize_config_dir(config_dir=str(CONF), version_base="1.3"):
        return resolved(compose("config", overrides=[*words, *first]))


@cache  # every test of a sweep plans it, which takes up to some seconds
def planned(experiment: str) -> list[Planned]:
    """As on a processor that multiplies 16 bits fast: others compute in float32, and that is in the key."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(widening, "has_fast_16_bits", lambda _: True)
        return plan([f"experiments={experiment}"])


def recorded_of(experiment: str) -> list[dict[str, Any]]:
    """The runs of `experiment` recorded since the first protocol, whose keys were made otherwise."""
    folder, _, name = experiment.partition("/")
    records = read_records(EXPERIMENTS / folder / "results" / f"{name}.jsonl")
    return [record for record in records if record["protocol"] > 1]


def test_recorded_runs_keep_their_keys() -> None:
    """A key that changed would orphan what was recorded: experiments would start over."""
    for experiment in SWEEPS:
        name = re.search(r"^experiment: (\S+)", (EXPERIMENTS / f"{experiment}.yaml").read_text(), re.MULTILINE)
        recorded: dict[tuple[str, ...], set[str]] = {}
        for record in recorded_of(name[1] if name else experiment):
            assert run_key(record["config"]) == record["key"]
            recorded.setdefault(place(record["config"]), set()).add(record["key"])
        for run in planned(experiment) if recorded else []:
            assert run.folder.name in recorded.get(place(run.config), {run.folder.name}), place(run.config)


def place(config: Mapping[str, Any]) -> tuple[str, ...]:
    """The cell, the seed and the profile."""
    return (*map(str, config["cell"].values()), str(config["seed"]), config["profile"])


@pytest.mark.parametrize("experiment", SWEEPS)
def test_runs_of_an_experiment_differ_and_know_their_cell(experiment: str) -> None:
    runs = planned(experiment)
    assert len({run.folder for run in runs}) == len(runs) > 1
    for run in one_of_each_row(runs):
        check_configuration(run.config)
    cells = {(run.config["cell"]["row"], run.config["cell"]["column"], run.config["seed"]) for run in runs}
    said = yaml.safe_load((EXPERIMENTS / f"{experiment}.yaml").read_text())
    trials = str(said["hydra"]["sweeper"]["params"].get("trial", "")).split(",")  # without those beyond an edge
    assert set(trials) <= {"", *said.get("box", {})}
    assert len(cells) * len(trials) == len(runs)


def one_of_each_row(runs: list[Planned]) -> list[Planned]:
    return list({run.config["cell"]["row"]: run for run in reversed(runs)}.values())


@pytest.mark.slow
@pytest.mark.parametrize("experiment", SWEEPS)
def test_every_experiment_runs_at_smoke_size(experiment: str, tmp_path: Path) -> None:
    overrides = [f"experiments={experiment}", "profile=smoke", "tracker=local", f"paths.runs={tmp_path}"]
    overrides += smaller(experiment)
    if first_of_sweep(experiment, overrides[:1])["dataset"]["name"] == "modelnet40":  # which not every machine can have
        overrides += ["dataset=mnist_points", "dataset.points=64"]
    runs = one_of_each_row(plan(overrides))
    for run in runs[:1] if "/tuning/" in experiment else runs:  # the rows that are tuned are run by their experiment
        assert carry_out(run.config).status in ("finished", "over_budget"), run.label
