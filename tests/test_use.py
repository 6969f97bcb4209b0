"""Finished runs are used: they answer, are scored on other data, and leave for other programs with equal logits."""

import csv
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from peft import LoraConfig, PeftModel, get_peft_model
from PIL import Image

from tightfit.commands import main
from tightfit.models.hf_tokenizer import HashedWords
from tightfit.records.record import read_run
from tightfit.run.metrics import Score
from tightfit.run.session import carry_out
from tightfit.use.packing import write_model
from tightfit.use.predict import predictions
from tightfit.use.reading import from_text
from tightfit.use.score import Scored
from tightfit.use.trained import Trained, load

from .test_boolean_labels import own_file
from .test_language_runs import optimizer
from .test_session import config

LORA = {"_target_": "tightfit.models.adapters.lora.LoRA", "name": "lora", "rank": 2, "alpha": 4}
MP_LORA = {"_target_": "tightfit.models.adapters.mp_lora.MPLoRA", "name": "mp_lora", "rank": 2, "alpha": 8}
ADAPTERS: dict[str, dict[str, Any] | None] = {"none": None, "lora": LORA, "mp_lora": MP_LORA}
SIZES = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
TINY: dict[str, tuple[str, Any]] = {
    "llama": (
        "LlamaForCausalLM",
        transformers.LlamaConfig(vocab_size=256, num_key_value_heads=1, max_position_embeddings=64, **SIZES),
    ),
    "llama, tied": (
        "LlamaForCausalLM",
        transformers.LlamaConfig(
            vocab_size=256, num_key_value_heads=1, max_position_embeddings=64, tie_word_embeddings=True, **SIZES
        ),
    ),
    "gpt2, tied": ("GPT2LMHeadModel", transformers.GPT2Config(vocab_size=256, n_embd=16, n_layer=2, n_head=2)),
    "qwen2": ("Qwen2ForCausalLM", transformers.Qwen2Config(vocab_size=256, num_key_value_heads=1, **SIZES)),
}
TOKENIZER = {"_target_": "tightfit.models.hf_tokenizer.HashedWords", "vocabulary": 256}


def saved(folder: Path, kind: str) -> dict[str, Any]:
    """A model with random weights, as a folder of transformers; the settings of a run that name it."""
    name, described = TINY[kind]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        getattr(transformers, name)(described).save_pretrained(folder / "source")
    return {
        "_target_": "tightfit.models.hf_causal_lm.hf_causal_lm",
        "name": kind,
        "source": str(folder / "source"),
        "tokenizer": TOKENIZER,
    }


def trained(folder: Path, kind: str = "llama", adapter: str = "none", **changes: Any) -> Path:
    chosen = {"adapter": ADAPTERS[adapter]} if ADAPTERS[adapter] else {}
    described = own_file(folder, model=saved(folder, kind), optimizer=optimizer("bp_adam"), **chosen, **changes)
    outcome = carry_out(described)
    assert outcome.status == "finished", outcome.reason
    return outcome.folder


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    monkeypatch.setattr(sys, "path", list(sys.path))

    def said(*words: str) -> tuple[int, str]:
        capsys.readouterr()
        code = main(words)
        told = capsys.readouterr()
        return code, told.out + told.err

    return said


def logits_of_answers(lm: Any, folder: Path, tokens: torch.Tensor) -> torch.Tensor:
    """Of the answers, (1, c), as somebody reads them who has the folder alone."""
    answers = json.loads((folder / "answers.json").read_text())["tokens"]
    with torch.no_grad():
        return lm.eval()(input_ids=tokens).logits[:, -1, answers]


def asked(run: Trained) -> tuple[torch.Tensor, torch.Tensor]:
    """The tokens of a text, without padding, and the logits that the run's model gives for it."""
    inputs = from_text(run, "is word1 word2").examples.inputs
    with torch.no_grad():
        return run.encode(inputs)[:, : int((inputs != 0).sum())], run.model(run.encode(inputs))


# GPT-2 has no layers of PyTorch's Linear for MP-LoRA to adapt.
KINDS = [(kind, adapter) for kind in TINY for adapter in ADAPTERS if (kind[:4], adapter) != ("gpt2", "mp_lora")]


