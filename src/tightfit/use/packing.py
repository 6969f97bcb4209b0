"""A trained model as files of other programs: Hugging Face's transformers and peft, or plain safetensors."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tightfit.commands.words import WrongWords
from tightfit.datasets.candidates import spaced
from tightfit.datasets.dataset import Answers, Appended
from tightfit.models.adapters.lora import SAVED_AS, is_adapted, updates_of
from tightfit.models.adapters.mp_lora import MPLoRALinear, adapters_of
from tightfit.models.hf_causal_lm import config_of
from tightfit.models.hf_library import extra, transformers
from tightfit.models.language_model import CausalLM, Classifier, LanguageModel, MaskedLM, TextEncoder
from tightfit.numerics.seeds import derive
from tightfit.records.record import write_atomically
from tightfit.run.replay import write_safetensors
from tightfit.run.start import EXPORTED
from tightfit.use.trained import Trained

FORMATS = {
    "huggingface": "from_pretrained of transformers, or model.name=FOLDER with the run's model=hf_…",
    "peft": "PeftModel.from_pretrained, or model.name=FOLDER with the run's model=hf_…",
    "safetensors": "start_from=FOLDER, or safetensors.torch.load_file",
}
ANSWERS = "answers.json"  # how a prompt is made, and the token of each answer


def write_model(run: Trained, format_name: str, target: Path) -> None:
    """Write the run's model to the folder `target`.

    Raises WrongWords for a model that the format cannot hold.
    """
    if format_name == "safetensors":
        write_safetensors(target / EXPORTED, run.model.state_dict())
        return
    lm = language_model_of(run, format_name)
    if format_name == "huggingface" and isinstance(lm, Classifier):
        write_classifier(run, lm, target)
    elif format_name == "huggingface":
        write_whole(run, lm, target)
    else:
        write_updates(run, lm, target)
    write_reading(run, target)


def language_model_of(run: Trained, format_name: str) -> LanguageModel:
    model = run.model
    if not isinstance(model, LanguageModel):
        raise WrongWords(f"model={run.config['model']['name']} is none of transformers'; choose format=safetensors")
    if isinstance(model, TextEncoder):
        raise WrongWords(
            f"model={run.config['model']['name']} answers by a head over the mean of all tokens, which "
            "transformers has no class for; choose format=safetensors, or train the model by model=hf_classifier"
        )
    if (run.config["adapter"] or {}).get("frozen_bits") and format_name == "huggingface":
        raise WrongWords("the run's base is held in few bits, so that it cannot be whole again; choose format=peft")
    return model


def write_whole(run: Trained, model: LanguageModel, target: Path) -> None:
    """All weights, low-rank updates merged; the output embedding is that of the source, but for the answers' rows.

    Where the source ties it to the input embedding it is written apart, since its rows are no longer the same.
    """
    whole = source_of(run, model)
    head = model.lm.get_output_embeddings()
    of_head = {  # by all of its names: some models have its bias twice
        name
        for name, parameter in model.lm.named_parameters(remove_duplicate=False)
        if any(parameter is own for own in head.parameters())
    }
    weights = {name: each for name, each in merged(copy.deepcopy(model.lm)).items() if name not in of_head}
    whole.config.tie_word_embeddings = False
    whole.set_output_embeddings(with_rows(whole.get_output_embeddings(), rows_of(run.dataset.answers, head), head))
    part_ties_(whole)
    found = whole.load_state_dict(weights, strict=False)
    if odd := sorted({*found.unexpected_keys, *found.missing_keys} - of_head):
        raise WrongWords(f"the run's model and its source differ in {odd[0]}; choose format=safetensors")
    target.mkdir(parents=True, exist_ok=True)
    whole.save_pretrained(target)


def write_classifier(run: Trained, model: Classifier, target: Path) -> None:
    """All weights, low-rank updates merged, and the names of the classes."""
    config = config_of(run.config["model"]["source"])
    config.id2label = dict(enumerate(run.labels))
    config.label2id = {label: number for number, label in config.id2label.items()}
    config.get_text_config().pad_token_id = model.pad
    whole = transformers().AutoModelForSequenceClassification.from_config(config, dtype=model.lm.dtype)
    whole.load_state_dict(merged(copy.deepcopy(model.lm)))
    target.mkdir(parents=True, exist_ok=True)
    whole.save_pretrained(target)


def part_ties_(whole: nn.Module) -> None:
    """Give each name of a parameter in `whole` one of its own: what is tied is written once, and read untied."""
    seen: set[int] = set()
    for name, parameter in list(whole.named_parameters(remove_duplicate=False)):
        if id(parameter) in seen:
            inside, _, last = name.rpartition(".")
            setattr(whole.get_submodule(inside), last, nn.Parameter(parameter.detach().clone(), requires_grad=False))
        seen.add(id(parameter))


def rows_of(answers: Answers, head: Any) -> list[int]:
    """The rows of a whole output embedding that `head` has: of one token each, or all."""
    return list(range(head.out_features)) if isinstance(answers, Appended) else list(answers)


def with_rows(embedding: nn.Module, answers: list[int], head: nn.Module) -> nn.Module:
    """A copy of the output `embedding`, in which the rows of `answers` are those of `head`."""
    copied = copy.deepcopy(embedding)
    with torch.no_grad():
        for name, own in head.named_parameters():
            rows = copied.get_parameter(name).clone()
            rows[answers] = own.to(rows.dtype)
            setattr(copied, name, nn.Parameter(rows, requires_grad=False))
    return copied


def source_of(run: Trained, model: LanguageModel) -> Any:
    """The model as it was before training, with its whole output embedding."""
    described = run.config["model"]
    library = transformers()
    if "source" in described:
        options = {"gguf_file": described["gguf_file"]} if described.get("gguf_file") else {}
        kind = library.AutoModelForMaskedLM if isinstance(model, MaskedLM) else library.AutoModelForCausalLM
        whole = kind.from_pretrained(described["source"], dtype=model.lm.dtype, **options)
        if is_adapted(whole):
            raise WrongWords("the run went on training an adapter of a folder; choose format=peft")
        return whole
    config = library.AutoConfig.for_model(described["architecture"], **described["settings"])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(run.config["seed"], "initial weights"))
        return library.AutoModelForCausalLM.from_config(config, dtype=model.lm.dtype)


def merged(lm: nn.Module) -> dict[str, torch.Tensor]:
    """The weights of `lm`, which is changed, by their names without low-rank updates, which are added to them."""
    for module in lm.modules():
        if hasattr(module, "get_base_layer"):  # of peft
            module.merge()  # ty: ignore[not-callable]
    with torch.no_grad():
        for layer in adapters_of(lm).values():
            layer.base.weight += (layer.scale * layer.B @ layer.A.to(layer.B.dtype)).to(layer.base.weight.dtype)
    plain = {}
    for name, tensor in lm.state_dict().items():
        if ".lora_" in name or name.rpartition(".")[2] in ("A", "B"):
            continue
        plain[name.replace(".base_layer.", ".").replace(".base.", ".")] = tensor
    return plain


@dataclass(frozen=True)
class Updates:
    """Low-rank updates as peft has them: by name, with their settings."""

    weights: Mapping[str, torch.Tensor]
    rank: int
    alpha: float
    targets: Any


def write_updates(run: Trained, model: LanguageModel, target: Path) -> None:
    """Raises WrongWords where the run trained no low-rank updates, or more than these."""
    updates = updates_in(model)
    head = model.head if isinstance(model, Classifier) else {}
    config = extra("peft").LoraConfig(
        r=updates.rank,
        lora_alpha=updates.alpha,
        target_modules=updates.targets,
        task_type=task_of(model),
        modules_to_save=modules_of(head, model),
        base_model_name_or_path=frozen_in(run, model),
        inference_mode=True,
    )
    target.mkdir(parents=True, exist_ok=True)
    config.save_pretrained(target)
    whole = {f"{SAVED_AS}{name}": each for name, each in head.items()}
    write_safetensors(target / "adapter_model.safetensors", {**updates.weights, **whole})


def modules_of(head: Mapping[str, torch.Tensor], model: LanguageModel) -> list[str] | None:
    """The modules that hold `head`: the largest outside of what adapters go into, and the smallest in it."""
    below = f"{model.lm.base_model_prefix}."
    names = {name.rpartition(".")[0] if name.startswith(below) else name.partition(".")[0] for name in head}
    return sorted(names) or None


def frozen_in(run: Trained, model: LanguageModel) -> str:
    """Where the frozen weights are: what the run names, or the base of the adapter that it names."""
    host = model.host
    saved = next(iter(host.peft_config.values())).base_model_name_or_path if is_adapted(host) else None
    return saved or run.config["model"].get("source", "")


def task_of(model: LanguageModel) -> str | None:
    """What peft calls the model's task; None for one that it has no name for."""
    return "SEQ_CLS" if isinstance(model, Classifier) else "CAUSAL_LM" if isinstance(model, CausalLM) else None


