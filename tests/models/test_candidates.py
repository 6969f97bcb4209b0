"""Answers of several tokens and of an example's own: scored as the whole model of the library scores each alone."""

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from tests.synthetic import sentences
from tightfit.datasets.candidates import reader_of
from tightfit.datasets.dataset import Appended, Dataset
from tightfit.datasets.multiple_choice import multiple_choice
from tightfit.datasets.prompts import Labelled, Prompting
from tightfit.models.candidates import CandidateLM
from tightfit.models.hf_causal_lm import hf_classifier, random_causal_lm
from tightfit.models.hf_tokenizer import HashedWords, HFTokenizer
from tightfit.models.language_model import LanguageModel
from tightfit.run.checkpoint import weights_digest
from tightfit.run.evaluate import answers, score

from .test_language_model import CAUSAL, WORDS, bert, tokenizer_of_words

KINDS = {
    **CAUSAL,
    "opt": (
        "opt",
        {
            "vocab_size": 64,
            "hidden_size": 16,
            "ffn_dim": 24,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "max_position_embeddings": 64,
            "word_embed_proj_dim": 8,
        },
    ),
}
SAID = ["terrible and dull", "great"]


def built(kind: str, dataset: Dataset, **options: Any) -> LanguageModel:
    architecture, settings = KINDS[kind]
    positions = {"n_positions": 64} if kind == "gpt2" else {"max_position_embeddings": 64}
    tokenizer, answers = HashedWords(64), dataset.answers
    described = {**settings, **positions}
    return random_causal_lm(architecture, described, tokenizer, answers, dataset.classes, seed=0, **options)


def read(**prompting: Any) -> Dataset:
    return sentences("s", HashedWords(64), verbalizers=SAID, **prompting)


def one_by_one(model: LanguageModel, prompt: list[int], answer: list[int]) -> float:
    """The mean log-probability of `answer` after `prompt`, from a pass over them alone."""
    tokens = [*prompt, *answer]
    logits = model.lm(input_ids=torch.tensor([tokens])).logits[0].log_softmax(dim=1)
    return sum(float(logits[len(prompt) + n - 1, token]) for n, token in enumerate(answer)) / len(answer)


# OPT counts positions by a mask of tokens, which eager attention does not get here.
WAYS = [(kind, attention) for kind in KINDS for attention in ("sdpa", "eager") if (kind, attention) != ("opt", "eager")]


@pytest.mark.parametrize(("kind", "attention"), WAYS)
def test_a_score_is_the_mean_log_probability_of_the_answer(kind: str, attention: str) -> None:
    dataset, tokenizer = read(), HashedWords(64)
    assert dataset.answers == Appended(3)
    model = built(kind, dataset, attention=attention)
    assert isinstance(model, CandidateLM)
    prompting = Prompting("{text} It was {label}", SAID)
    encode = model.traits.input_encoding
    assert encode is not None
    with torch.no_grad():
        found = model(encode(0.0, 1.0)(dataset.test.inputs[:3]))
        for row, scores in zip(dataset.test.inputs[:3], found, strict=True):
            for place, word in enumerate(SAID):
                answer = tokenizer.answer(word)
                assert answer is not None
                whole = [token for token in row[place, 3:].tolist() if token != tokenizer.pad]
                assert whole[-len(answer) :] == answer
                expected = one_by_one(model, whole[: -len(answer)], answer)
                assert float(scores[place]) == pytest.approx(expected, rel=1e-4)
    assert reader_of(prompting, tokenizer).answers == dataset.answers


