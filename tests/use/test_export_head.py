"""Models with a head for classes leave as transformers and peft have such models, and come back."""

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from peft import LoraConfig, PeftModel, get_peft_model

from tests.test_boolean_labels import own_file
from tests.test_language_runs import optimizer
from tightfit.commands.words import WrongWords
from tightfit.models.hf_causal_lm import hf_classifier
from tightfit.models.hf_tokenizer import HashedWords
from tightfit.run.session import carry_out
from tightfit.use.packing import write_model
from tightfit.use.reading import from_text
from tightfit.use.trained import Trained, load

from .runs import LORA, MP_LORA, with_head

TT = {"_target_": "tightfit.models.adapters.tt.TensorTrains", "name": "tt", "width": 4, "modes": 2}
P_RGE = {"_target_": "tightfit.optimizers.p_rge.PRGE", "name": "p_rge", "lr": 1e-3, "eps": 1e-3}

AUTOMATIC = transformers.AutoModelForSequenceClassification


def run_with_head(folder: Path, kind: str, adapter: dict[str, Any] | None = None, **changes: Any) -> Trained:
    chosen = {"adapter": adapter} if adapter else {}
    method = {"optimizer": optimizer("bp_adam"), **changes}
    described = own_file(folder, model=with_head(folder, kind), **chosen, **method)
    outcome = carry_out(described)
    assert outcome.status == "finished", outcome.reason
    return load(outcome.folder)


def asked(run: Trained) -> tuple[torch.Tensor, torch.Tensor]:
    """The tokens of a text, without padding, and the logits that the run's model gives for it."""
    inputs = from_text(run, "is word1 word2").examples.inputs
    with torch.no_grad():
        return run.encode(inputs)[:, : int((inputs != 0).sum())], run.model(run.encode(inputs))