def updates_in(model: LanguageModel) -> Updates:
    if is_adapted(model.host):
        (adapter, config), *_ = model.host.peft_config.items()
        weights = {SAVED_AS + name.replace(f".{adapter}.", "."): each for name, each in updates_of(model.lm).items()}
        targets = config.target_modules if isinstance(config.target_modules, str) else sorted(config.target_modules)
        return Updates(weights, config.r, config.lora_alpha, targets)
    layers: dict[str, MPLoRALinear] = adapters_of(model.lm)
    if not layers:
        raise WrongWords("the run trained no low-rank updates; choose format=huggingface")
    weights = {}
    for name, layer in layers.items():
        weights[f"{SAVED_AS}{name}.lora_A.weight"] = layer.A
        weights[f"{SAVED_AS}{name}.lora_B.weight"] = layer.B
    first = next(iter(layers.values()))
    rank = first.A.shape[0]
    return Updates({name: each.detach() for name, each in weights.items()}, rank, first.scale * rank, sorted(layers))


def write_reading(run: Trained, target: Path) -> None:
    """The tokenizer, where it is transformers', and how a prompt is made of a text and an answer read of the logits."""
    tokenizer = getattr(run.tokenizer, "_tokenizer", None)
    if tokenizer is not None:
        tokenizer.save_pretrained(target)
    said = {
        "template": run.prompting.template,
        "labels": run.labels,
        "answers": list(run.prompting.verbalizers),
        "tokens": tokens_of(run),
        "sequence_length": run.prompting.sequence_length,
    }
    write_atomically(target / ANSWERS, json.dumps(said, indent=1, ensure_ascii=False).encode() + b"\n")


def tokens_of(run: Trained) -> list[int] | list[list[int]]:
    """Of each answer that is one token for all texts, or of each that is appended to the prompt."""
    if not isinstance(run.dataset.answers, Appended):
        return list(run.dataset.answers)
    return [run.tokenizer.answer(spaced(run.prompting) + word) for word in run.prompting.verbalizers]
