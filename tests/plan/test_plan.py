"""What is planned: every method, model, policy and adapter that runs, and how the answer is shown."""

import csv
import io
import json
from pathlib import Path

import pytest

from tightfit.memory.budget import readable
from tightfit.plan.__main__ import main
from tightfit.plan.models import options
from tightfit.records.places import CONF

from .asked import only, plan

OPTIMIZERS = sorted(path.stem for path in (CONF / "optimizer").glob("*.yaml"))
POLICIES = sorted(path.stem for path in (CONF / "optimizer" / "activations").glob("*.yaml"))
ADAPTERS = sorted(path.stem for path in (CONF / "adapter").glob("*.yaml"))
INT8 = ("elastic_zo_int8", "niti_bp", "zo_int8")


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_method_that_runs_is_planned_where_it_fits_and_told_where_it_does_not(capsys, optimizer: str) -> None:
    for model, trains in (("smollm2_135m", "floats"), ("lenet5", "floats"), ("lenet5_int8", "int8")):
        code = main([f"model={model}", f"optimizer={optimizer}", "format=json"])
        said = capsys.readouterr()
        of_other_models = (optimizer, model) == ("compressm", "lenet5")  # it shrinks linear recurrent units
        if (optimizer in INT8) == (trains == "int8") and not of_other_models:
            (row,) = json.loads(said.out)["rows"]
            assert row["forward"] >= 1
            assert 0 < row["parameters_bytes"] < row["total_bytes"]
        else:
            assert code == 2
            assert said.err.count("\n") == 1


def test_every_rule_is_planned(capsys) -> None:
    rules = sorted(path.stem for path in (CONF / "optimizer" / "rule").glob("*.yaml"))
    for model in ("smollm2_135m", "lenet5"):
        rows = plan(capsys, f"model={model}", "optimizer=bp", f"optimizer/rule={','.join(rules)}")
        states = {rule: row["optimizer_state_bytes"] for rule, row in zip(rules, rows, strict=True)}
        assert [states.pop(name) for name in ("sgd", "masked_sgd")] == [0, 0]
        assert all(0 < state <= states["adam"] for state in states.values())


def test_every_model_that_a_run_knows_is_planned(capsys) -> None:
    unnamed = ("hf_causal_lm", "hf_classifier", "hf_masked_lm")  # models by a folder
    every = [name for name in options() if name not in unnamed]
    assert main([f"model={','.join(every)}", "optimizer=bp_sgd,zo_int8", "format=json"]) == 0
    assert {row["model"] for row in json.loads(capsys.readouterr().out)["rows"]} == set(every)


def test_a_method_that_does_not_fit_a_model_is_left_out_in_a_sentence(capsys) -> None:
    assert main(["model=lenet5,lenet5_int8", "optimizer=mezo,niti_bp", "format=json"]) == 0
    said = capsys.readouterr()
    assert [(row["model"], row["optimizer"]) for row in json.loads(said.out)["rows"]] == [
        ("lenet5", "mezo"),
        ("lenet5_int8", "niti_bp"),
    ]
    first, second = said.err.splitlines()
    assert first.startswith("left out: lenet5 by optimizer=niti_bp: optimizer=niti_bp trains int8 layers")
    assert second.startswith("left out: lenet5_int8 by optimizer=mezo: optimizer=mezo trains floating point")


def test_methods_are_composed_as_for_a_run(capsys) -> None:
    composed = plan(capsys, "optimizer=bp", "optimizer/rule=sgd,adam", "optimizer/activations=kept,checkpointed")
    presets = plan(capsys, "optimizer=bp_sgd,bp_sgd_checkpointed,bp_adam,bp_adam_checkpointed")
    assert composed == presets
    four = only(capsys, "optimizer=mezo", "optimizer.queries=4")
    assert (four["optimizer"], four["forward"], four["sweeps"]) == ("mezo queries=4", 8, 8)
    signs = only(capsys, "optimizer=mezo", "optimizer/direction=rademacher")
    assert signs["optimizer"] == "mezo direction=rademacher"


