"""A model by the config.json that is published with it, in Hugging Face's form, as the numbers of a plan.

Only kinds whose every parameter the equations of `memory.transformer` count are read; others are refused.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FILE = "config.json"
OF_LLAMA = {
    "layers": "num_hidden_layers",
    "width": "hidden_size",
    "heads": "num_attention_heads",
    "key_value_heads": "num_key_value_heads",
    "feed_forward": "intermediate_size",
    "vocabulary": "vocab_size",
}
OF_GPT2 = {
    "layers": "n_layer",
    "width": "n_embd",
    "heads": "n_head",
    "feed_forward": "n_inner",
    "vocabulary": "vocab_size",
    "positions": "n_positions",
}
OF_OPT = {
    **{name: OF_LLAMA[name] for name in ("layers", "width", "heads", "vocabulary")},
    "feed_forward": "ffn_dim",
    "positions": "max_position_embeddings",
}
OPTIONAL = ("key_value_heads", "feed_forward")  # null: as many as heads, and 4 × width


@dataclass(frozen=True)
class Form:
    """One model_type.

    keys: number of a plan → key of config.json. tied_head: where config.json does not say. extra_positions: rows of
    the position table beyond the positions. must_be: values, of keys that may be absent, that the equations rest on.
    """

    block: str
    keys: Mapping[str, str]
    tied_head: bool = False
    qkv_bias: bool = False
    extra_positions: int = 0
    must_be: Mapping[str, Any] = field(default_factory=dict)


NO_BIAS = {"attention_bias": False, "mlp_bias": False}
FORMS = {
    "llama": Form("llama", OF_LLAMA, must_be=NO_BIAS),
    "gemma": Form("llama", OF_LLAMA, tied_head=True, must_be=NO_BIAS),
    "qwen2": Form("llama", OF_LLAMA, qkv_bias=True),
    "gpt2": Form("gpt2", OF_GPT2, tied_head=True, must_be={"add_cross_attention": False}),
    "opt": Form(
        "gpt2",
        OF_OPT,
        tied_head=True,
        extra_positions=2,
        must_be={"do_layer_norm_before": True, "enable_bias": True, "_remove_final_layer_norm": False},
    ),
}


def is_place(model: str) -> bool:
    """Whether `model` says a file or folder, or a name on a hub, and not an option."""
    return "/" in model or model.endswith(".json") or os.path.isdir(model)  # false for what can be no name


def read_published(model: str) -> tuple[str, dict[str, Any]]:
    """The name to show and the numbers of the model in the folder, or by the config.json, `model`.

    Raises ValueError where there is none, and for a model that the equations do not count.
    """
    path = Path(model) / FILE if os.path.isdir(model) else Path(model)
    if not os.path.exists(path):
        raise ValueError(
            f"model={model} is no {FILE} here nor a folder with one, and a plan asks no network; give that file, or "
            "its numbers over a model of its kind: model=llama2_7b model.layers=… model.width=… model.heads=… "
            "model.key_value_heads=… model.feed_forward=… model.vocabulary=… model.tied_head=…"
        )
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise ValueError(f"model={model} cannot be read: {error.strerror}; give the {FILE} of a model") from None
    except (ValueError, RecursionError):
        raise ValueError(f"model={model} is not valid JSON; give the {FILE} of a Hugging Face model") from None
    name = path.resolve().parent.name if path.name == FILE else path.stem
    return name, numbers(model, content)


def numbers(model: str, content: Any) -> dict[str, Any]:
    kind = content.get("model_type") if isinstance(content, dict) else None
    form = FORMS.get(kind) if isinstance(kind, str) else None
    if form is None:
        raise ValueError(f"model={model} is of model_type={kind}, which is not counted; choose {', '.join(FORMS)}")
    check_form(model, form, content)
    found: dict[str, Any] = {name: number(model, content, name, key) for name, key in form.keys.items()}
    if found["feed_forward"] is None:
        found["feed_forward"] = 4 * found["width"]
    if "positions" in found:
        found |= {"positions": found["positions"] + form.extra_positions, "longest": found["positions"]}
    tied = content.get("tie_word_embeddings", form.tied_head)
    if not isinstance(tied, bool):
        raise ValueError(f"model={model}: tie_word_embeddings={tied} is not true or false; mend its {FILE}")
    return {"kind": "transformer", "block": form.block, **found, "tied_head": tied, "qkv_bias": form.qkv_bias}


def check_form(model: str, form: Form, content: Mapping[str, Any]) -> None:
    """Raise ValueError for a variant whose parameters the equations would count wrongly."""
    for key, wanted in form.must_be.items():
        if content.get(key, wanted) != wanted:
            raise ValueError(f"model={model} has {key}={content[key]}, which is not counted; a plan needs {wanted}")
    width, heads = (content.get(form.keys[name]) for name in ("width", "heads"))
    for key, other in (("head_dim", heads), ("word_embed_proj_dim", 1)):
        size = content.get(key)
        if size is not None and isinstance(other, int) and size * other != width:
            raise ValueError(f"model={model} has {key}={size} and width {width}, which do not go together in a plan")


def number(model: str, content: Mapping[str, Any], name: str, key: str) -> int | None:
    value = content.get(key)
    if value is None and name in OPTIONAL:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"model={model}: {key}={value} is not a whole number; mend its {FILE}")
    return value
