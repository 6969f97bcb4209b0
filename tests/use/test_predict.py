"""Finished runs answer texts, questions and images as they were scored."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import transformers
from PIL import Image

from tests.rewritten import rewritten
from tests.test_boolean_labels import own_file
from tests.test_session import config
from tightfit.models.hf_tokenizer import HashedWords
from tightfit.records.record import read_run
from tightfit.run.session import carry_out
from tightfit.use.packing import write_model
from tightfit.use.predict import predictions
from tightfit.use.reading import from_text
from tightfit.use.trained import load

from .runs import trained

SAID = ["not at all", "yes it is"]


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


def test_a_text_stands_for_the_one_column_that_the_template_names(tmp_path: Path, call: Callable) -> None:
    folder = trained(tmp_path)  # whose template names {text}, the column question
    with rewritten(folder):
        pass
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
