"""Language models through the unchanged runner: every method, resumption, and the errors a user can make."""

import json
from pathlib import Path
from typing import Any

import pytest

from tightfit.records.record import read_evals, read_run
from tightfit.run.session import carry_out

from .killing import killed_at_second_checkpoint
from .test_session import config

METHODS = {
    "bp_sgd": {
        "_target_": "tightfit.optimizers.bp.Backprop",
        "rule": {"_target_": "tightfit.optimizers.rules.sgd.SGD"},
        "lr": 0.1,
    },
    "bp_adam": {
        "_target_": "tightfit.optimizers.bp.Backprop",
        "rule": {"_target_": "tightfit.optimizers.rules.adam.Adam"},
        "lr": 0.01,
    },
    "mezo": {"_target_": "tightfit.optimizers.mezo.MeZO", "lr": 1e-3, "eps": 1e-3},
    "elastic_zo": {
        "_target_": "tightfit.optimizers.elastic_zo.ElasticZO",
        "lr": 1e-3,
        "bp_lr": 0.1,
        "eps": 1e-3,
        "bp_layers": 2,
    },
}
REPEATED = "{text} {text} {text} It was {label}"  # prompts of several widths
LORA = {"_target_": "tightfit.models.adapters.lora.LoRA", "name": "lora", "rank": 2, "alpha": 4}
SENTENCES = {
    "_target_": "tests.synthetic.sentences",
    "name": "sentences",
    "template": "{text} It was {label}",
}


def tiny_llama(**changes: Any) -> dict[str, Any]:
    settings = {
        "vocab_size": 256,
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "max_position_embeddings": 64,
    }
    return {
        "_target_": "tightfit.models.hf_causal_lm.random_causal_lm",
        "name": "llama_tiny",
        "architecture": "llama",
        "settings": settings,
        "tokenizer": {"_target_": "tightfit.models.hf_tokenizer.HashedWords", "vocabulary": 256},
        **changes,
    }


def text_config(runs: Path, lora: bool = False, **changes: Any) -> dict[str, Any]:
    adapter = {"adapter": LORA} if lora else {}
    return config(runs, **{"model": tiny_llama(), "dataset": SENTENCES, **adapter, **changes})


def optimizer(name: str) -> dict[str, Any]:
    return {"name": name, **METHODS[name]}


def ended(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "run.json").read_text())


@pytest.mark.parametrize("lora", [False, True])
@pytest.mark.parametrize("name", METHODS)
def test_every_method_trains_a_language_model_and_resumes_bit_for_bit(name: str, lora: bool, tmp_path: Path) -> None:
    whole = carry_out(text_config(tmp_path / "whole", lora, optimizer=optimizer(name))).folder
    assert ended(whole)["status"] == "finished"
    with killed_at_second_checkpoint():
        carry_out(text_config(tmp_path / "killed", lora, optimizer=optimizer(name)))
    resumed = carry_out(text_config(tmp_path / "killed", lora, optimizer=optimizer(name))).folder
    assert ended(resumed)["summary"]["weights_sha256"] == ended(whole)["summary"]["weights_sha256"]
    assert [row["test_loss"] for row in read_evals(resumed)] == [row["test_loss"] for row in read_evals(whole)]


def test_backpropagation_learns_the_sentences(tmp_path: Path) -> None:
    training = {"epochs": 12, "evaluations": 1, "batch_size": 8}
    folder = carry_out(text_config(tmp_path, optimizer=optimizer("bp_adam"), training=training)).folder
    assert ended(folder)["summary"]["final_accuracy"] > 0.9


def test_lora_needs_gradients_for_its_own_weights_alone(tmp_path: Path) -> None:
    plain, lora = (
        ended(carry_out(text_config(tmp_path, with_lora, optimizer=optimizer("bp_adam"))).folder)["memory"]["analytic"]
        for with_lora in (False, True)
    )
    assert lora["parameters"] > plain["parameters"]
    assert 0 < lora["gradients"] < 0.1 * plain["gradients"]
    assert lora["optimizer_state"] == 2 * lora["gradients"]


@pytest.mark.parametrize("compute", ["bfloat16", "float32"])
@pytest.mark.parametrize("name", ["mezo", "bp_adam"])
def test_frozen_weights_of_16_bits_train_in_either_type_and_peak_where_it_was_rehearsed(
    name: str, compute: str, tmp_path: Path
) -> None:
    model = tiny_llama(dtype="bfloat16", compute=compute)
    budget = {
        "_target_": "tightfit.memory.budget.MemoryBudget",
        "name": "custom",
        "size": "1GB",
        "decided_by": "peak_live",
    }
    record = ended(
        carry_out(text_config(tmp_path, True, optimizer=optimizer(name), model=model, memory_budget=budget)).folder
    )
    assert record["status"] == "finished"
    assert record["machine"]["choices"]["compute"] == compute
    assert ("kernel" in record["machine"]["choices"]) == (name == "mezo")
    assert record["memory"]["measured_peak_bytes"] <= record["memory"]["peak_live_bytes"]