@pytest.mark.parametrize(("kind", "adapter"), KINDS)
def test_a_run_leaves_as_a_folder_of_transformers_with_equal_logits(kind: str, adapter: str, tmp_path: Path) -> None:
    run = load(trained(tmp_path, kind, adapter))
    write_model(run, "huggingface", tmp_path / "out")
    tokens, expected = asked(run)
    lm = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    found = logits_of_answers(lm, tmp_path / "out", tokens)
    # Sums of 16 to 64 products in float32, in another order where updates are merged.
    assert torch.allclose(found, expected, rtol=1e-5, atol=1e-6)
    source = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "source")
    before = logits_of_answers(source, tmp_path / "out", tokens)
    assert not torch.allclose(before, expected, rtol=1e-5, atol=1e-6)  # training moved what is compared
    assert not list((tmp_path / "out").glob("*.bin"))


@pytest.mark.parametrize("adapter", ["lora", "mp_lora"])
def test_updates_leave_as_an_adapter_of_peft_with_equal_logits(adapter: str, tmp_path: Path) -> None:
    run = load(trained(tmp_path, "llama", adapter))
    write_model(run, "peft", tmp_path / "out")
    tokens, expected = asked(run)
    base = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "source")
    before = logits_of_answers(base, tmp_path / "out", tokens)
    found = logits_of_answers(PeftModel.from_pretrained(base, tmp_path / "out"), tmp_path / "out", tokens)
    assert torch.allclose(found, expected, rtol=1e-5, atol=1e-6)
    assert not torch.allclose(before, expected, rtol=1e-5, atol=1e-6)  # training moved what is compared
    size = (tmp_path / "out" / "adapter_model.safetensors").stat().st_size
    assert size < (tmp_path / "source" / "model.safetensors").stat().st_size / 2


class MaskedWords(HashedWords):
    """As `HashedWords`, for models that answer at a mask."""

    mask = 255
    answers_last = False

    def prompt(self, before: str, after: str, longest: int) -> tuple[list[int], bool]:
        return [*(self._tokens(before)), self.mask, *self._tokens(after)], False


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("adapter", ["none", "lora"])
def test_a_masked_model_leaves_with_equal_logits(adapter: str, tied: bool, tmp_path: Path) -> None:
    described = transformers.BertConfig(vocab_size=256, max_position_embeddings=64, tie_word_embeddings=tied, **SIZES)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        transformers.BertForMaskedLM(described).save_pretrained(tmp_path / "source")
    model = {
        "_target_": "tightfit.models.hf_causal_lm.hf_masked_lm",
        "name": "bert",
        "source": str(tmp_path / "source"),
        "tokenizer": {"_target_": "tests.test_use.MaskedWords", "vocabulary": 254},
    }
    changes = {"adapter": ADAPTERS[adapter]} if ADAPTERS[adapter] else {}
    outcome = carry_out(own_file(tmp_path, model=model, optimizer=optimizer("bp_adam"), **changes))
    assert outcome.status == "finished", outcome.reason
    run = load(outcome.folder)
    write_model(run, "huggingface", tmp_path / "out")
    inputs = from_text(run, "is word1 word2").examples.inputs
    tokens = inputs[:, : int((inputs != 0).sum())]
    with torch.no_grad():
        expected = run.model(run.encode(inputs))
    found = {
        name: transformers.AutoModelForMaskedLM.from_pretrained(tmp_path / name).eval()(input_ids=tokens).logits
        for name in ("out", "source")
    }
    place = int((tokens[0] == MaskedWords.mask).nonzero())
    answers = list(run.dataset.answers)
    assert torch.allclose(found["out"][:, place, answers], expected, rtol=1e-5, atol=1e-6)
    assert not torch.allclose(found["source"][:, place, answers], expected, rtol=1e-5, atol=1e-6)


SAID = ["not at all", "yes it is"]