def test_words_of_one_token_are_scored_alike_in_either_way() -> None:
    """They differ by the log-probability of all other words, which is the same for both answers."""
    one = sentences("s", HashedWords(64), verbalizers=["terrible", "great"])
    model = built("llama", one)
    whole = random_causal_lm(*(KINDS["llama"]), HashedWords(64), Appended(1), 2, seed=0)
    assert isinstance(whole, CandidateLM)
    prompts = one.train.inputs[:6]
    widths = (prompts != 0).sum(dim=1)
    rows = torch.zeros(6, 2, 1 + prompts.shape[1] + 1, dtype=torch.int64)
    for number, width in enumerate(widths.tolist()):
        for place, token in enumerate(one.answers):  # ty: ignore[not-iterable]
            rows[number, place, 0] = width
            rows[number, place, 1 : 1 + width] = prompts[number, :width]
            rows[number, place, 1 + width] = token
    with torch.no_grad():
        apart = whole(rows) - model(prompts)
    torch.testing.assert_close(apart[:, 0], apart[:, 1], rtol=1e-4, atol=1e-5)


def test_padding_beside_an_example_changes_nothing() -> None:
    dataset = read()
    model = built("llama", dataset)
    encode = model.traits.input_encoding
    assert encode is not None
    with torch.no_grad():
        together = torch.cat([logits for logits, _ in answers(model, dataset.test, encode(0.0, 1.0))])
        alone = torch.cat([model(encode(0.0, 1.0)(row[None])) for row in dataset.test.inputs])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


COPA = [
    {
        "premise": f"the man number {n} broke his toe",
        "choice1": "he got a hole in his sock",
        "choice2": "he dropped a hammer",
        "label": n % 2,
    }
    for n in range(60)
]


def copa(folder: Path, rows: list[dict[str, Any]] = COPA, **changes: Any) -> Dataset:
    import json

    path = folder / "copa.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = {"text": "premise", "label": "label", "choices": ["choice1", "choice2"], "train_size": None}
    settings |= {"template": "{premise} because {label}", "validation_size": 4}
    return multiple_choice("copa", HashedWords(64), str(path), **{**settings, **changes})


def test_each_example_has_answers_of_its_own(tmp_path: Path) -> None:
    rows = [{**row, "choice2": f"he dropped {'a very heavy ' * (n % 3)}hammer"} for n, row in enumerate(COPA)]
    dataset = copa(tmp_path, rows)
    assert dataset.answers == Appended(9)
    assert dataset.example_shape[0] == dataset.classes == 2
    model = built("llama", dataset)
    encode = model.traits.input_encoding
    assert encode is not None
    found = score(model, dataset.test, encode(0.0, 1.0))
    assert found.examples == len(dataset.test)
    places = dataset.test.inputs[:, :, :9]
    assert set((places > 0).sum(dim=2)[:, 0].tolist()) == {7}  # he got a hole in his sock
    assert set((places > 0).sum(dim=2)[:, 1].tolist()) <= {3, 6, 9}


def test_answers_may_be_a_list_in_a_column_and_labels_other_than_from_0(tmp_path: Path) -> None:
    rows = [
        {"premise": row["premise"], "endings": [row["choice1"], row["choice2"]], "label": str(1 + row["label"])}
        for row in COPA
    ]
    listed = copa(tmp_path, rows, choices="endings", labels=[1, 2])
    plain = copa(tmp_path)
    assert torch.equal(listed.train.inputs, plain.train.inputs)
    assert torch.equal(listed.train.labels, plain.train.labels)


REFUSED: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "label": ({"label": 7}, {}, "row 61: label '7' names none of the answers, which go by 0, 1; say what labels mean"),
    "fewer": (
        {"choices": ["a", "b", "c"], "label": 1},
        {"choices": "choices"},
        "row 61 has 3 answers to choose from, others 2",
    ),
    "no text": ({"choice2": ""}, {}, "row 61: choice2 is empty"),
    "labels": ({}, {"labels": [1]}, "dataset.labels=[1] but there are 2 answers to choose from; name each once"),
    "after": ({}, {"template": "{label} since {premise}"}, "but answers of several tokens come last"),
    "no place": ({}, {"sequence_length": 5}, "is 7 tokens, which leaves no place for a prompt in dataset.sequence_len"),
}