@pytest.mark.parametrize("model", ["smollm2_135m", "lenet5"])
def test_every_policy_of_activations_is_planned_where_it_fits_and_told_where_it_does_not(capsys, model: str) -> None:
    words = (f"model={model}", "optimizer=bp", f"optimizer/activations={','.join(POLICIES)}", "format=json")
    held: dict[str, dict[str, int]] = {}
    for adapter in ("none", "lora", "tt"):
        assert main([*words, f"adapter={adapter}"]) == 0
        said = capsys.readouterr()
        rows = json.loads(said.out)["rows"]
        held[adapter] = {
            row["optimizer"].partition(" ")[0].removeprefix("bp_sgd_"): row["activations_bytes"] for row in rows
        }
        assert said.err.count("left out: ") == len(POLICIES) - len(rows)
    every = {"bp_sgd" if policy == "kept" else policy for policy in POLICIES}
    assert [every - held[adapter].keys() for adapter in held] == [{"mesp"}, set(), {"mesp", "wta_crs"}]
    for of_adapter in held.values():
        assert all(need <= of_adapter["bp_sgd"] for need in of_adapter.values())
        assert of_adapter["mesa"] < of_adapter["bp_sgd"]
    assert held["lora"]["mesp"] <= held["lora"]["checkpointed"]


# Of models of some kind alone, and the largest share of weights that they train.
MADE_FOR = {"bsr": ("vit_tiny", 0.6), "sparse_update": ("lenet5_qas", 0.2)}


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_every_adapter_is_planned_on_a_transformer_and_on_another_network(capsys, adapter: str) -> None:
    models, share = MADE_FOR.get(adapter, ("llama2_7b,lenet5", 0.2))
    rows = list(plan(capsys, f"model={models}", "optimizer=bp_sgd", f"adapter={adapter}"))
    assert [row["model"] for row in rows] == models.split(",")
    for row in rows:
        assert (row["gradients_bytes"] < share * row["parameters_bytes"]) is (adapter != "none")


LLAMA_1B = {
    "model_type": "llama", "num_hidden_layers": 16, "hidden_size": 2048, "num_attention_heads": 32,
    "num_key_value_heads": 8, "intermediate_size": 8192, "vocab_size": 128256, "tie_word_embeddings": True,
}  # fmt: skip


def test_a_plan_ends_in_a_sentence_that_says_what_its_rows_say(capsys, tmp_path: Path) -> None:
    place = tmp_path / "my_model" / "config.json"
    place.parent.mkdir()
    place.write_text(json.dumps(LLAMA_1B))
    words = (f"model={place}", "device=phone_6gb", "optimizer=bp_adam,mezo", "adapter=none,lora_4bit")
    rows = {row["optimizer"]: row for row in plan(capsys, *words)}
    assert main(list(words)) == 0
    shown = capsys.readouterr().out
    assert "1.236 G" in shown  # as its model card has it
    last = " ".join(shown.rpartition("\nmy_model on ")[2].split())
    assert last.startswith("phone_6gb, which has 4 GiB for training: it fits by mezo (batch up to ")
    for name in ("mezo", "mezo + lora_4bit"):
        seconds, row = rows[name]["seconds_at_peak"], rows[name]
        assert row["fits"]
        assert f"{name} (batch up to {row['largest_batch']} at 512 tokens; {seconds:.3g} s a step of 8 at best" in last
        assert f"{86400 / seconds:,.0f} steps a day" in last
    assert not rows["bp_adam"]["fits"]
    assert f"it does not by bp_adam ({readable(rows['bp_adam']['total_bytes'])})" in last
    limited = rows["bp_adam + lora_4bit"]["largest_batch"]
    assert 0 < limited < 8
    assert f"; batch {limited} would fit)." in last


def test_every_combination_has_a_row_in_csv(capsys) -> None:
    words = ["model=llama2_7b,lenet5", "optimizer=bp_adam,mezo", "dataset.sequence_length=128,256", "device=4GiB,17GB"]
    assert main([*words, "format=csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert len(rows) == 2 * 2 * (2 + 1)  # LeNet-5 takes no sequence
    assert {row["rho"] for row in rows if row["model"] == "llama2_7b"} == {"0.15"}
    assert {row["derived"] for row in rows} == {"True"}


def test_the_table_says_its_assumptions_and_a_picture_is_drawn(capsys, tmp_path: Path) -> None:
    picture = tmp_path / "plan.png"
    assert main(["model=gpt2_medium", "optimizer=mezo,bp_adam", "assumptions.rho=0.5", f"picture={picture}"]) == 0
    text = capsys.readouterr().out
    assert "rho=0.5" in text
    assert "gradient_bytes=2, state_bytes=4, master_bytes=4" in text
    assert picture.read_bytes().startswith(b"\x89PNG")
