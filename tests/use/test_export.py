"""Finished runs leave for other programs with equal logits."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from peft import LoraConfig, PeftModel, get_peft_model

from tests.test_boolean_labels import own_file
from tests.test_language_runs import optimizer
from tests.test_session import config
from tightfit.models.hf_tokenizer import HashedWords
from tightfit.run.session import carry_out
from tightfit.use.packing import write_model
from tightfit.use.reading import from_text
from tightfit.use.trained import Trained, load

from .runs import ADAPTERS, SIZES, TINY, TOKENIZER, saved, trained


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
        "tokenizer": {"_target_": "tests.use.test_export.MaskedWords", "vocabulary": 254},
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