@pytest.mark.parametrize(("kind", "adapter"), [("llama, tied", "none"), ("llama", "lora"), ("gpt2, tied", "lora")])
def test_answers_of_several_tokens_are_predicted_scored_and_leave(
    kind: str, adapter: str, tmp_path: Path, call: Callable
) -> None:
    described = own_file(tmp_path)["dataset"]
    dataset = {**described, "verbalizers": dict(zip((False, True), SAID, strict=True))}
    folder = trained(tmp_path, kind, adapter, dataset=dataset)
    record = read_run(folder)
    assert record is not None
    code, told = call("score", f"run={folder}")
    assert (code, f"loss {record.summary['final_loss']:.4f};" in told) == (0, True), told
    run = load(folder)
    write_model(run, "huggingface", tmp_path / "out")
    lm = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out").eval()
    answers = json.loads((tmp_path / "out" / "answers.json").read_text())
    (prediction,) = predictions(run, from_text(run, "is word1 word2"))
    prompt = HashedWords(256).prompt("is word1 word2? ", "", 64)[0]
    means = []
    for tokens in answers["tokens"]:
        with torch.no_grad():
            logits = lm(input_ids=torch.tensor([[*prompt, *tokens]])).logits[0].log_softmax(dim=1)
        said = [logits[len(prompt) + place - 1, token] for place, token in enumerate(tokens)]
        means.append(torch.stack(said).mean())
    expected = dict(zip(("false", "true"), torch.stack(means).softmax(dim=0).tolist(), strict=True))
    assert prediction.probabilities == pytest.approx(expected, rel=1e-4)


def test_questions_with_answers_of_their_own_are_predicted_and_scored(tmp_path: Path, call: Callable) -> None:
    rows = [
        {"premise": f"man {n} broke his toe", "choice1": "he had a hole in it", "choice2": "he fell", "label": n % 2}
        for n in range(60)
    ]
    path = tmp_path / "copa.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    dataset = {
        "_target_": "tightfit.datasets.multiple_choice.multiple_choice",
        "name": "multiple_choice",
        "path": str(path),
        "text": "premise",
        "label": "label",
        "choices": ["choice1", "choice2"],
        "template": "{premise} because {label}",
        "train_size": None,
        "validation_size": 4,
    }
    folder = trained(tmp_path, dataset=dataset)
    record = read_run(folder)
    assert record is not None
    code, told = call("score", f"run={folder}")
    assert (code, f"loss {record.summary['final_loss']:.4f};" in told) == (0, True), told
    longer = [{**rows[0], "choice1": "he had a very large and very old hole in it"}]
    (tmp_path / "new.jsonl").write_text("".join(json.dumps(row) + "\n" for row in longer + rows[1:]))
    code, told = call("predict", f"run={folder}", f"file={tmp_path / 'new.jsonl'}", f"out={tmp_path / 'out.csv'}")
    assert (code, told.strip()) == (0, f"{tmp_path / 'out.csv'}: 60 predictions")
    made = list(csv.DictReader((tmp_path / "out.csv").open()))
    right = sum(each["label"] == str(row["label"]) for each, row in zip(made, rows, strict=True))
    assert f"accuracy {right / 60:.2%} of 60" in call("score", f"run={folder}", f"file={tmp_path / 'new.jsonl'}")[1]
    code, told = call("predict", f"run={folder}", "text=a man fell")
    assert (code, told.strip()) == (
        2,
        "the run's questions have answers of their own to choose from; give them by file=…",
    )


def test_an_adapter_that_left_starts_a_run(tmp_path: Path) -> None:
    run = load(trained(tmp_path, "llama", "lora"))
    write_model(run, "peft", tmp_path / "out")
    model = {**run.config["model"], "source": str(tmp_path / "out")}
    still = {**optimizer("bp_sgd"), "lr": 0.0}
    again = load(carry_out(own_file(tmp_path, model=model, optimizer=still)).folder)
    inputs = from_text(run, "is word1 word2").examples.inputs
    with torch.no_grad():
        assert torch.equal(again.model(run.encode(inputs)), run.model(run.encode(inputs)))


