"""Any causal or masked language model or encoder of the transformers library, by its name on the hub, from a local
folder, or with random weights. An adapter that a folder saved by peft holds goes on being trained, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import torch

from tightfit.datasets.dataset import Answers, Appended
from tightfit.datasets.prompts import Tokenizer
from tightfit.models.adapters.lora import (
    check_saved,
    is_adapted,
    put_saved,
    read_head,
    read_saved,
    train_updates_alone,
)
from tightfit.models.candidates import CandidateLM
from tightfit.models.hf_library import extra, loaded, transformers
from tightfit.models.hf_tokenizer import HFTokenizer
from tightfit.models.language_model import (
    CausalLM,
    Classifier,
    LanguageModel,
    MaskedLM,
    TextEncoder,
    keep_answers,
    numbered_layers,
)
from tightfit.models.widening import WIDE, computing_type
from tightfit.numerics.seeds import derive

Model = TypeVar("Model", bound=LanguageModel)
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def hf_causal_lm(
    source: str,
    tokenizer: Tokenizer,
    answers: Answers,
    classes: int,
    seed: int,
    dtype: str = "float32",
    attention: str = "sdpa",
    gguf_file: str | None = None,
    compute: str | None = None,
) -> CausalLM:
    """The causal model `source`, which says the tokens `answers`, or answers of any length.

    dtype: of the weights, float32, bfloat16 or float16; compute: what is computed in, see `computing_type`.
    attention: the kernel, sdpa or eager.
    gguf_file: the file in `source` that holds the weights, if they are in this form.
    Raises DataUnavailable when it cannot be loaded.
    """
    del classes  # one for each answer
    lm = pretrained("AutoModelForCausalLM", source, dtype, causal_kernel(attention), gguf_file)
    return computing(kept_adapter(causal(lm, tokenizer, answers), source), dtype, compute)


def causal(lm: Any, tokenizer: Tokenizer, answers: Answers) -> CausalLM:
    lm.config.use_cache = False  # else each pass would return the keys and values of all layers
    if isinstance(answers, Appended):
        keep_answers(lm, range(lm.get_output_embeddings().weight.shape[0]))
        return CandidateLM(lm, tokenizer.pad, answers.longest)
    keep_answers(lm, answers)
    return CausalLM(lm, tokenizer.pad)


def hf_masked_lm(
    source: str,
    tokenizer: HFTokenizer,
    answers: Answers,
    classes: int,
    seed: int,
    dtype: str = "float32",
    attention: str = "sdpa",
    compute: str | None = None,
) -> MaskedLM:
    """The masked model `source`; see `hf_causal_lm`."""
    lm = pretrained("AutoModelForMaskedLM", source, dtype, attention)
    assert tokenizer.mask is not None  # the tokenizer was asked for one that answers at a mask
    assert not isinstance(answers, Appended)  # which it would have refused
    keep_answers(lm, answers)
    return computing(kept_adapter(MaskedLM(lm, tokenizer.pad, tokenizer.mask), source), dtype, compute)


def hf_encoder(
    source: str,
    tokenizer: Tokenizer,
    answers: Answers,
    classes: int,
    seed: int,
    dtype: str = "float32",
    attention: str = "sdpa",
    compute: str | None = None,
) -> TextEncoder:
    """The encoder `source` with a new head for `classes`; see `hf_causal_lm`."""
    del answers  # a head has no words
    lm = pretrained("AutoModel", source, dtype, attention)
    return computing(
        kept_adapter(TextEncoder(lm, tokenizer.pad, classes, derive(seed, "head")), source), dtype, compute
    )


def hf_classifier(
    source: str,
    tokenizer: Tokenizer,
    answers: Answers,
    classes: int,
    seed: int,
    dtype: str = "float32",
    attention: str = "sdpa",
    compute: str | None = None,
) -> Classifier:
    """The encoder or decoder `source` with a head for `classes`: see `Classifier` and `hf_causal_lm`.

    The head is new, unless `source` has one for as many classes: then it goes on being trained.
    """
    del answers  # a head has no words
    config, base = config_of(source), base_of(source)
    if config.is_encoder_decoder:
        raise ValueError(f"{source} is an encoder and a decoder ({config.model_type}); choose one of the two")
    if not is_mapped(config, "SEQUENCE_CLASSIFICATION"):
        raise ValueError(
            f"transformers has no head for models like {source} ({config.model_type}); choose model=hf_causal_lm or "
            "hf_masked_lm, which answer by words"
        )
    looks_left = is_causal(config)
    kernel = causal_kernel(attention) if looks_left else attention
    chosen = {"dtype": type_called(dtype), "attn_implementation": kernel, "num_labels": classes}
    automatic = transformers().AutoModelForSequenceClassification
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(seed, "head"))
        options = {**chosen, "ignore_mismatched_sizes": True, "output_loading_info": True}
        lm, report = loaded(base, lambda: automatic.from_pretrained(base, **options))
    lm.config.use_cache = False  # else each pass of a decoder would return the keys and values of all layers
    new = {*report["missing_keys"], *(name for name, *_ in report["mismatched_keys"])}
    model = Classifier(lm, tokenizer.pad, looks_left, new)
    if base != source:
        put_saved(lm, source)
        read_head(model.head, source)
    return computing(kept_adapter(model, source), dtype, compute)


def random_causal_lm(
    architecture: str,
    settings: Mapping[str, Any],
    tokenizer: Tokenizer,
    answers: Answers,
    classes: int,
    seed: int,
    dtype: str = "float32",
    attention: str = "sdpa",
    compute: str | None = None,
) -> LanguageModel:
    """A causal model with random weights. architecture: its model_type in transformers; settings: of its config."""
    library = transformers()
    config = library.AutoConfig.for_model(architecture, **settings)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(seed, "initial weights"))
        options = {"dtype": type_called(dtype), "attn_implementation": causal_kernel(attention)}
        lm = library.AutoModelForCausalLM.from_config(config, **options)
    return computing(causal(lm, tokenizer, answers), dtype, compute)


def computing(model: Model, dtype: str, compute: str | None) -> Model:
    """`model`, whose weights are held in `dtype`, made to compute in the type that `compute` asks for."""
    if computing_type(compute, dtype) == WIDE != dtype:
        model.widen_()
    return model


def pretrained(kind: str, source: str, dtype: str, attention: str, gguf_file: str | None = None) -> Any:
    options = {"gguf_file": gguf_file} if gguf_file else {}
    automatic = getattr(transformers(), kind)
    if not gguf_file:  # which holds causal models alone
        check_kind(kind, source)
    chosen = {"dtype": type_called(dtype), "attn_implementation": attention}
    lm = loaded(source, lambda: automatic.from_pretrained(source, **chosen, **options))
    if is_adapted(lm):
        check_saved(lm, source)
    return lm


def check_kind(kind: str, source: str) -> None:
    """Raise ValueError when `source` is a masked model where a causal one is asked for, or the other way round."""
    config = config_of(source)
    masked, causal = (is_mapped(config, name) for name in ("MASKED_LM", "CAUSAL_LM"))
    looks_both_ways = masked and not config.is_encoder_decoder and not getattr(config, "is_decoder", False)
    if kind == "AutoModelForCausalLM" and looks_both_ways:
        raise ValueError(f"{source} is a masked model ({config.model_type}); choose model=hf_masked_lm for it")
    if kind == "AutoModelForMaskedLM" and causal and not masked:
        raise ValueError(f"{source} is a causal model ({config.model_type}); choose model=hf_causal_lm for it")


def config_of(source: str) -> Any:
    """The configuration of `source`, or of its base where it is an adapter that peft saved."""
    return loaded(source, lambda: transformers().AutoConfig.from_pretrained(base_of(source)))


def base_of(source: str) -> str:
    """Where the weights below an adapter that peft saved in `source` are; any other `source` is its own."""
    adapter = extra("transformers.utils").find_adapter_config_file
    is_adapter = loaded(source, lambda: adapter(source)) is not None
    return extra("peft").PeftConfig.from_pretrained(source).base_model_name_or_path if is_adapter else source


def is_mapped(config: Any, name: str) -> bool:
    """Whether transformers has a model of the kind for MASKED_LM, CAUSAL_LM or SEQUENCE_CLASSIFICATION."""
    automatic = extra("transformers.models.auto.modeling_auto")
    return config.model_type in getattr(automatic, f"MODEL_FOR_{name}_MAPPING_NAMES")


def is_causal(config: Any) -> bool:
    """Whether the model looks to the left alone."""
    return is_mapped(config, "CAUSAL_LM") and (
        not is_mapped(config, "MASKED_LM") or getattr(config, "is_decoder", False)
    )


def causal_kernel(attention: str) -> str:
    """The name under which transformers knows the kernel.

    Under a name for which it knows no mask it makes none: causal attention needs none, while looking for one would
    read the tokens, which stops a GPU and cannot be done where there are no data.
    """
    if attention not in ("sdpa", "eager"):
        raise ValueError(f"model.attention={attention!r} is not a kernel of attention; choose sdpa or eager")
    if attention == "eager":
        return attention
    kernel = extra("transformers.integrations.sdpa_attention").sdpa_attention_forward
    transformers().AttentionInterface.register("causal_sdpa", kernel)
    return "causal_sdpa"


def type_called(dtype: str) -> torch.dtype:
    if dtype not in DTYPES:
        raise ValueError(f"model.dtype={dtype!r} is not a type of weights; choose {', '.join(DTYPES)}")
    return DTYPES[dtype]


def kept_adapter(model: Model, source: str) -> Model:
    """`model`; where it came with updates from `source`, an adapter that peft saved, these alone are trained."""
    if is_adapted(model.host):
        read_saved(model.host, source)
        train_updates_alone(model, numbered_layers(model))
    return model