@pytest.mark.parametrize(("row", "settings", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_chosen_among_is_told(
    row: dict[str, Any], settings: dict[str, Any], message: str, tmp_path: Path
) -> None:
    rows = [{**each, "choices": [each["choice1"], each["choice2"]]} for each in COPA]
    with pytest.raises(ValueError) as caught:  # noqa: PT011, the message is what is looked at
        copa(tmp_path, [*rows, {**rows[0], **row}], **settings)
    assert message in str(caught.value)


def test_a_masked_model_answers_at_one_place_and_says_so(tmp_path: Path) -> None:
    tokenizer = HFTokenizer(str(bert(tmp_path)), answers_at="mask")
    with pytest.raises(ValueError, match="'it was' is 2 tokens to this model, which answers at one place; choose"):
        sentences("s", tokenizer, verbalizers=["it was", "good"])
    head = HFTokenizer(str(tmp_path), answers_at="head")
    assert sentences("s", head, verbalizers=["it was", "good"]).answers == ()
    with pytest.raises(ValueError, match="are read one by one, for which a causal model is needed"):
        reader_of(Prompting("{label}", choices=2), head)


def test_a_model_that_changes_its_logits_is_refused() -> None:
    settings = {
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 8,
        "vocab_size": 64,
    }
    with pytest.raises(ValueError, match=r"final_logit_softcapping=30.0 is not scored on answers of several tokens"):
        random_causal_lm("gemma2", settings, HashedWords(64), Appended(2), 2, seed=0, attention="eager")


def saved(folder: Path, kind: str) -> Path:
    """A folder with a tokenizer and a model of random weights, without a head."""
    if kind == "bert":
        return bert(folder)
    architecture, settings = CAUSAL[kind]
    config = transformers.AutoConfig.for_model(architecture, **{**settings, "vocab_size": len(WORDS)})
    with torch.random.fork_rng():
        torch.manual_seed(0)
        transformers.AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return tokenizer_of_words(folder)


@pytest.mark.parametrize("kind", ["bert", "gpt2", "llama"])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_any_encoder_or_decoder_gets_the_head_that_transformers_has_for_it(
    kind: str, attention: str, tmp_path: Path
) -> None:
    source = str(saved(tmp_path, kind))
    tokenizer = HFTokenizer(source, answers_at="head")
    model = hf_classifier(source, tokenizer, (), classes=3, seed=0, attention=attention)
    rows = [tokenizer.prompt(text, "", 16)[0] for text in ("a b c it was ", "a b ")]
    padded = torch.tensor([row + [tokenizer.pad] * (16 - len(row)) for row in rows])
    plain = transformers.AutoModelForSequenceClassification.from_pretrained(source, num_labels=3).eval()
    plain.load_state_dict(model.lm.state_dict())
    with torch.no_grad():
        for ours, row in zip(model(padded), rows, strict=True):
            torch.testing.assert_close(ours, plain(torch.tensor([row])).logits[0], rtol=1e-4, atol=1e-5)
    again = hf_classifier(source, tokenizer, (), classes=3, seed=0, attention=attention)
    assert weights_digest(again) == weights_digest(model)  # the new head is drawn from the seed


def test_a_model_that_is_encoder_and_decoder_gets_no_head(tmp_path: Path) -> None:
    transformers.T5Config(d_model=16, num_layers=1, num_heads=2, d_ff=16, vocab_size=64).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"is an encoder and a decoder \(t5\); choose one of the two"):
        hf_classifier(str(tmp_path), HashedWords(64), (), classes=2, seed=0)


def test_a_model_that_transformers_has_no_head_for_is_told(tmp_path: Path) -> None:
    transformers.MambaConfig(hidden_size=16, num_hidden_layers=1, vocab_size=64).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"has no head for models like .* \(mamba\); choose model=hf_causal_lm"):
        hf_classifier(str(tmp_path), HashedWords(64), (), classes=2, seed=0)


def test_the_words_are_read_from_the_text_alone() -> None:
    text = Labelled({"text": "a"}, 0)
    reader = reader_of(Prompting("{text} {label}", SAID, sequence_length=8), HashedWords(64))
    assert [len(row) for row in reader.read(text).rows] == [4, 2]
