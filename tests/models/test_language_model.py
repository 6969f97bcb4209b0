"""Language models as classifiers against the whole models of the library, with random weights."""

from pathlib import Path
from typing import Any

import peft
import pytest
import torch
import transformers
from safetensors.torch import load_file
from torch import nn

from tests.synthetic import adapted, sentences
from tightfit.datasets.dataset import DataUnavailable
from tightfit.memory.parts import trained_blocks, trained_parameters
from tightfit.memory.table import layer_table, parameter_bytes
from tightfit.models.adapters.adapter import Adapter, NoAdapter
from tightfit.models.adapters.lora import LoRA
from tightfit.models.base import traits_of
from tightfit.models.hf_causal_lm import (
    hf_causal_lm,
    hf_encoder,
    hf_masked_lm,
    random_causal_lm,
)
from tightfit.models.hf_tokenizer import HashedWords, HFTokenizer
from tightfit.models.language_model import LanguageModel
from tightfit.optimizers.base import Batch
from tightfit.optimizers.elastic_zo import ElasticZO
from tightfit.run.evaluate import cross_entropy

LLAMA = {
    "vocab_size": 64,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 32,
}
GPT2 = {"vocab_size": 64, "n_embd": 16, "n_layer": 3, "n_head": 2, "n_positions": 32}
CAUSAL = {
    "llama": ("llama", {**LLAMA, "tie_word_embeddings": False}),
    "llama_tied": ("llama", {**LLAMA, "tie_word_embeddings": True}),
    "gpt2": ("gpt2", GPT2),
}
ANSWERS = (7, 3)
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b", "c", "good", "bad", "it", "was", "."]


def causal(name: str, adapter: Adapter | None = None, **options: Any) -> LanguageModel:
    architecture, settings = CAUSAL[name]
    model = random_causal_lm(architecture, settings, HashedWords(64), ANSWERS, classes=2, seed=0, **options)
    return adapted(model, adapter)


def whole(name: str) -> Any:
    """The model of the library with the same random weights, and with its head whole."""
    architecture, settings = CAUSAL[name]
    config = transformers.AutoConfig.for_model(architecture, **settings)
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    rows = model.get_output_embeddings().weight.data.clone()
    ours = causal(name).lm
    weights = {name: value for name, value in ours.state_dict().items() if "lm_head" not in name}
    model.load_state_dict(weights, strict=False)
    if not model.config.tie_word_embeddings:
        rows[list(ANSWERS)] = ours.get_output_embeddings().weight.data
        model.get_output_embeddings().weight.data = rows
    return model


def prompts() -> torch.Tensor:
    """Three of 5, 8 and 2 tokens, padded with 0."""
    tokens = torch.randint(1, 64, (3, 8), generator=torch.Generator().manual_seed(0))
    tokens[0, 5:], tokens[2, 2:] = 0, 0
    return tokens


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("name", CAUSAL)
def test_a_causal_classifier_gives_the_answers_logits_of_the_whole_model(name: str, attention: str) -> None:
    tokens, model = prompts(), whole(name)
    with torch.no_grad():
        ours = causal(name, attention=attention)(tokens)
        for row, length in enumerate((5, 8, 2)):
            expected = model(tokens[row : row + 1, :length]).logits[0, -1, list(ANSWERS)]
            torch.testing.assert_close(ours[row], expected, rtol=1e-4, atol=1e-6)


def test_no_tensor_of_the_size_of_the_vocabulary_is_made() -> None:
    settings = {**LLAMA, "vocab_size": 5000, "tie_word_embeddings": False}
    model = random_causal_lm("llama", settings, HashedWords(5000), ANSWERS, classes=2, seed=0)
    widths = {row.outputs for row in layer_table(model, (8,)).rows}
    assert max(widths) < 5000
    assert layer_table(model, (8,)).rows[-1].parameters == 16 * len(ANSWERS)


def test_padding_is_cut_from_a_batch_to_a_multiple_of_eight() -> None:
    model = causal("llama")
    wide = torch.zeros(3, 32, dtype=torch.int64)
    wide[:, :8] = prompts()
    encoding = traits_of(model).input_encoding
    assert encoding
    encode = encoding(0.0, 1.0)
    assert torch.equal(encode(wide), prompts())


