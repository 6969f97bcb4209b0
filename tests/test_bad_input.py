"""What each command says of input it cannot use: one line with the value, the rule and the remedy, and no work done.

A case is a command line, with {tmp} for a folder that holds the files below, and what the line must say. Commands run
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
BARS = ("dataset._target_=tests.synthetic.bars", "tracker=local", "profile=smoke")
ROWS = "".join(f'{{"text": "a film {i}", "label": "{("bad", "good")[i % 2]}"}}\n' for i in range(60))
TABLE = "text\tlabel\n" + "".join(f"a film {i}\t{('bad', 'good')[i % 2]}\n" for i in range(60))
FILES: dict[str, bytes] = {
    "empty.jsonl": b"",
    "blank.jsonl": b"\n\n",
    "header.tsv": b"text\tlabel\n",
    "good.jsonl": ROWS.encode(),
    "good.tsv": TABLE.encode(),
    "cut.jsonl": ROWS.encode()[:-8],
    "list.jsonl": b'["a film", "bad"]\n',
    "number.jsonl": b"3\n",
    "nolabel.jsonl": b'{"text": "a film"}\n',
    "notext.jsonl": b'{"label": "bad"}\n',
    "null.jsonl": b'{"text": null, "label": "bad"}\n',
    "blanktext.jsonl": b'{"text": "  ", "label": "bad"}\n',
    "other.jsonl": b'{"text": "a film", "label": "ugly"}\n',
    "latin.tsv": TABLE.replace("film", "fêté").encode("latin-1"),
    "utf16.jsonl": ROWS.encode("utf-16"),
    "binary.jsonl": bytes(range(256)),
    "nested.jsonl": b"[" * 100_000 + b"\n",
    "wide.csv": ("text,label\n" + "x" * 140_000 + ",bad\n").encode(),
    "semicolon.csv": TABLE.replace("\t", ";").encode(),
    "short.tsv": b"text\tlabel\na film\n",
    "few.jsonl": "".join(ROWS.splitlines(keepends=True)[:3]).encode(),
    "file.txt": b"a film\tbad\n",
    "no.pte": b"no program",
    "no.json": b"{",
    "list.pte": b"no program",
    "list.json": b"[1]",
}
TEXT = ("model=llama_tiny", "tracker=local", "profile=smoke", "dataset=text_file")
WORDS = ("dataset.verbalizers={bad: terrible, good: great}", "dataset.validation_size=4", "dataset.test_size=4")


def runs(message: str, *words: str) -> tuple[str, tuple[str, ...], int, str]:
    return "run", (*BARS, *words), 2, message


def recorded(message: str, *words: str) -> tuple[str, tuple[str, ...], int, str]:
    """What only shows when the data and the model are there: a run that failed, and is on record as such."""
    return "run", (*BARS, *words), 1, message


def shown(message: str, *words: str) -> tuple[str, tuple[str, ...], int, str]:
    return "layers", (*BARS, *words), 2, message


def planned(message: str, *words: str) -> tuple[str, tuple[str, ...], int, str]:
    return "plan", words, 2, message


def reproduced(message: str, *words: str) -> tuple[str, tuple[str, ...], int, str]:
    return "reproduce", ("noise/lenet5", *BARS, "optimizer.noise=gaussian", *words), 2, message


def reads(message: str, name: str, *words: str) -> tuple[str, tuple[str, ...], int, str]:
    return "run", (*TEXT, f"dataset.path={{tmp}}/{name}", *(words or WORDS)), 1, message


def fails(command: str, message: str, *words: str, code: int = 2) -> tuple[str, tuple[str, ...], int, str]:
    return command, words, code, message


SEEDS = [
    runs(f"seed={said} is no whole number from 0", f"seed={said}") for said in ("1.5", "true", "-1", "abc", "null")
]
THREADS = [runs(f"threads={said} is no whole number from 1", f"threads={said}") for said in ("0", "-1", "1.5", "true")]
AMOUNTS = [
    runs(f"training.{name}={shown_as} is no amount of training; write a number above 0", f"training.{name}={said}")
    for name in ("epochs", "seconds")
    for said, shown_as in (("-1", "-1"), ("0", "0"), ("nan", "nan"), ("inf", "inf"), ("true", "True"), ("ten", "'ten'"))
] + [
    runs("training.fraction=0 is no amount", "training.fraction=0"),
    runs("training.epochs=None", "training.epochs=null"),
]
COUNTS = [
    runs(f"training.{name}={shown_as} counts nothing; write a whole number from 1", f"training.{name}={said}")
    for name in ("batch_size", "evaluations", "batch_limit")
    for said, shown_as in (("0", "0"), ("-3", "-3"), ("1.5", "1.5"), ("true", "True"), ("huge", "'huge'"))
]
LIMITS = [
    runs(f"dataset.{name}={said} is not a whole number or null", f"dataset.{name}={said}")
    for name in ("train_limit", "test_limit")
    for said in ("1.5", "true", "many")
]
UNKNOWN = [
    runs("init_from is no setting of a run; it has optimizer, model", "+init_from=x"),
    runs("checkpoint is no setting of a run", "+checkpoint=x"),
    runs("sed is no setting of a run; write seed; it has", "+sed=1"),
    runs("optimizer.nosuch is no setting of MeZO; it has lr, eps", "+optimizer.nosuch=1"),
    runs("optimizer.querys is no setting of MeZO; write optimizer.queries; it has", "+optimizer.querys=1"),
    runs("optimizer.lr.gamma is no setting of StepDecay; it has initial", "+optimizer.lr.gamma=1"),
    runs("training.epoch is no setting of training; write training.epochs; it has", "+training.epoch=1"),
    runs("paths.run is no setting of paths; write paths.runs", "+paths.run=x"),
    runs(
        "memory_budget.enforced is no setting of MemoryBudget; write memory_budget.enforce", "+memory_budget.enforced=1"
    ),
    runs("tracker.mode is no setting of LocalOnly; it has none", "+tracker.mode=online"),
    runs("model.classes is no setting of lenet5; it has none", "+model.classes=3"),
    runs("model.width is no setting of lenet5", "+model.width=3"),
    runs("cell.rows is no setting of cell; write cell.row", "+cell.rows=3"),
    runs("pretraining.optimiser is no setting of pretraining; write pretraining.optimizer", "+pretraining.optimiser=3"),
    runs("smaller.modle is no setting of smaller; write smaller.model", "+smaller.modle=3"),
    fails(
        "run",
        "dataset.test_path is no setting of mnist; write dataset.test_limit; it has name",
        "tracker=local",
        "+dataset.test_path=x",
    ),
    fails(
        "run",
        "dataset.test_path is no setting of",
        *TEXT,
        *WORDS,
        "dataset.path={tmp}/good.tsv",
        "+dataset.test_path=x",
        code=1,
    ),
    runs("Could not override 'lr'", "lr=3"),
    runs("model.lora is adapter=lora now; write adapter=lora adapter.rank=…", "model.lora=3"),
    runs("Could not find 'adapter/lorra'", "adapter=lorra"),
    runs("Could not find 'optimizer/sgdd'", "optimizer=sgdd"),
    runs("Could not find 'model/lenet6'", "model=lenet6"),
    runs("Could not find 'dataset/minst'", "dataset=minst"),
    runs("Could not find 'memory_budget/phone'", "memory_budget=phone"),
    runs("Could not find 'experiments/elasticzo/table9'", "experiments=elasticzo/table9"),
    runs("Could not find 'profile/tiny'; write profile=tuning; choose paper, short, smoke, tuning", "profile=tiny"),
]
NOTHING = [
    *(runs(f"{part}=null chooses nothing", f"{part}=null") for part in ("optimizer", "model", "dataset", "tracker")),
    runs("training=null has no settings of its own", "training=null"),
    runs("pretraining=3 has no settings of its own", "pretraining=3"),
    runs("smaller=x has no settings of its own", "+smaller=x"),
    runs("cell=x has no settings of its own", "cell=x"),
    runs("experiment=null is no folder within paths.runs", "experiment=null"),
    runs("experiment=../x is no folder within paths.runs", "experiment=../x"),
    runs("experiment=/x is no folder within paths.runs", "experiment=/x"),
    runs("paths.runs=null is no folder", "paths.runs=null"),
    runs("seed is missing, and a run needs it", "~seed"),
    runs("optimizer.lr is missing, and MeZO needs it; write +optimizer.lr=…", "~optimizer.lr"),
    runs("memory_budget.size has no default; write memory_budget.size=…", "memory_budget=custom"),
    runs("dataset.path has no default; write dataset.path=…", "dataset=text_file"),
    runs("device: Interpolation key 'nosuch' not found", "device=${nosuch}"),
    runs("missing EQUAL", "training"),
    runs("no viable alternative at input", "optimizer.lr=[1"),
]
KINDS = [
    runs("memory_budget.enforce=maybe is not true or false; write one", "+memory_budget.enforce=maybe"),
    runs("optimizer.queries=1.5 is not a whole number; write one", "optimizer.queries=1.5"),
    runs("optimizer.queries=true is not a whole number", "optimizer.queries=true"),
    runs("optimizer.bp_layers=1.5 is not a whole number", "optimizer=elastic_zo", "optimizer.bp_layers=1.5"),
    runs("adapter.rank=1.5 is not a whole number", "optimizer=p_rge", "optimizer.rank=1.5"),
    runs("optimizer.rule.beta1=x is not a number", "optimizer=bp_adam", "optimizer.rule.beta1=x"),
    runs("model._target_=nosuch.thing names no function or class", "model._target_=nosuch.thing"),
    runs("model._target_=os.sep names no function or class", "model._target_=os.sep"),
    runs("memory budget '12XB' is not a size", "memory_budget=12XB"),
    runs("memory budget '-1MB' must be more than zero bytes", "memory_budget=-1MB"),
    runs("mixes sizes and names", "memory_budget=unlimited,17GB"),
    runs("memory_budget.enforce=true but unlimited has no size", "+memory_budget.enforce=true"),
    runs("decided_by='x' is not an accounting; choose", "memory_budget.decided_by=x"),
    runs("device=toaster is not a device to train on; choose cpu or cuda", "device=toaster"),
    runs("training.keep='all' is nothing that a run leaves", "+training.keep=all"),
    runs("tracker.mode='x' is unknown; choose auto", "tracker=wandb", "tracker.mode=x"),
    runs("queries=0", "optimizer.queries=0"),
    recorded("bp_layers=9 but LeNet5 has 5 layers with weights", "optimizer=elastic_zo", "optimizer.bp_layers=9"),
    recorded("bp_layers=-1", "optimizer=elastic_zo", "optimizer.bp_layers=-1"),
    runs("bp_pass='x' is not a pass", "optimizer=elastic_zo", "optimizer.bp_pass=x"),
    runs("Could not find 'optimizer/direction/x'; choose gaussian", "optimizer.noise=x"),
    recorded("batch_size=1000 but mnist has 96 training examples; choose 1–96", "training.batch_size=1000"),
    fails(
        "run",
        "train_limit=0 leaves nothing; choose 1 or more",
        "tracker=local",
        "dataset.train_limit=0",
        code=1,
    ),
    fails("run", "held_out=-1 leaves nothing; choose 0 or more", "tracker=local", "dataset.held_out=-1", code=1),
]
# Rates and schedules: those that a method cannot mean.
RATES = [
    *(
        runs(f"optimizer.lr={shown_as}", f"optimizer={optimizer}", f"optimizer.lr={said}")
        for optimizer in ("mezo", "bp_sgd")
        for said, shown_as in (("-1", "-1"), ("abc", "'abc'"), ("nan", "nan"), ("inf", "inf"), ("null", "None"))
    ),
    runs("initial=-1", "optimizer.lr.initial=-1"),
    runs("factor=-0.5", "optimizer.lr.factor=-0.5"),
    runs("every_epochs=-0.0001", "optimizer.lr.every_epochs=-0.0001"),
    runs("optimizer.eps=0 is not more than 0", "optimizer.eps=0"),
    runs("optimizer.eps='abc' is neither a number nor a schedule", "optimizer.eps=abc"),
    runs("optimizer.clip=-1 is not more than 0", "optimizer.clip=-1"),
    runs("adapter.alpha", "optimizer=p_rge", "adapter.alpha=nan"),
    runs("adapter.rank=0 but an update has a rank", "adapter=lora", "adapter.rank=0"),
    recorded("this model has none; choose adapter=mp_lora", "optimizer=p_rge", "adapter=none"),
]
CHANNELS = "tests.test_bad_input.three_channels"
MISFITS = [
    make(message, *words)
    for make in (recorded, shown)
    for message, words in (
        ("model PointNet cannot take the examples of dataset=mnist, 1 × 28 × 28 each", ["model=pointnet"]),
        ("cannot take the examples of dataset=mnist, 1 × 28 × 28 each", [f"model._target_={CHANNELS}"]),
        ("model=lenet5 reads no text but dataset=vader is text; choose two that match", ["dataset=vader"]),
        ("model=llama_tiny reads text but dataset=mnist is not text", ["model=llama_tiny"]),
        ("int8", ["optimizer=zo_int8"]),
        ("int8", ["optimizer=niti_bp"]),
        ("int8", ["model=lenet5_int8", "optimizer=mezo"]),
        ("int8", ["model=lenet5_int8", "optimizer=bp_sgd"]),
    )
]
LAYERS = [
    shown("Could not find 'model/nope'", "model=nope"),
    shown("seed=1.5 is no whole number", "seed=1.5"),
    shown("training.batch_size=0 counts nothing", "training.batch_size=0"),
    shown("bp_layers=9 but LeNet5 has 5 layers", "optimizer=elastic_zo", "optimizer.bp_layers=9"),
    shown("checkpoint is no setting of a run", "+checkpoint=x"),
    shown("memory budget '12XB' is not a size", "memory_budget=12XB"),
    shown("Error parsing override 'lenet5'", "lenet5"),
    shown("Could not override 'lr'", "lr=3"),
    shown("dataset.path has no default", "dataset=text_file"),
    fails("layers", "--nosuch is no setting of", "--nosuch"),
]
REPRODUCE = [
    reproduced("memory budget '12XB' is not a size", "memory_budget=12XB"),
    reproduced("seed=1.5 is no whole number from 0", "seed=1.5"),
    reproduced("seed=1.5 is no whole number from 0", "seed=0,1.5"),
    reproduced("Could not find 'dataset/nosuch'", "dataset=nosuch"),
    reproduced("Could not find 'model/nosuch'", "model=nosuch"),
    reproduced(
        "Could not find 'profile/tiny'; write profile=tuning; choose paper, short, smoke, tuning", "profile=tiny"
    ),
    fails(
        "reproduce",
        "full_za'; write experiments/elasticzo/row=full_zo; choose cls1",
        "elasticzo/table1",
        "experiments/elasticzo/row@_global_=full_za",
        code=2,
    ),
    fails(
        "reproduce",
        "mobizo/queries does not say rows.q3_b3.epochs; choose one of its rows (q1_b16",
        "mobizo/queries",
        "cell.row=q3_b3",
        code=2,
    ),
    reproduced("training.epochs=-1 is no amount of training", "training.epochs=-1"),
    reproduced("init_from is no setting of a run", "+init_from=x"),
    reproduced("threads=0 is no whole number from 1", "threads=0"),
    reproduced("tracker.mode='x' is unknown", "tracker=wandb", "tracker.mode=x"),
    reproduced("model PointNet cannot take the examples of dataset=mnist", "model=pointnet", "seed=0"),
    reproduced("batch_size=1000 but mnist has 96 training examples", "training.batch_size=1000"),
    reproduced("int8", "model=lenet5_int8"),
    reproduced("Could not override 'lr'", "lr=3"),
    fails("reproduce", "Could not find 'experiments/elasticzo/table9'", "elasticzo/table9"),
    fails("reproduce", "name at least one experiment", "profile=short"),
    fails("reproduce", "name at least one experiment, such as elasticzo/table1"),
    fails("reproduce", "jobs=0 is no whole number from 1", "elasticzo/table1", "--jobs", "0"),
    fails("reproduce", "jobs=x is no whole number from 1", "elasticzo/table1", "jobs=x"),
]
PLAN = [
    planned("'llama2_7b' says no value; write KEY=VALUE", "llama2_7b"),
    planned("model=nosuch is not known; choose", "model=nosuch"),
    planned("Could not find 'memory_budget/nosuch'; choose a100_80gb", "device=nosuch"),
    planned("Could not find 'optimizer/nosuch'; choose adazeta, bp, bp_adam", "optimizer=nosuch"),
    planned("sead is not a key of a plan; choose", "sead=1"),
    planned("format='xml' is not a format; choose", "format=xml"),
    planned("training.batch_size=0 but a step needs at least one", "training.batch_size=0"),
    planned("training.batch_size=x is not a whole number", "training.batch_size=x"),
    planned("dataset.sequence_length=1.5 is not a whole number", "dataset.sequence_length=1.5"),
    planned("memory budget '12XB' is not a size", "device=12XB"),
    planned("queries=0 but a step needs at least one direction", "optimizer=mezo", "optimizer.queries=0"),
    planned("optimizer.nosuch is no setting of Backprop", "optimizer.nosuch=1"),
    planned("optimizer/rule=adam has no place beside", "optimizer=mezo", "optimizer/rule=adam"),
    planned("assumptions.nosuch is no setting of Assumptions", "assumptions.nosuch=1"),
    planned("memory_budget.flops_per_second=-1 is not a rate", "device.flops_per_second=-1"),
    planned("model.classes=0 is no whole number from 1", "model=lenet5", "optimizer=mezo", "model.classes=0"),
]
ON_RUNS = [
    fails("replay", "name at least one folder of a run, such as"),
    fails("replay", "{tmp}/nowhere holds no run", "{tmp}/nowhere"),
    fails("replay", "{tmp} holds no run", "{tmp}"),
    fails("gain", "name at least one folder of a run, such as"),
    fails("gain", "{tmp}/nowhere holds no run that finished", "{tmp}/nowhere"),
    fails("gain", "--nosuch is no setting of", "{tmp}", "--nosuch"),
    fails("export", "run is missing; write run=…"),
    fails("export", "{tmp} is no setting of export; it has run", "{tmp}"),
    fails("export", "nosuch is no setting of export", "run={tmp}", "nosuch=1"),
    fails("export", "format='tflite' is no format of programs; choose", "run={tmp}", "format=tflite"),
    fails("export", "run=0123456789ab is no folder, and 0 runs in", "run=0123456789ab"),
    fails("export", "{tmp} holds no run that began", "run={tmp}"),
    fails("score-program", "run is missing; write run=…"),
    fails("score-program", "adapters is missing; write adapters=…", "run={tmp}"),
    fails("score-program", "{tmp} holds no run that began", "run={tmp}", "adapters=x"),
    fails("score-program", "x is no setting of score-program", "x"),
    fails("train-program", "program is missing; write program=…"),
    fails("train-program", "x is no setting of train-program", "x"),
    fails(
        "train-program",
        "nowhere.pte does not exist; a program and its .json are written by",
        "program={tmp}/nowhere.pte",
    ),
    fails("train-program", "no.json is not valid JSON", "program={tmp}/no.pte", code=1),
    fails("train-program", "list.json has schema None, this version reads 2", "program={tmp}/list.pte", code=1),
    *(
        fails("train-program", f"{name}={said} is no whole number from 1", "program={tmp}/no.pte", f"{name}={said}")
        for name in ("steps", "threads")
        for said in ("0", "-1", "1.5", "x", "²")
    ),
    fails("train-program", "steps is missing; write steps=…", "program={tmp}/no.pte", "steps="),
]
OTHERS = [
    fails("data", "name at least one data set, such as mnist or fashion_mnist"),
    fails("data", "cifar is no data set that is fetched by itself; choose from", "cifar"),
    fails("data", "fashion_mist is no data set that is fetched by itself; write fashion_mnist", "fashion_mist"),
    fails("data", "--x is no setting of data; it has none", "--x"),
    fails("bench", "full is no setting of bench part=targets; it has csv", "--full"),
    fails("bench", "part=stesp is no part of bench; write part=steps; choose targets, steps, language", "part=stesp"),
    fails("bench", "threads is no setting of bench part=device; it has full", "part=device", "threads=1"),
    fails("bench", "only=7B is in no title; choose a part of one of", "part=language", "--only", "7B"),
    fails("bench", "threads=0 is no whole number from 1", "part=language", "--threads", "0"),
    fails("bench", "threads=x is no whole number from 1", "part=language", "threads=x"),
    fails("bench", "x is no setting of bench; it has part", "part=language", "x"),
    fails("bench", "only=7B is in no model's name; choose a part of one of", "part=device", "only=7B"),
    fails("bench", "rounds=0 is no whole number from 1", "part=device", "rounds=0"),
]
TEXT_FILES = [
    *(reads(name, name) for name in ("empty.jsonl", "blank.jsonl", "header.tsv", "binary.jsonl", "utf16.jsonl")),
    *(reads(name, name) for name in ("latin.tsv", "wide.csv")),
    reads("nowhere.tsv", "nowhere.tsv"),
    reads("cut.jsonl row 60 is not valid JSON", "cut.jsonl"),
    reads("list.jsonl row 1 is", "list.jsonl"),
    reads("number.jsonl row 1 is '3', which has no columns", "number.jsonl"),
    reads("nested.jsonl row 1", "nested.jsonl"),
    reads("nolabel.jsonl has no 'label' (dataset.label); its columns are ['text']", "nolabel.jsonl"),
    reads("notext.jsonl has no 'text' (dataset.text)", "notext.jsonl"),
    reads("null.jsonl row 1: text is empty", "null.jsonl"),
    reads("blanktext.jsonl row 1: text is empty", "blanktext.jsonl"),
    reads("other.jsonl row 1: label 'ugly' has no verbalizer", "other.jsonl"),
    reads("semicolon.csv has no 'text'", "semicolon.csv"),
    reads("short.tsv row 1: label is empty", "short.tsv"),
    reads("choose fewer", "few.jsonl"),
    reads("file.txt is no file this reads; choose a .jsonl, .tsv or .csv file", "file.txt"),
    reads("dataset.verbalizers", "good.tsv", "dataset.verbalizers=[bad, good]"),
    reads("label 'good' has no verbalizer", "good.tsv", "dataset.verbalizers={bad: terrible}"),
    reads("must have the place of the answer", "good.tsv", *WORDS, "dataset.template=hello"),
    reads("nosuch", "good.tsv", *WORDS, "dataset.template='{nosuch} {label}'"),
    reads("dataset.scored='dev' is not a split", "good.tsv", *WORDS, "dataset.scored=dev"),
    *(
        reads(f"dataset.{name}={said}", "good.tsv", *WORDS, f"dataset.{name}={said}")
        for name in ("sequence_length", "train_size", "train_limit")
        for said in ("0", "1.5", "abc")
    ),
    fails("run", "dataset.title", *TEXT, "dataset.path={tmp}/good.tsv", *WORDS, "dataset.title=[1]"),
]
CASES = [
    *(SEEDS + THREADS + AMOUNTS + COUNTS + LIMITS + UNKNOWN + NOTHING + KINDS + RATES + MISFITS),
    *(LAYERS + REPRODUCE + PLAN + ON_RUNS + OTHERS + TEXT_FILES),
]


def three_channels(classes: int, seed: int) -> object:
    """A network for coloured images."""
    from torch import nn

    del seed
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.LazyLinear(classes))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    for name, content in FILES.items():
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
