"""A newcomer's twelve journeys, and the tests that go them, by commands alone and on made-up data.

1. The commands that are printed, and what each verb says of itself:
   test_commands.py::test_a_printed_run_trains_with_the_optimizer_it_names,
   test_verbs.py::test_help_shows_purpose_words_defaults_examples_and_exit_codes
2. Own texts, of the forms in which sets are published, with folders of four kinds of models, to a model elsewhere:
   test_journeys.py::test_a_newcomer_goes_from_data_to_a_model_that_others_load,
   datasets/test_own_files.py::test_another_separator_or_encoding_is_read_where_it_is_named,
   use/test_export_head.py::test_it_leaves_as_a_folder_of_transformers_with_equal_logits_and_comes_back
3. An own network and own arrays, swept and compared:
   test_journeys.py::test_a_researcher_compares_methods_on_a_network_and_arrays_of_their_own,
   models/test_adapters.py::test_a_network_of_any_kind_begins_as_it_was_and_trains_the_adapter_alone
4. A table of an own sweep, and a list of all runs:
   test_ending.py::test_a_sweep_ends_in_an_answer_and_ls_lists_its_runs
5. Runs in Weights & Biases that can be told apart:
   tracking/test_offline.py::test_runs_of_a_sweep_have_names_of_their_own_that_tell_rate_budget_and_seed
6. Whether a model fits a phone:
   plan/test_published.py::test_a_folder_or_its_file_is_read_and_the_row_is_called_by_the_folder,
   plan/test_plan.py::test_a_plan_ends_in_a_sentence_that_says_what_its_rows_say
7. A run again, one that was killed, and one of code that was edited:
   test_boolean_labels.py::test_a_killed_run_is_resumed_bit_for_bit,
   test_own_folder.py::test_a_change_of_own_code_is_told_and_force_makes_the_run_again
8. A lesson of a minute: test_demo.py::test_the_demo_trains_in_three_ways_and_draws_them,
   test_notebook.py::test_the_lesson_runs_from_top_to_bottom
9. A finished model is asked, scored on other data, and trained further:
   use/test_predict.py::test_texts_are_answered_as_they_were_scored_and_without_the_data,
   use/test_score.py::test_other_settings_of_the_data_are_scored,
   test_start_from.py::test_a_run_begins_where_the_other_ended
10. The installed package, outside the checkout:
   test_installed.py::test_the_installed_command_plans_and_runs_with_a_users_own_options
11. From Python: test_api.py::test_what_the_pages_print_of_python_runs
12. Words that cannot be meant: test_bad_input.py::test_bad_input_is_told_in_one_line_before_any_work
"""

import json
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from hydra.core.global_hydra import GlobalHydra
from peft import PeftModel
from PIL import Image

from tightfit.commands import main
from tightfit.launch.reproduce import plan
from tightfit.records.record import read_run
from tightfit.run.session import carry_out

from .killing import killed_at_second_checkpoint
from .models.test_language_model import bert, tokenizer_of_words

pytestmark = pytest.mark.slow
SMALL = ["tracker=local", "optimizer=bp_adam", "training.epochs=3", "training.evaluations=3", "training.batch_size=8"]
SIZES = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
TOKENS = 32  # some tokenizers add a few to `WORDS`
CAUSAL: dict[str, Any] = {
    "gpt2": transformers.GPT2Config(vocab_size=TOKENS, n_embd=16, n_layer=2, n_head=2, n_positions=64),
    "llama": transformers.LlamaConfig(vocab_size=TOKENS, num_key_value_heads=1, **SIZES),
    "qwen2": transformers.Qwen2Config(vocab_size=TOKENS, num_key_value_heads=1, **SIZES),
}