def test_an_adapter_that_peft_made_starts_a_run_whose_adapter_peft_loads(tmp_path: Path, call: Callable) -> None:
    saved(tmp_path, "llama")
    base = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "source")
    made = get_peft_model(base, LoraConfig(r=2, lora_alpha=4, target_modules=["q_proj", "v_proj"]))
    for name, parameter in made.named_parameters():
        if ".lora_" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    made.save_pretrained(tmp_path / "theirs")
    tokens = torch.tensor([[5, 9, 200, 31]])
    with torch.no_grad():
        before = made.eval()(input_ids=tokens).logits
    model = {
        "_target_": "tightfit.models.hf_causal_lm.hf_causal_lm",
        "name": "theirs",
        "source": str(tmp_path / "theirs"),
        "tokenizer": TOKENIZER,
    }
    folder = carry_out(own_file(tmp_path, model=model, optimizer=optimizer("bp_adam"))).folder
    run = load(folder)
    assert call("export", f"run={folder}", "format=peft", f"out={tmp_path / 'ours'}")[0] == 0
    fresh = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "source")
    loaded = PeftModel.from_pretrained(fresh, tmp_path / "ours").eval()
    whole = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "ours").eval()  # which finds the base itself
    with torch.no_grad():
        found, again = loaded(input_ids=tokens).logits, whole(input_ids=tokens).logits
        expected = run.model(tokens)
    answers = list(run.dataset.answers)
    # A product with two rows of an embedding is summed in another order than with all.
    assert torch.allclose(found[:, -1, answers], expected, rtol=1e-5, atol=1e-6)
    assert torch.equal(found, again)
    assert not torch.allclose(found, before, rtol=1e-5, atol=1e-6)  # training moved what is compared
    # The run began where peft ended.
    still = {**optimizer("bp_sgd"), "lr": 0.0}
    kept = load(carry_out(own_file(tmp_path, model=model, optimizer=still)).folder)
    with torch.no_grad():
        assert torch.allclose(kept.model(tokens), before[:, -1, answers], rtol=1e-5, atol=1e-6)


def test_texts_are_answered_as_they_were_scored_and_without_the_data(tmp_path: Path, call: Callable) -> None:
    folder = trained(tmp_path)
    record = read_run(folder)
    assert record is not None
    rows = [json.loads(line) for line in (tmp_path / "val.jsonl").read_text().splitlines()]
    (tmp_path / "val.jsonl").rename(tmp_path / "moved.jsonl")
    code, told = call("predict", f"run={folder}", f"file={tmp_path / 'moved.jsonl'}", f"out={tmp_path / 'out.csv'}")
    assert (code, told.strip()) == (0, f"{tmp_path / 'out.csv'}: 60 predictions")
    made = list(csv.DictReader((tmp_path / "out.csv").open()))
    right = sum(each["label"] == str(row["label"]).lower() for each, row in zip(made, rows, strict=True))
    code, told = call("score", f"run={folder}", f"file={tmp_path / 'moved.jsonl'}")
    assert (code, told.split(" (95 %")[0]) == (0, f"moved.jsonl: accuracy {right / 60:.2%} of 60")
    assert "always answering the most frequent class is right for 50.00%\nmacro F1 " in told
    for each in made:
        assert float(each["p(false)"]) + float(each["p(true)"]) == pytest.approx(1, abs=2e-6)  # rounded to 6 places


def test_a_text_is_answered_alone_as_among_others(tmp_path: Path, call: Callable) -> None:
    folder = trained(tmp_path)
    run = load(folder)
    (alone,) = predictions(run, from_text(run, "is word1 word1"))
    code, told = call("predict", f"run={folder}", "text=is word1 word1")
    assert (code, told) == (0, f"{alone.label}  {alone.probabilities[alone.label]:.1%}  is word1 word1\n")
    (tmp_path / "many.txt").write_text("is word1 word1\n\nis word2 and some more words than before\n")
    code, told = call("predict", f"run={folder}", f"file={tmp_path / 'many.txt'}")
    assert told.splitlines()[0] == f"{alone.label}  {alone.probabilities[alone.label]:.1%}  is word1 word1"


def test_the_data_of_the_run_are_scored_as_the_run_scored_them(tmp_path: Path, call: Callable) -> None:
    for folder in (trained(tmp_path), carry_out(config(tmp_path / "images")).folder):
        record = read_run(folder)
        assert record is not None
        code, told = call("score", f"run={folder}", "trust=true")
        assert code == 0, told
        size = sum(record.dataset["scored_counts"])
        assert f"accuracy {record.summary['final_accuracy']:.2%} of {size} (95" in told
        assert f"loss {record.summary['final_loss']:.4f};" in told


def test_other_settings_of_the_data_are_scored(tmp_path: Path, call: Callable) -> None:
    folder = trained(tmp_path)
    assert "text_file, validation: accuracy" in call("score", f"run={folder}", "dataset.scored=validation")[1]
    code, told = call("score", f"run={folder}", "dataset.verbalizers={false: No, true: Perhaps}")
    assert (code, "has 2 classes that are not the 2 of the run; choose data" in told) == (1, True)


