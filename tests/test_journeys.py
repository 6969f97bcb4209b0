"""A newcomer's ways from data as they are published to a model that other programs load, by commands alone.

Each is of made-up data of a published form, and of a folder of a kind of model: run, run again, stopped and resumed,
listed, reported, scored, asked, exported and loaded.
"""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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


JOURNEYS = {
    "TREC, BERT": Journey(trec, "bert"),
    "CoLA, GPT-2": Journey(cola, "gpt2"),
    "BoolQ, Llama": Journey(boolq, "llama", "peft", ("adapter=lora", "adapter.rank=2")),
    "COPA, Qwen2": Journey(copa, "qwen2"),
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


@pytest.mark.parametrize("journey", JOURNEYS.values(), ids=JOURNEYS)
def test_a_newcomer_goes_from_data_to_a_model_that_others_load(
    journey: Journey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["tightfit"])
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("TIGHTFIT_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("COLUMNS", "300")

    def say(*words: str) -> str:
        GlobalHydra.instance().clear()
        capsys.readouterr()
        code = main(words)
        told = capsys.readouterr()
        assert code == 0, told.out + told.err
        return told.out

    words = [*journey.data(tmp_path), *model_words(journey.model, tmp_path), *journey.words, *SMALL]
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
    if journey.form == "peft":
        base = kind.from_pretrained(folder / journey.model)
        lm = PeftModel.from_pretrained(base, folder / "out")
    else:
        lm = kind.from_pretrained(folder / "out")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder / "out")
    with torch.no_grad():
        logits = lm.eval()(**tokenizer("a b good", return_tensors="pt", return_token_type_ids=False)).logits
    assert logits.shape[-1] == lm.config.vocab_size
    assert (folder / "out" / "answers.json").exists()
