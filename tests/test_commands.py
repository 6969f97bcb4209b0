"""Every command that the documentation prints is run, small: what it says is kept, sizes and downloads are not."""

import json
import re
import shlex
from pathlib import Path

import pytest

from tightfit.commands import main
from tightfit.commands.verbs import VERBS
from tightfit.commands.words import TRUST
from tightfit.launch.reproduce import plan
from tightfit.records.places import HOME as ROOT
from tightfit.run.session import carry_out
from tightfit.run.spellings import in_todays_words

FOLDERS = ("experiments", "docs")
DOCUMENTS = [
    *(Path(ROOT) / name for name in ("README.md", "CONTRIBUTING.md")),
    *(path for folder in FOLDERS for path in (Path(ROOT) / folder).rglob("*.md")),
]
TEXTS = [path.read_text() for path in DOCUMENTS]
# Random weights instead of a download, and data made on the spot; what the optimizer is told stays as it is printed.
SMALL_MODELS = {"smollm2_135m": "llama_tiny", "smollm2_135m_lora": "llama_tiny_lora", "minilm_l6": "llama_tiny"}
SMALLER = ["profile=smoke", "tracker=local", "training.evaluations=1"]
MADE = {
    "images": ["dataset._target_=tests.synthetic.bars"],
    "texts": ["dataset._target_=tests.synthetic.sentences", "dataset.validation_size=8", "dataset.test_size=16"],
}
# Today's form, and the former ones such as `python -m tightfit.device_train`.
PRINTED = re.compile(
    r"(?:^ *|`)(?:tightfit |python -m tightfit[. ])([a-z_-]+)( [^`\n]+?)(?=`| {2,}#|$)", flags=re.MULTILINE
)
FORMER = {verb.former.removeprefix("tightfit."): verb.name for verb in VERBS.values()}
COMMANDS = sorted({FORMER.get(name, name) + words for text in TEXTS for name, words in PRINTED.findall(text)})
# Which `make bench` runs; and what tests/test_own_folder.py does.
RUN_ELSEWHERE = {
    "bench part=programs",
    "bench csv=experiments/step_cost/results/targets.csv",
    # By tests/test_bench_overhead.py:
    "bench part=load csv=experiments/reliability/results/load.csv",
    "bench part=overhead csv=experiments/reliability/results/overhead.csv",
    "bench part=page csv=experiments/reliability/results/page.csv",
    "run --config-dir ./my_conf model=my_mlp",
    "explain 'elasticzo/table1[mnist_fp32, cls1]'",  # by tests/analysis/test_explain.py
    "report runs=runs/scratch group=optimizer x=train_seconds facet=memory_budget",  # by tests/analysis/report
    # By tests/test_choose_update.py:
    (
        "choose-update model=lenet5_qas optimizer=bp memory_budget=mcu_256kib_sram_1mib_flash "
        "dataset.held_out=5000 training.batch_size=8"
    ),
    "choose-update experiments=shelf/contributions",
    "report runs=runs/scratch",
    # By tests/federated, with a model, data and a service of its own:
    "federated serve experiments=federated/lenet5 rounds=100",
    "federated join client=kitchen share=3/100 experiments=federated/lenet5",
    "federated simulate experiments=federated/lenet5 clients=100 faults=0.3",
    "federated simulate experiments=federated/lenet5 rounds=120 contributions=20 faults=0.3 steps=2 csv=simulation.csv",
    # By tests/use, on a finished run of each kind:
    'predict run=0123456789ab text="a fine film"',
    "score run=0123456789ab file=other.tsv",
    "export run=0123456789ab format=huggingface",
    "run start_from=0123456789ab seed=1",
}
HELP = [command for command in COMMANDS if command.endswith(" --help")]
LAUNCHING = ("hydra/", "hydra.", "launcher=", "jobs=")  # where runs are made: by tests/cluster
MAKE = re.compile(r"(?:`|^ *)make ([a-z0-9]+(?:-[a-z0-9]+)*)(?![a-z0-9-])", flags=re.MULTILINE)


def of_verb(*names: str) -> list[str]:
    here = [command for command in COMMANDS if command not in (*RUN_ELSEWHERE, *HELP)]
    return [command for name in names for command in here if command.split()[0] == name]


