"""Small runs of language models with random weights, of each kind that can leave."""

from pathlib import Path
from typing import Any

import torch
import transformers

from tests.test_boolean_labels import own_file
from tests.test_language_runs import optimizer
from tightfit.run.session import carry_out

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
HEAD = "tightfit.models.hf_causal_lm.hf_classifier"
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


def with_head(folder: Path, kind: str) -> dict[str, Any]:
    """As `saved`, of a model with a new head in the place of words."""
    if kind != "bert":
        return {**saved(folder, kind), "_target_": HEAD}
    described = transformers.BertConfig(vocab_size=256, max_position_embeddings=64, **SIZES)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        transformers.BertForMaskedLM(described).save_pretrained(folder / "source")
    return {"_target_": HEAD, "name": kind, "source": str(folder / "source"), "tokenizer": TOKENIZER}


def trained(folder: Path, kind: str = "llama", adapter: str = "none", **changes: Any) -> Path:
    chosen = {"adapter": ADAPTERS[adapter]} if ADAPTERS[adapter] else {}
    described = own_file(folder, model=saved(folder, kind), optimizer=optimizer("bp_adam"), **chosen, **changes)
    outcome = carry_out(described)
    assert outcome.status == "finished", outcome.reason
    return outcome.folder