@pytest.mark.parametrize("name", CAUSAL)
def test_blocks_are_the_embeddings_each_layer_and_the_answers(name: str) -> None:
    model = causal(name)
    blocks = trained_blocks(model)
    assert len(blocks) == 5
    assert next(iter(blocks)) == "embeddings"
    assert list(blocks)[-1] == "answers"
    assert sum(len(block) for block in blocks.values()) == len(list(model.parameters()))
    assert layer_table(model, (8,)).weight_layers == 5
    assert parameter_bytes(layer_table(model, (8,)).rows) == 4 * sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize(("bp_layers", "layers"), [(1, []), (2, [2]), (3, [1, 2])])
def test_a_hybrid_backpropagates_the_answers_and_the_last_layers(bp_layers: int, layers: list[int]) -> None:
    model = causal("llama_tied")
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    learner = ElasticZO(lr=0.0, bp_lr=1.0, eps=1e-3, bp_layers=bp_layers).bind(model, cross_entropy, 0)
    learner.step(Batch(prompts(), torch.tensor([0, 1, 0]), 0, 0.0))
    model = learner.resting_model()
    moved = {name for name, parameter in model.named_parameters() if (parameter - before[name]).abs().max() > 1e-5}
    assert "lm.lm_head.weight" in moved
    assert {int(name.split(".")[3]) for name in moved if ".layers." in name} == set(layers)
    assert "lm.model.embed_tokens.weight" not in moved


def test_lora_starts_as_the_model_it_is_put_into_and_leaves_it_frozen() -> None:
    plain, lora = causal("llama"), causal("llama", LoRA(rank=2, alpha=4))
    with torch.no_grad():
        torch.testing.assert_close(lora(prompts()), plain(prompts()))
    trained = [name for name, parameter in lora.named_parameters() if parameter.requires_grad]
    assert len(trained) == 3 * 2 * 2
    assert all(".lora_" in name and ("q_proj" in name or "v_proj" in name) for name in trained)
    assert list(trained_blocks(lora)) == [f"lm.model.layers.{layer}" for layer in range(3)]


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_weights_take_the_type_asked_for(dtype: str) -> None:
    model = causal("llama", dtype=dtype)
    assert {parameter.dtype for parameter in model.parameters()} == {getattr(torch, dtype)}
    lora = causal("llama", LoRA(rank=2), dtype=dtype)
    assert {parameter.dtype for parameter in lora.parameters() if parameter.requires_grad} == {torch.float32}
    with torch.no_grad():
        assert lora(prompts()).dtype == getattr(torch, dtype)
        assert causal("llama")(prompts()).sub(model(prompts())).abs().max() < 0.05


def test_dropout_is_off_even_when_training_mode_is_asked_for() -> None:
    model = causal("gpt2").train()
    assert not any(module.training for module in model.modules())