def logits(lm: Any, tokens: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return lm.eval()(input_ids=tokens).logits


@pytest.mark.parametrize("adapter", [None, LORA], ids=["whole", "lora"])
@pytest.mark.parametrize("kind", ["bert", "gpt2, tied", "llama", "qwen2"])
def test_it_leaves_as_a_folder_of_transformers_with_equal_logits_and_comes_back(
    kind: str, adapter: dict[str, Any] | None, tmp_path: Path
) -> None:
    run = run_with_head(tmp_path, kind, adapter)
    write_model(run, "huggingface", tmp_path / "out")
    tokens, expected = asked(run)
    lm = AUTOMATIC.from_pretrained(tmp_path / "out")
    # Sums of 16 to 64 products in float32, in another order where updates are merged.
    assert torch.allclose(logits(lm, tokens), expected, rtol=1e-5, atol=1e-6)
    assert lm.config.id2label == {0: "false", 1: "true"}
    again = hf_classifier(str(tmp_path / "out"), HashedWords(256), (), classes=2, seed=1)
    with torch.no_grad():
        assert torch.allclose(again(tokens), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("adapter", [LORA, MP_LORA], ids=["lora", "mp_lora"])
@pytest.mark.parametrize("kind", ["bert", "llama"])
def test_its_updates_and_its_head_leave_as_an_adapter_of_peft_with_equal_logits(
    kind: str, adapter: dict[str, Any], tmp_path: Path
) -> None:
    run = run_with_head(tmp_path, kind, adapter)
    write_model(run, "peft", tmp_path / "out")
    tokens, expected = asked(run)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        base = AUTOMATIC.from_pretrained(tmp_path / "source", num_labels=2)  # with a head at random, that is replaced
    base.config.pad_token_id = 0
    assert torch.allclose(
        logits(PeftModel.from_pretrained(base, tmp_path / "out"), tokens), expected, rtol=1e-5, atol=1e-6
    )
    size = (tmp_path / "out" / "adapter_model.safetensors").stat().st_size
    assert size < (tmp_path / "source" / "model.safetensors").stat().st_size / 2
    # A run begins where that one ended.
    model = {**run.config["model"], "source": str(tmp_path / "out")}
    still = {**optimizer("bp_sgd"), "lr": 0.0}
    again = load(carry_out(own_file(tmp_path, model=model, optimizer=still)).folder)
    with torch.no_grad():
        assert torch.allclose(again.model(tokens), expected, rtol=1e-5, atol=1e-6)


# The source is a masked model, which has no pooler.
NEW = {f"lm.{part}.{of}" for part in ("bert.pooler.dense", "classifier") for of in ("weight", "bias")}


@pytest.mark.parametrize(
    "adapter", [{**LORA, "frozen_bits": 8}, MP_LORA, TT], ids=["lora in 8 bits", "mp_lora", "tensor trains"]
)
def test_what_is_new_is_trained_beside_an_adapter(adapter: dict[str, Any], tmp_path: Path) -> None:
    run = run_with_head(tmp_path, "bert", adapter, optimizer=optimizer("mezo"))
    drawn = run_with_head(tmp_path, "bert", adapter, optimizer={**optimizer("bp_sgd"), "lr": 0.0})
    before, after = drawn.model.state_dict(), run.model.state_dict()
    weights = set(dict(run.model.named_parameters()))
    moved = {name for name in weights if not torch.equal(before[name], after[name])}
    in_adapter = {name for name in weights if any(part in name for part in (".lora_", ".B", ".down.", ".up.", "Norm"))}
    assert moved - in_adapter == NEW
    assert moved & in_adapter


def test_copies_of_adapters_alone_leave_no_new_head_as_drawn(tmp_path: Path) -> None:
    described = own_file(
        tmp_path, model=with_head(tmp_path, "llama"), optimizer={**optimizer("mezo"), **P_RGE}, adapter=MP_LORA
    )
    outcome = carry_out(described)
    assert outcome.status == "failed"
    assert outcome.reason == (
        "ValueError: optimizer=p_rge moves adapters alone, and lm.score.weight of this model is new, so that it would "
        "stay as drawn; choose optimizer=mezo with adapter=lora, which trains it too"
    )
    # One that somebody trained stays as it is.
    taught = run_with_head(tmp_path, "llama")
    write_model(taught, "huggingface", tmp_path / "out")
    model = {**described["model"], "source": str(tmp_path / "out")}
    assert carry_out({**described, "model": model}).status == "finished"


def test_a_head_for_other_classes_is_replaced(tmp_path: Path) -> None:
    run = run_with_head(tmp_path, "llama")
    write_model(run, "huggingface", tmp_path / "out")
    model = hf_classifier(str(tmp_path / "out"), HashedWords(256), (), classes=5, seed=1)
    assert model(asked(run)[0]).shape == (1, 5)


def test_a_head_that_transformers_has_no_class_for_leaves_as_plain_weights(tmp_path: Path) -> None:
    model = {**with_head(tmp_path, "bert"), "_target_": "tightfit.models.hf_causal_lm.hf_encoder"}
    run = load(carry_out(own_file(tmp_path, model=model, optimizer=optimizer("bp_adam"))).folder)
    with pytest.raises(WrongWords, match=r"which transformers has no class for; choose format=safetensors, or train"):
        write_model(run, "huggingface", tmp_path / "out")
    write_model(run, "safetensors", tmp_path / "out")
    assert (tmp_path / "out" / "model.safetensors").exists()


def test_an_adapter_of_words_gets_a_new_head_and_one_with_more_is_refused(tmp_path: Path) -> None:
    source = with_head(tmp_path, "llama")["source"]
    base = transformers.AutoModelForCausalLM.from_pretrained(source)
    made = get_peft_model(base, LoraConfig(r=2, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM"))
    for name, parameter in made.named_parameters():
        if ".lora_" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    made.save_pretrained(tmp_path / "theirs")
    tokens = torch.tensor([[5, 9, 200, 31]])
    model = hf_classifier(str(tmp_path / "theirs"), HashedWords(256), (), classes=3, seed=0)
    with torch.no_grad():
        hidden = made.eval()(input_ids=tokens, output_hidden_states=True).hidden_states[-1]
        assert torch.allclose(model(tokens), model.lm.score(hidden[:, -1]), rtol=1e-5, atol=1e-6)
    trained = {name.rpartition(".")[0] for name, each in model.named_parameters() if each.requires_grad}
    assert "lm.score" in trained
    assert all(name == "lm.score" or ".lora_" in name for name in trained)
    whole = LoraConfig(r=2, target_modules=["q_proj"], modules_to_save=["embed_tokens"], task_type="CAUSAL_LM")
    get_peft_model(transformers.AutoModelForCausalLM.from_pretrained(source), whole).save_pretrained(tmp_path / "more")
    with pytest.raises(ValueError, match=r"holds an adapter with .*embed_tokens.*, which would be lost; merge it"):
        hf_classifier(str(tmp_path / "more"), HashedWords(256), (), classes=3, seed=0)