def test_a_text_stands_for_the_one_column_that_the_template_names(tmp_path: Path, call: Callable) -> None:
    folder = trained(tmp_path)  # whose template names {text}, the column question
    path = folder / "run.json"
    record = path.read_text()
    expected = call("predict", f"run={folder}", "text=is word1 word1")
    path.write_text(record.replace("{text}?", "{question}?"))
    assert call("predict", f"run={folder}", "text=is word1 word1") == expected
    path.write_text(record.replace("{text}?", "{question} {answer}?"))
    code, told = call("predict", f"run={folder}", "text=is word1 word1")
    assert (code, told.strip()) == (
        2,
        "the run's template names answer, question; give texts by file=… with these columns",
    )


def test_an_image_is_answered(tmp_path: Path, call: Callable) -> None:
    for number in range(120):
        path = tmp_path / "pets" / ("cat", "dog")[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        image = Image.new("L", (28, 28), number)
        image.paste(255, (0, 14 * (number % 2), 28, 14 * (number % 2) + 14))
        image.save(path)
    dataset = {"_target_": "tightfit.datasets.image_folder.image_folder", "name": "image_folder"}
    folder = carry_out(config(tmp_path, dataset={**dataset, "folder": str(tmp_path / "pets")})).folder
    for name in ("cat/0", "dog/1"):
        code, told = call("predict", f"run={folder}", f"file={tmp_path / 'pets' / name}.png")
        assert (code, told.split()[0]) == (0, name.split("/")[0])
    assert call("predict", f"run={folder}", "text=a cat")[1].startswith("model=lenet5 reads no text; give it images")
    assert call("predict", f"run={folder}", "file=a.tsv")[1].startswith("file=a.tsv is no image (.png, ")


def test_an_interval_is_wilsons() -> None:
    low, high = Scored("", (), Score([[45, 5], [0, 0]], 0.0)).interval
    # Each end is where the accuracy lies 1.96 standard deviations of that end away.
    for end in (low, high):
        assert abs(0.9 - end) == pytest.approx(1.959964 * (end * (1 - end) / 50) ** 0.5)
    assert Scored("", (), Score([[10, 0], [0, 0]], 0.0)).interval[1] == pytest.approx(1)


WRONG = {
    "predict run={run}": "predict answers one text or a file of them; write text=… or file=…",
    "predict run={run} text=a file=b.txt": "predict answers one text or a file of them; write text=… or file=…",
    "predict run=0123456789ab text=a": "run=0123456789ab is no folder, and 0 runs in",
    "predict run={tmp} text=a": "holds no run that finished; name the folder or the key of one",
    "score run={run} seed=3": "seed=3 is nothing that a score takes; it has run, file, trust and dataset…=…",
    "score run={run} file=a.tsv dataset=mnist": "file=a.tsv and dataset=mnist both name data; leave one out",
    "score run={run} dataset.scored=test,validation": "dataset.scored=test,validation is not one value; give one",
    "export run={run} format=peft": "the run trained no low-rank updates; choose format=huggingface",
}


@pytest.mark.parametrize(("line", "message"), WRONG.items())
def test_wrong_words_are_told(line: str, message: str, tmp_path: Path, call: Callable) -> None:
    folder = trained(tmp_path)
    code, told = call(*(word.format(run=folder, tmp=tmp_path) for word in line.split()))
    assert message in told
    assert (code, told.count("\n")) == (2, 1)


def test_a_model_that_is_none_of_transformers_leaves_as_plain_weights(tmp_path: Path, call: Callable) -> None:
    folder = carry_out(config(tmp_path / "images")).folder
    code, told = call("export", f"run={folder}", "trust=true", "format=huggingface")
    assert (code, "model=lenet5 is none of transformers'; choose format=safetensors" in told) == (2, True)
    assert call("export", f"run={folder}", "trust=true", "format=safetensors")[0] == 0
    from safetensors.torch import load_file

    weights = load_file(folder / "safetensors" / "model.safetensors")
    kept = torch.load(folder / "weights.pt", weights_only=True)
    assert weights.keys() == kept.keys()
    assert all(torch.equal(weights[name], kept[name]) for name in kept)