def bert(folder: Path) -> Path:
    """A folder with a masked model of random weights and its tokenizer."""
    (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    transformers.BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    config = transformers.BertConfig(vocab_size=len(WORDS), max_position_embeddings=32, **sizes)
    torch.manual_seed(0)
    model = transformers.BertForMaskedLM(config)
    with torch.no_grad():
        model.get_output_embeddings().bias.normal_()
    model.save_pretrained(folder)
    return folder


def test_a_masked_classifier_gives_the_logits_of_the_whole_model_at_the_mask(tmp_path: Path) -> None:
    source = str(bert(tmp_path))
    tokenizer = HFTokenizer(source, answers_at="mask")
    answers = [WORDS.index("bad"), WORDS.index("good")]
    assert [tokenizer.answer(" bad"), tokenizer.answer("good")] == [[answers[0]], [answers[1]]]
    rows = [tokenizer.prompt(text, " .", 16)[0] for text in ("a b it was ", "c it was ")]
    tokens = torch.tensor([row + [tokenizer.pad] * (8 - len(row)) for row in rows])
    model = transformers.BertForMaskedLM.from_pretrained(source).eval()
    with torch.no_grad():
        ours = hf_masked_lm(source, tokenizer, answers, classes=2, seed=0)(tokens)
        for row, prompt in enumerate(rows):
            expected = model(torch.tensor([prompt])).logits[0, prompt.index(WORDS.index("[MASK]")), answers]
            torch.testing.assert_close(ours[row], expected, rtol=1e-4, atol=1e-5)


def test_an_encoder_is_read_by_the_mean_of_its_tokens_and_its_head_is_trained_beside_lora(tmp_path: Path) -> None:
    source = str(bert(tmp_path))
    tokenizer = HFTokenizer(source, answers_at="head")
    model = hf_encoder(source, tokenizer, (), classes=3, seed=0)
    row = tokenizer.prompt("a b c it was ", "", 16)[0]
    hidden = transformers.BertModel.from_pretrained(source).eval()(torch.tensor([row])).last_hidden_state
    padded = torch.tensor([row + [tokenizer.pad] * (16 - len(row))])
    torch.testing.assert_close(model(padded), model.answers(hidden.mean(dim=1)), rtol=1e-4, atol=1e-5)
    trained = trained_blocks(adapted(hf_encoder(source, tokenizer, (), classes=3, seed=0), LoRA(rank=2)))
    assert len(trained["answers"]) == 2


def test_a_masked_model_wants_a_tokenizer_with_a_mask(tmp_path: Path) -> None:
    words = tokenizer_of_words(tmp_path)
    with pytest.raises(ValueError, match="has no mask token to answer at; use model=hf_causal_lm"):
        HFTokenizer(str(words), answers_at="mask")


def tokenizer_of_words(folder: Path) -> Path:
    """A folder with a word-level tokenizer that has an end but neither padding nor a mask."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = Tokenizer(models.WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    transformers.PreTrainedTokenizerFast(tokenizer_object=words, eos_token="[SEP]", unk_token="[UNK]").save_pretrained(
        folder
    )
    return folder


def test_a_local_folder_runs_and_prompts_lose_their_beginning(tmp_path: Path) -> None:
    source = str(tokenizer_of_words(tmp_path))
    settings = {**LLAMA, "vocab_size": len(WORDS)}
    transformers.LlamaForCausalLM(transformers.LlamaConfig(**settings)).save_pretrained(tmp_path)
    tokenizer = HFTokenizer(source)
    assert tokenizer.pad == WORDS.index("[SEP]")
    assert tokenizer.prompt("a b c it was ", "", 3) == ([WORDS.index(word) for word in ("c", "it", "was")], True)
    dataset = sentences("s", tokenizer, verbalizers=["bad", "good"])
    model = hf_causal_lm(source, tokenizer, dataset.answers, classes=2, seed=0)
    assert model(dataset.train.inputs[:4]).shape == (4, 2)


def test_text_after_the_answer_is_refused_where_the_model_answers_last(tmp_path: Path) -> None:
    tokenizer = HFTokenizer(str(tokenizer_of_words(tmp_path)))
    with pytest.raises(ValueError, match=r"goes on after the answer \(' \.'\), but this model answers last"):
        sentences("s", tokenizer, template="{text} It was {label} .", verbalizers=["bad", "good"])


def test_a_folder_without_weights_is_named(tmp_path: Path) -> None:
    source = str(tokenizer_of_words(tmp_path))
    transformers.LlamaConfig(**LLAMA).save_pretrained(tmp_path)
    with pytest.raises(DataUnavailable, match=r"cannot be loaded \(the folder: OSError: .*no file named"):
        hf_causal_lm(source, HFTokenizer(source), ANSWERS, classes=2, seed=0)


def test_a_model_that_is_nowhere_is_told_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(
        DataUnavailable, match=r"(?s)model no/such-model cannot be loaded \(no local folder.*name a folder"
    ):
        HFTokenizer("no/such-model")


def saved_adapter(folder: Path, **options: Any) -> Path:
    """A folder that peft wrote, with a trained adapter of rank 4 and its tokenizer, whose base is another folder."""
    base, adapter = folder / "base", folder / "adapter"
    settings = {**LLAMA, "vocab_size": len(WORDS)}
    transformers.LlamaForCausalLM(transformers.LlamaConfig(**settings)).save_pretrained(base)
    lm = transformers.LlamaForCausalLM.from_pretrained(base)
    options = {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj"], **options}
    adapted = peft.get_peft_model(lm, peft.LoraConfig(**options))
    for name, parameter in adapted.named_parameters():
        if ".lora_" in name:
            nn.init.normal_(parameter, std=0.1)
    adapted.save_pretrained(adapter)
    return tokenizer_of_words(adapter)


@pytest.mark.parametrize("adapter", [NoAdapter(), LoRA(4, 8), LoRA(4, 8, ["v_proj", "q_proj"])])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_trained_adapter_is_kept_and_nothing_else_is_trained(adapter: Adapter, dtype: str, tmp_path: Path) -> None:
    source = saved_adapter(tmp_path)
    model = hf_causal_lm(str(source), HFTokenizer(str(source)), ANSWERS, classes=2, seed=0, dtype=dtype)
    named = adapter.inject(model, seed=0)
    saved = load_file(source / "adapter_model.safetensors")
    trained = trained_parameters(model)
    assert len(trained) == len(saved) == 12
    assert named == [name for name, _ in trained]
    for name, parameter in trained:
        plain = name.replace("lm.", "base_model.model.", 1).replace(".default", "")
        assert torch.equal(parameter, saved[plain])
    assert {name for name, p in model.named_parameters() if p.requires_grad} == {name for name, _ in trained}


@pytest.mark.parametrize(
    ("options", "adapter", "message"),
    [
        (
            {},
            LoRA(8, 16),
            r"adapter has rank=8, alpha=16, but .* trained adapter of rank=4, alpha=8; choose adapter=none",
        ),
        ({}, LoRA(4, 8, ["k_proj"]), r"adapter.targets=\['k_proj'\], but .* adapter of \['q_proj', 'v_proj'\]"),
        ({"target_modules": ["lm_head"]}, NoAdapter(), r"changes more than layers before the answers .* merge it"),
        ({"modules_to_save": ["norm"]}, NoAdapter(), r"modules_to_save=\['norm'\].* merge it"),
    ],
)
def test_an_adapter_that_contradicts_or_would_be_lost_is_refused(
    options: dict[str, Any], adapter: Adapter, message: str, tmp_path: Path
) -> None:
    source = str(saved_adapter(tmp_path, **options))
    with pytest.raises(ValueError, match=message):
        adapted(hf_causal_lm(source, HFTokenizer(source), ANSWERS, classes=2, seed=0), adapter)


def test_an_adapter_of_another_kind_is_refused(tmp_path: Path) -> None:
    source = saved_adapter(tmp_path)
    lm = transformers.LlamaForCausalLM.from_pretrained(tmp_path / "base")
    config = peft.IA3Config(target_modules=["k_proj"], feedforward_modules=[])
    peft.get_peft_model(lm, config).save_pretrained(source)
    with pytest.raises(ValueError, match=r"holds an adapter of type IA3, but one of LORA can be trained"):
        hf_causal_lm(str(source), HFTokenizer(str(source)), ANSWERS, classes=2, seed=0)


def test_an_adapter_of_a_masked_model_is_kept_too(tmp_path: Path) -> None:
    base = bert(tmp_path)
    lm = peft.get_peft_model(
        transformers.BertForMaskedLM.from_pretrained(base), peft.LoraConfig(target_modules=["query"])
    )
    lm.save_pretrained(tmp_path / "adapter")
    source = str(tmp_path / "adapter")
    model = hf_masked_lm(source, HFTokenizer(str(base), answers_at="mask"), [8, 9], classes=2, seed=0)
    assert len(trained_parameters(model)) == 4
    assert all(".lora_" in name for name, _ in trained_parameters(model))


@pytest.mark.parametrize(
    ("targets", "message"),
    [(["query"], r"adapter.targets=\['query'\]: updates find no module .* choose from q_proj, k_proj, v_proj")],
)
def test_targets_that_do_not_exist_are_told_with_those_that_do(targets: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        causal("llama", LoRA(targets=targets))


def test_a_model_of_the_other_kind_is_refused_with_the_one_that_takes_it(tmp_path: Path) -> None:
    masked = str(bert(tmp_path))
    tokenizer = HFTokenizer(masked, answers_at="mask")
    with pytest.raises(ValueError, match=r"is a masked model \(bert\); choose model=hf_masked_lm for it"):
        hf_causal_lm(masked, tokenizer, ANSWERS, classes=2, seed=0)
    causal_one = tmp_path / "causal"
    transformers.LlamaForCausalLM(transformers.LlamaConfig(**LLAMA)).save_pretrained(causal_one)
    with pytest.raises(ValueError, match=r"is a causal model \(llama\); choose model=hf_causal_lm for it"):
        hf_masked_lm(str(causal_one), tokenizer, ANSWERS, classes=2, seed=0)