def made_data(words: list[str]) -> list[str]:
    if not {"dataset=text_file", "dataset=multiple_choice"}.isdisjoint(words):
        return []
    return MADE["texts" if "dataset=vader" in words else "images"]


@pytest.fixture(autouse=True)
def _own_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The files that the documentation calls a user's own, in the current folder."""
    for name in ("train", "dev", "test"):
        lines = [f"is {n} in {name} even?\t{n % 2}" for n in range(40)]
        (tmp_path / f"{name}.tsv").write_text("\n".join(["question\tlabel", *lines]) + "\n")
    (tmp_path / "cola.tsv").write_text("".join(f"source\t{n % 2}\t*\tsentence number {n}\n" for n in range(60)))
    rows = [
        {"premise": f"man {n} fell", "choice1": "it hurt", "choice2": "all was well", "label": n % 2} for n in range(60)
    ]
    (tmp_path / "copa.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    monkeypatch.chdir(tmp_path)


def run_small(command: str, runs: Path) -> list[Path]:
    """The folders of the runs of `command`, run on small models and data, one for each optimizer."""
    told = shlex.split(command)[1:]
    words = [word.replace("<name>", "sgd") for word in told if word != "-m" and not word.startswith(LAUNCHING)]
    models = [word.partition("=")[2] for word in words if word.startswith("model=")]
    small = [f"model={SMALL_MODELS.get(model, model)}" for model in models]
    planned = plan([*in_todays_words(words), *small, *SMALLER, *made_data(words), f"paths.runs={runs}"])
    chosen = {run.config["optimizer"]["name"]: run for run in planned}
    for run in chosen.values():
        outcome = carry_out(run.config)
        assert outcome.status == "finished", outcome.reason
    return [run.folder for run in chosen.values()]


@pytest.mark.parametrize("command", of_verb("run"))
def test_a_printed_run_trains_with_the_optimizer_it_names(command: str, tmp_path: Path) -> None:
    assert run_small(command, tmp_path)


@pytest.mark.parametrize("command", of_verb("reproduce"))
def test_a_printed_experiment_can_be_planned(command: str) -> None:
    name, *overrides = command.split()[1:]
    assert plan([f"experiments={name}", *(word for word in overrides if not word.startswith(LAUNCHING))])


@pytest.mark.parametrize("command", HELP)
def test_printed_help_is_printed(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command.split()) == 0
    assert "tightfit" in capsys.readouterr().out


@pytest.mark.parametrize("command", of_verb("plan", "layers"))
def test_a_printed_table_is_printed(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    verb, *words = command.split()
    assert main([verb, *words, *(made_data(words) if verb == "layers" else [])]) == 0
    assert capsys.readouterr().out


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the run of P-RGE that the documentation makes for its program."""
    (command,) = (command for command in COMMANDS if "optimizer=p_rge" in command)
    (folder,) = run_small(command, tmp_path_factory.mktemp("runs"))
    return folder


# In an order in which each finds what it needs.
ON_A_RUN = ("export", "train-program", "score-program", "replay", "gain")


def test_the_printed_commands_do_their_work_on_a_run(run: Path) -> None:
    """With the program of PyTorch's own runtime, which is the quickest to write."""
    for command in of_verb(*ON_A_RUN):
        text = re.sub("runs/scratch/<key>|<key>|<run folder>|<runs>", str(run), command)
        verb, *words = text.replace("executorch", "torch_export").replace(".pte", ".pt2").split()
        assert main([verb, *words, *([TRUST] if verb != "train-program" else [])]) == 0


def test_every_printed_command_is_run_here() -> None:
    run_here = HELP + of_verb("run", "reproduce", "plan", "layers", *ON_A_RUN)
    assert len(run_here) > 12
    assert set(COMMANDS) - set(run_here) == RUN_ELSEWHERE


def test_make_targets_that_are_named_exist() -> None:
    targets = re.findall(r"^([a-z0-9-]+):", (Path(ROOT) / "Makefile").read_text(), flags=re.MULTILINE)
    named = {target for text in TEXTS for target in MAKE.findall(text)}
    assert len(named) > 8
    assert named <= set(targets)
