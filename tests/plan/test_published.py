"""Models by their config.json: counted as the library builds them, called what was asked, or refused in a sentence."""

import json
from pathlib import Path
from typing import Any

import pytest

from tightfit.plan.__main__ import main

from .asked import only

LLAMA = {  # Llama-3.2-1B
    "model_type": "llama",
    "hidden_size": 2048,
    "intermediate_size": 8192,
    "num_hidden_layers": 16,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 64,
    "vocab_size": 128256,
    "tie_word_embeddings": True,
}
SMALL = {
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "vocab_size": 70,
    "max_position_embeddings": 64,
}
LIBRARY: dict[str, dict[str, Any]] = {
    "llama": {**SMALL, "num_key_value_heads": 2},
    "llama, tied": {**SMALL, "tie_word_embeddings": True},
    "gemma": {**SMALL, "num_key_value_heads": 1, "head_dim": 12},
    "qwen2": {**SMALL, "num_key_value_heads": 2, "tie_word_embeddings": False},
    "gpt2": {"n_embd": 48, "n_layer": 3, "n_head": 4, "n_positions": 64, "vocab_size": 70},
    "gpt2, narrow": {"n_embd": 48, "n_layer": 2, "n_head": 4, "n_positions": 64, "vocab_size": 70, "n_inner": 40},
    "opt": {**SMALL, "ffn_dim": 80, "word_embed_proj_dim": 48},
}


def written(folder: Path, content: Any, name: str = "config.json") -> Path:
    folder.mkdir(exist_ok=True)
    text = content if isinstance(content, str) else json.dumps(content)
    (folder / name).write_text(text)
    return folder / name


@pytest.mark.parametrize("kind", LIBRARY)
def test_a_model_has_the_parameters_that_the_library_builds_by_the_same_file(kind: str, tmp_path: Path, capsys) -> None:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    described = AutoConfig.for_model(kind.partition(",")[0], **LIBRARY[kind])
    described.save_pretrained(tmp_path)
    with torch.device("meta"):
        expected = AutoModelForCausalLM.from_config(described).num_parameters()
    words = ("optimizer=mezo", "dataset.sequence_length=64")
    row = only(capsys, f"model={tmp_path}", *words)
    assert row["parameters"] == expected
    assert row["model"] == tmp_path.name


def test_a_folder_or_its_file_is_read_and_the_row_is_called_by_the_folder(tmp_path: Path, capsys) -> None:
    folder = tmp_path / "Llama-3.2-1B"
    file = written(folder, LLAMA)
    for place in (folder, file):
        row = only(capsys, f"model={place}", "optimizer=mezo")
        assert (row["model"], row["parameters"]) == ("Llama-3.2-1B", 1_235_814_400)
        assert row["parameters_bytes"] == 2 * 1_235_814_400
    other = written(folder, LLAMA, "mine.json")
    assert only(capsys, f"model={other}", "optimizer=mezo")["model"] == "mine"


def test_a_row_is_called_by_what_was_changed_and_shows_its_parameters(capsys) -> None:
    words = ["model=llama2_7b", "optimizer=mezo", "model.layers=16", "model.tied_head=true"]
    row = only(capsys, *words)
    assert row["model"] == "llama2_7b: layers=16 tied_head=true"
    assert row["parameters"] == 3_369_209_856
    assert main(words) == 0
    table = capsys.readouterr().out
    assert "llama2_7b, changed │ mezo   │ 3.369 G │" in table
    assert "llama2_7b, changed: layers=16 tied_head=true" in table


def test_learned_positions_limit_the_sequence_though_opt_keeps_two_rows_more(tmp_path: Path, capsys) -> None:
    written(tmp_path, {"model_type": "opt", **LIBRARY["opt"]})
    words = (f"model={tmp_path}", "optimizer=mezo")
    assert only(capsys, *words, "dataset.sequence_length=64")["largest_sequence"] == 64
    assert main([*words, "dataset.sequence_length=65"]) == 2
    assert "has 64 positions; choose 1–64" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not valid JSON; give the config.json of a Hugging Face model"),
        ("[" * 100_000, "is not valid JSON; give the config.json of a Hugging Face model"),
        ("[1]", "is of model_type=None, which is not counted; choose llama, gemma, qwen2, gpt2, opt"),
        ({"model_type": ["llama"]}, "is of model_type=['llama'], which is not counted"),
        ({**LLAMA, "model_type": "mamba"}, "is of model_type=mamba, which is not counted; choose llama, gemma"),
        ({**LLAMA, "attention_bias": True}, "has attention_bias=True, which is not counted; a plan needs False"),
        ({**LLAMA, "head_dim": 128}, "has head_dim=128 and width 2048, which do not go together in a plan"),
        ({**LLAMA, "hidden_size": "2048", "head_dim": None}, "hidden_size=2048 is not a whole number; mend its config"),
        ({**LLAMA, "vocab_size": None}, "vocab_size=None is not a whole number; mend its config.json"),
        ({**LLAMA, "num_hidden_layers": True}, "num_hidden_layers=True is not a whole number; mend its config.json"),
        ({**LLAMA, "num_hidden_layers": 0}, "layers=0 but own needs at least one; choose 1 or more"),
        ({**LLAMA, "num_key_value_heads": 5}, "key_value_heads=5 does not divide heads=32 of own"),
        ({**LLAMA, "tie_word_embeddings": 1}, "tie_word_embeddings=1 is not true or false; mend its config.json"),
        ({"model_type": "opt", **LIBRARY["opt"], "word_embed_proj_dim": 24}, "has word_embed_proj_dim=24 and width 48"),
    ],
)
def test_what_the_equations_do_not_count_is_refused_in_one_line(
    content: Any, message: str, tmp_path: Path, capsys
) -> None:
    written(tmp_path / "own", content)
    assert main([f"model={tmp_path / 'own'}", "optimizer=mezo"]) == 2
    complaint = capsys.readouterr().err
    assert message in complaint
    assert complaint.count("\n") == 1


@pytest.mark.parametrize("place", ["HuggingFaceTB/SmolLM2-1.7B", "nowhere/config.json", "config.json", "{tmp}"])
def test_a_place_without_a_model_is_told_with_all_the_numbers_that_one_would_need(
    place: str, tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([f"model={place.format(tmp=tmp_path)}"]) == 2
    complaint = capsys.readouterr().err
    assert complaint.count("\n") == 1
    for word in ("a plan asks no network", "model.key_value_heads=…", "model.tied_head=…"):
        assert word in complaint