def text(number: int) -> str:
    return " ".join(("a", "b", "c")[(number // place) % 3] for place in (1, 2, 5)) + f" {('good', 'bad')[number % 2]}"


def trec(folder: Path) -> list[str]:
    """Six classes, a file to train on and the official one to test on; none to validate on."""
    labels = ("ABBR", "DESC", "ENTY", "HUM", "LOC", "NUM")
    for name, count in (("train", 72), ("test", 18)):
        rows = "".join(f"{labels[n % 6]}\t{text(n)}\n" for n in range(count))
        (folder / f"{name}.tsv").write_text(f"label\ttext\n{rows}", encoding="latin-1")
    words = dict(zip(labels, ("a", "b", "c", "good", "bad", "was"), strict=True))
    said = ", ".join(f"{label}: {word}" for label, word in words.items())
    files = [f"dataset.{name}={folder / f'{name}.tsv'}" for name in ("train", "test")]
    verbalizers = f"dataset.verbalizers={{{said}}}"
    return ["dataset=text_file", *files, "dataset.encoding=latin-1", "dataset.validation_size=6", verbalizers]


def cola(folder: Path) -> list[str]:
    """Without a header, the label in the second column and the sentence in the fourth; judged by Matthews."""
    (folder / "cola.tsv").write_text("".join(f"gj04\t{int(n % 3 > 0)}\t*\t{text(n)}\n" for n in range(90)))
    columns = ["dataset.header=false", "dataset.text=4", "dataset.label=2", "dataset.validation_size=6"]
    place = [f"dataset.path={folder / 'cola.tsv'}", "dataset.verbalizers={0: bad, 1: good}", "training.metric=matthews"]
    return ["dataset=text_file", *columns, *place]


def boolq(folder: Path) -> list[str]:
    rows = [{"question": text(n), "passage": text(n + 7), "label": n % 2 == 0} for n in range(80)]
    (folder / "boolq.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    template = "dataset.template='{passage} . {question} {label}'"
    words = "dataset.verbalizers={true: good, false: bad}"
    return ["dataset=text_file", f"dataset.path={folder / 'boolq.jsonl'}", "dataset.text=question", template, words]


def copa(folder: Path) -> list[str]:
    rows = [
        {"premise": text(n), "choice1": "it was good .", "choice2": ("bad", "it was a bad b")[n % 2], "label": n % 2}
        for n in range(80)
    ]
    (folder / "copa.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    template = "dataset.template='{premise} . {label}'"
    choices = "dataset.choices=[choice1, choice2]"
    return [
        "dataset=multiple_choice",
        f"dataset.path={folder / 'copa.jsonl'}",
        "dataset.text=premise",
        choices,
        template,
    ]


def pictures(folder: Path) -> list[str]:
    draws = torch.Generator().manual_seed(0)
    for split, count in (("train", 24), ("test", 9)):
        for number in range(count):
            pixels = torch.randint(0, 100, (28, 28), generator=draws, dtype=torch.uint8)
            pixels[9 * (number % 3) : 9 * (number % 3) + 6] = 255
            path = folder / "pets" / split / ("cat", "dog", "owl")[number % 3] / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels.numpy()).save(path)
    return ["dataset=image_folder", f"dataset.folder={folder / 'pets'}", "dataset.size=28"]


@dataclass(frozen=True)
class Journey:
    data: Callable[[Path], list[str]]
    model: str
    form: str = "huggingface"
    words: tuple[str, ...] = ()
    head: bool = False  # in the place of words to answer by


JOURNEYS = {
    "TREC, BERT": Journey(trec, "bert"),
    "CoLA, GPT-2": Journey(cola, "gpt2"),
    "BoolQ, Llama": Journey(boolq, "llama", "peft", ("adapter=lora", "adapter.rank=2")),
    "COPA, Qwen2": Journey(copa, "qwen2"),
    "TREC, Llama with a head": Journey(trec, "llama", head=True),
    "BoolQ, BERT with a head": Journey(boolq, "bert", "peft", ("adapter=lora", "adapter.rank=2"), head=True),
    "pictures, LeNet-5": Journey(pictures, "lenet5", "safetensors"),
}


def model_words(kind: str, folder: Path) -> list[str]:
    """The words that name a folder of the kind, with random weights and its tokenizer."""
    if kind == "lenet5":
        return ["model=lenet5"]
    (folder / kind).mkdir()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        if kind == "bert":
            return ["model=hf_masked_lm", f"model.name={bert(folder / kind)}"]
        transformers.AutoModelForCausalLM.from_config(CAUSAL[kind]).save_pretrained(folder / kind)
    return ["model=hf_causal_lm", f"model.name={tokenizer_of_words(folder / kind)}"]


@pytest.fixture
def say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Does what words ask for, and gives what is said."""
    monkeypatch.setattr(sys, "argv", ["tightfit"])
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("TIGHTFIT_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("TIGHTFIT_CONF", "")
    monkeypatch.setenv("COLUMNS", "300")

    def said(*words: str) -> str:
        GlobalHydra.instance().clear()
        capsys.readouterr()
        code = main(words)
        told = capsys.readouterr()
        assert code == 0, told.out + told.err
        return told.out

    return said


@pytest.mark.parametrize("journey", JOURNEYS.values(), ids=JOURNEYS)
def test_a_newcomer_goes_from_data_to_a_model_that_others_load(
    journey: Journey, tmp_path: Path, say: Callable[..., str]
) -> None:
    """Run, run again, stopped and resumed, listed, reported, scored, asked, exported and loaded."""
    model = model_words(journey.model, tmp_path)
    if journey.head:
        model[0] = "model=hf_classifier"
    words = [*journey.data(tmp_path), *model, *journey.words, *SMALL]
    first = say("run", *words)
    assert "always answering the most frequent one is right for " in first
    assert ", Matthews " in first
    assert "already finished in " in say("run", *words)
    (one,) = plan([*words, f"paths.runs={tmp_path / 'runs'}"])
    record = read_run(one.folder)
    assert record is not None
    # Stopped and resumed, elsewhere.
    (other,) = plan([*words, f"paths.runs={tmp_path / 'killed'}"])
    with killed_at_second_checkpoint():
        carry_out(other.config)
    carry_out(other.config)
    resumed = read_run(other.folder)
    assert resumed is not None
    assert resumed.summary["weights_sha256"] == record.summary["weights_sha256"]
    key = one.folder.name
    assert key in say("ls")
    say("report", f"runs={tmp_path / 'runs'}", f"out={tmp_path / 'report'}")
    assert (tmp_path / "report" / "index.html").exists()
    scored = say("score", f"run={key}")
    assert f"accuracy {record.summary['final_accuracy']:.2%} of " in scored
    ask(say, journey, key, tmp_path)
    say("export", f"run={key}", f"format={journey.form}", f"out={tmp_path / 'out'}")
    load_elsewhere(journey, tmp_path)


def ask(say: Callable[..., str], journey: Journey, key: str, folder: Path) -> None:
    files = {"trec": "test.tsv", "cola": "cola.tsv", "boolq": "boolq.jsonl", "copa": "copa.jsonl"}
    name = files.get(journey.data.__name__, "pets/test/cat/0.png")
    answers = say("predict", f"run={key}", f"file={folder / name}")
    assert answers.count("%") >= 1


def load_elsewhere(journey: Journey, folder: Path) -> None:
    """What was exported is loaded by the program that it is for."""
    if journey.form == "safetensors":
        from safetensors.torch import load_file

        assert sum(weights.numel() for weights in load_file(folder / "out" / "model.safetensors").values()) > 0
        return
    kind = transformers.AutoModelForMaskedLM if journey.model == "bert" else transformers.AutoModelForCausalLM
    kind = transformers.AutoModelForSequenceClassification if journey.head else kind
    if journey.form == "peft":
        base = kind.from_pretrained(folder / journey.model)
        lm = PeftModel.from_pretrained(base, folder / "out")
    else:
        lm = kind.from_pretrained(folder / "out")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder / "out")
    with torch.no_grad():
        logits = lm.eval()(**tokenizer("a b good", return_tensors="pt", return_token_type_ids=False)).logits
    said = json.loads((folder / "out" / "answers.json").read_text())
    assert logits.shape[-1] == (len(said["labels"]) if journey.head else lm.config.vocab_size)


NETWORK = """
from torch import nn


def sensor_net(classes: int, seed: int) -> nn.Module:
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, classes))
"""


def test_a_researcher_compares_methods_on_a_network_and_arrays_of_their_own(
    tmp_path: Path, say: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "sensors", raising=False)
    conf = tmp_path / "my_conf"
    (conf / "model").mkdir(parents=True)
    (conf / "sensors.py").write_text(NETWORK)
    (conf / "model" / "sensor_net.yaml").write_text("_target_: sensors.sensor_net\nname: sensor_net\n")
    inputs = np.random.default_rng(0).standard_normal((200, 6)).astype("float32")
    np.savez(tmp_path / "mine.npz", x=inputs, y=np.where(inputs[:, 0] > -0.5, "calm", "rough"))
    model = [f"--config-dir={conf}", "model=sensor_net", "dataset=arrays", f"dataset.path={tmp_path / 'mine.npz'}"]
    methods = ["optimizer=bp_adam,mezo", "optimizer.lr=0.01", "seed=0,1", "experiment=sensors"]
    words = ["run", *model, *methods, *(word for word in SMALL if "optimizer" not in word)]
    table = say(*words).rpartition("Your runs: ")[2]
    assert " 4 runs, " in table
    folders = sorted(path.parent for path in (tmp_path / "runs" / "sensors").rglob("run.json"))
    records = {record.key: record for folder in folders if (record := read_run(folder))}
    assert {record.status for record in records.values()} == {"finished"}
    trained = {key: (tmp_path / "runs" / "sensors" / key / "run.json").read_bytes() for key in records}
    say(*words)  # nothing is left to do
    assert trained == {key: (tmp_path / "runs" / "sensors" / key / "run.json").read_bytes() for key in records}
    say("report", f"runs={tmp_path / 'runs'}", "x=forward_passes", f"out={tmp_path / 'report'}")
    page = (tmp_path / "report" / "index.html").read_text()
    assert "forward passes" in page
    share = next(iter(records.values())).dataset["majority_accuracy"]
    assert f"most frequent class {share:.1%}" in page
    key, record = next(iter(records.items()))
    assert f"accuracy {record.summary['final_accuracy']:.2%} of " in say("score", f"run={key}", "trust=true")


def test_every_journey_names_tests_that_are_there() -> None:
    said = __doc__ or ""
    assert len(re.findall(r"^\d+\. ", said, re.MULTILINE)) == 12
    for file, name in re.findall(r"(\S+\.py)::(\w+)", said):
        assert f"def {name}(" in (Path(__file__).parent / file).read_text(), (file, name)
