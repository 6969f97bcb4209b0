"""Captured and stacked steps of language models, whose batches are of many lengths."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.models.test_language_model import ANSWERS, GPT2, LLAMA, WORDS, bert
from tests.test_session import config
from tightfit.launch.stacked import carry_out_stacked
from tightfit.models.hf_causal_lm import hf_encoder, hf_masked_lm, random_causal_lm
from tightfit.models.hf_tokenizer import HashedWords, HFTokenizer
from tightfit.models.language_model import LanguageModel
from tightfit.optimizers.base import Batch
from tightfit.optimizers.captured import captured
from tightfit.optimizers.graphs import in_bucket
from tightfit.optimizers.mezo import MeZO
from tightfit.records.record import read_run
from tightfit.run.checkpoint import weights_digest
from tightfit.run.evaluate import cross_entropy
from tightfit.run.keys import run_folder

LONG = {"llama": {**LLAMA, "max_position_embeddings": 128}, "gpt2": {**GPT2, "n_positions": 128}}
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)]  # there by real graphs


def model_of(kind: str, folder: Path) -> LanguageModel:
    if kind in LONG:
        return random_causal_lm(kind, LONG[kind], HashedWords(64), ANSWERS, classes=2, seed=0)
    source, answers_at = str(bert(folder)), {"masked": "mask", "encoder": "head"}[kind]
    make = {"masked": hf_masked_lm, "encoder": hf_encoder}[kind]
    return make(source, HFTokenizer(source, answers_at=answers_at), (9, 8), classes=2, seed=0)


def batch_of(length: int, step: int = 0, device: str = "cpu", words: int = 64) -> Batch:
    """Prompts of `length` tokens and of a few less, padded on the right."""
    tokens = torch.randint(1, words, (3, length), generator=torch.Generator().manual_seed(step))
    tokens[1, length - 3 :] = 0
    return Batch(tokens.to(device), torch.tensor([0, 1, 1], device=device), step, 0.0)


@pytest.mark.parametrize(
    ("kind", "length", "bucket"), [("llama", 72, 80), ("gpt2", 72, 80), ("masked", 21, 24), ("encoder", 21, 24)]
)
def test_padding_to_a_bucket_leaves_the_loss_as_it_is(kind: str, length: int, bucket: int, tmp_path: Path) -> None:
    model, batch = model_of(kind, tmp_path), batch_of(length, words=64 if kind in LONG else len(WORDS))
    padded = replace(batch, inputs=in_bucket(batch.inputs, model))
    assert padded.inputs.shape == (3, bucket)
    with torch.no_grad():
        torch.testing.assert_close(cross_entropy(model, padded), cross_entropy(model, batch))


def test_no_bucket_is_longer_than_what_the_model_reads() -> None:
    model = random_causal_lm("llama", LLAMA, HashedWords(64), ANSWERS, classes=2, seed=0)
    assert model.most_tokens == 32
    assert in_bucket(batch_of(30).inputs, model).shape == (3, 32)


@pytest.mark.parametrize("device", DEVICES)
def test_a_language_model_steps_captured_over_batches_of_many_lengths_as_it_steps_eagerly(
    device: str, tmp_path: Path
) -> None:
    """Up to 64 tokens data sets have the lengths of buckets, so the bits are equal; then only what is padded is."""
    models = [model_of("llama", tmp_path).to(device) for _ in range(2)]
    eager, twin = (MeZO(1e-3, 1e-3, clip=5.0).bind(model, cross_entropy, 0) for model in models)
    learner, told = captured(twin, "always", torch.device(device))
    for step, length in enumerate((16, 24, 16, 64)):
        assert learner.step(batch_of(length, step, device)).read() == eager.step(batch_of(length, step, device))
    assert weights_digest(learner.resting_model()) == weights_digest(eager.resting_model())
    losses = [each.step(batch_of(72, 4, device)).read().loss for each in (learner, eager)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    assert "reason" not in told


@pytest.mark.parametrize("device", DEVICES)
def test_language_models_are_stacked(device: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    configs = [text_run(tmp_path, device, seed) for seed in range(3)]
    assert [outcome.status for outcome in carry_out_stacked(configs, most=4)] == ["finished"] * 3
    assert "one by one" not in capsys.readouterr().out
    found = [read_run(run_folder(one)) for one in configs]
    assert [record.execution for record in found if record] == [{"stacked": 3}] * 3


def text_run(runs: Path, device: str, seed: int) -> dict[str, Any]:
    model = {"_target_": "tightfit.models.hf_causal_lm.random_causal_lm", "name": "llama_tiny", "architecture": "llama"}
    tokenizer = {"_target_": "tightfit.models.hf_tokenizer.HashedWords", "vocabulary": 64}
    return config(
        runs,
        seed=seed,
        device=device,
        training={"epochs": 0.5, "evaluations": 1, "batch_size": 16},
        model={**model, "settings": LONG["llama"], "tokenizer": tokenizer},
        dataset={"_target_": "tests.synthetic.sentences", "name": "sentences", "template": "{text} It was {label}"},
        optimizer={"_target_": "tightfit.optimizers.mezo.MeZO", "name": "mezo", "lr": 1e-3, "eps": 1e-3, "clip": 5.0},
    )