def test_the_record_says_how_texts_became_examples(tmp_path: Path) -> None:
    details = ended(carry_out(text_config(tmp_path)).folder)["dataset"]
    assert details["template"] == "{text} It was {label}"
    assert (details["train_size"], details["scored_size"], details["prompts_cut"]) == (96, 16, 0)


@pytest.mark.parametrize("name", METHODS)
def test_answers_of_several_tokens_train_and_resume_bit_for_bit(name: str, tmp_path: Path) -> None:
    dataset = {**SENTENCES, "verbalizers": ["not at all good", "great"]}
    settings = {"dataset": dataset, "optimizer": optimizer(name)}
    whole = carry_out(text_config(tmp_path / "whole", **settings))
    assert whole.status == "finished", whole.reason
    with killed_at_second_checkpoint():
        carry_out(text_config(tmp_path / "killed", **settings))
    resumed = ended(carry_out(text_config(tmp_path / "killed", **settings)).folder)
    assert resumed["summary"]["weights_sha256"] == ended(whole.folder)["summary"]["weights_sha256"]
    losses = [row["test_loss"] for row in read_evals(whole.folder)]
    assert min(losses[1:]) < losses[0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": {"_target_": "tightfit.models.lenet5.lenet5", "name": "lenet5"}}, "reads no text but dataset=sent"),
        ({"dataset": {"_target_": "tests.synthetic.bars", "name": "bars"}}, "reads text but dataset=bars is not text"),
        ({"model": tiny_llama(dtype="int7")}, "model.dtype='int7' is not a type of weights; choose float32, bfloat16"),
        ({"model": tiny_llama(attention="flush")}, "model.attention='flush' is not a kernel of attention; choose sdpa"),
        ({"optimizer": {**optimizer("elastic_zo"), "bp_layers": 5}}, "CausalLM has 4 layers with weights; choose 0–4"),
        ({"dataset": {**SENTENCES, "template": "{text}"}}, "must have the place of the answer, {label}, once"),
        ({"dataset": {**SENTENCES, "template": "{words} {label}"}}, "names {words}; a text has ['text']"),
        ({"dataset": {**SENTENCES, "verbalizers": ["very bad", "very bad"]}}, "'very bad' are the same tokens to this"),
        ({"dataset": {**SENTENCES, "verbalizers": ["good", "good"]}}, "'good' and 'good' are the same token"),
        ({"dataset": {**SENTENCES, "verbalizers": ["good"]}}, "but a task has two classes or more"),
        ({"dataset": {**SENTENCES, "scored": "dev"}}, "dataset.scored='dev' is not a split"),
        ({"dataset": {**SENTENCES, "train_size": 999}}, "has 104 training examples; choose fewer"),
        ({"dataset": {**SENTENCES, "sequence_length": 0}}, "dataset.sequence_length=0 leaves nothing"),
    ],
)
def test_bad_input_fails_with_what_to_do(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    record = read_run(carry_out(text_config(tmp_path, **changes)).folder)
    assert record is not None
    assert record.status == "failed"
    assert message in record.reason


def test_prompts_longer_than_the_model_reads_are_refused_before_training(tmp_path: Path) -> None:
    model = tiny_llama()
    model["settings"] = {**model["settings"], "max_position_embeddings": 8}
    record = read_run(carry_out(text_config(tmp_path, model=model)).folder)
    assert record is not None
    assert "prompts of 16 tokens but this model reads 8; set dataset.sequence_length=8" in record.reason


def test_without_the_extra_the_error_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    record = read_run(carry_out(text_config(tmp_path)).folder)
    assert record is not None
    assert "install it with pip install 'tightfit[lm]'" in record.reason


@pytest.mark.parametrize("name", ["bp_adam", "mezo"])
def test_a_rehearsal_is_of_the_widest_batch_and_not_of_the_first(name: str, tmp_path: Path) -> None:
    budget = {"_target_": "tightfit.memory.budget.MemoryBudget", "name": "b", "decided_by": "peak_live"}
    measured = {}
    for batch_size in (1, 96):  # 96 are all sentences, the longest among them
        training = {"epochs": 1, "evaluations": 1, "batch_size": batch_size}
        changes = {"optimizer": optimizer(name), "memory_budget": budget, "training": training}
        described = text_config(tmp_path, dataset={**SENTENCES, "template": REPEATED}, **changes)
        memory = ended(carry_out(described).folder)["memory"]
        measured[batch_size] = memory["measured_peak_bytes"] / memory["peak_live_bytes"]
    assert measured[1] < 1
    assert measured[96] == 1
