"""The plans kept for Figures 3 and 4 are what the planner says today, and their figures say what they rest on."""

from pathlib import Path

import pandas as pd
import pytest

from analysis.load import EXPERIMENTS, load_published
from analysis.planned import FIG3, FIG4, NEAR_GB, load_plan, memory_by_context, memory_by_reading
from analysis.style import NoRecords
from tightfit.plan.__main__ import main

FIG3_SHARED = ("device=17GB", "model=llama2_7b", "dataset.sequence_length=128,256,512,1024,2048,4096", "format=csv")
FIG3_PLANS = ("optimizer=bp_adam,bp_adam_checkpointed,mezo", "optimizer=mezo assumptions.rho=0.03125")
FIG4_SHARED = ("device=17GB", "dataset.sequence_length=512", "training.batch_size=8", "format=csv")
GPT2, ALL_32_BITS = (
    "model=gpt2_medium optimizer=bp_adam",
    "assumptions.weight_bytes=4 assumptions.gradient_bytes=4 assumptions.master_bytes=0 assumptions.activation_bytes=4",
)
LLAMA_7B, LLAMA_13B = "model=llama2_7b optimizer=mezo", "model=llama2_13b optimizer=mezo"
FIG4_PLANS = (
    f"{GPT2} {ALL_32_BITS}",
    f"{GPT2} {ALL_32_BITS} assumptions.fused_attention=true",
    GPT2,
    f"{GPT2} assumptions.dropout=true",
    "model=gpt2_medium optimizer=bp_adam_checkpointed",
    LLAMA_7B,
    f"{LLAMA_7B} assumptions.fused_attention=true",
    f"{LLAMA_7B} assumptions.rho=0.03125",
    LLAMA_13B,
    f"{LLAMA_13B} assumptions.weight_bytes=1",
    f"{LLAMA_13B} assumptions.weight_bytes=1 assumptions.fused_attention=true",
    f"{LLAMA_13B} assumptions.weight_bytes=0.5",
)


@pytest.mark.parametrize(
    ("figure", "shared", "plans"), [(FIG3, FIG3_SHARED, FIG3_PLANS), (FIG4, FIG4_SHARED, FIG4_PLANS)]
)
def test_the_plan_kept_is_what_the_planner_says(
    figure: str, shared: tuple[str, ...], plans: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    said: list[str] = []
    for words in plans:
        assert main([*shared, *words.split()]) == 0
        lines = capsys.readouterr().out.splitlines()
        said += lines[1:] if said else lines
    paper, _, name = figure.partition("/")
    assert (EXPERIMENTS / paper / "planned" / f"{name}.csv").read_text().splitlines() == said


def near_published(plan: pd.DataFrame) -> set[str]:
    published = load_published(FIG4)["value"].iloc[0]
    return set(plan["model"][(plan["total_bytes"] / 1e9 - published).abs() <= NEAR_GB])


def test_each_model_of_figure_4_has_a_reading_near_the_published_need_though_13b_only_below_16_bits() -> None:
    plan = load_plan(FIG4)
    assert near_published(plan) == {"gpt2_medium", "llama2_7b", "llama2_13b"}
    assert near_published(plan[plan["weight_bytes"] >= 2]) == {"gpt2_medium", "llama2_7b"}


def test_the_figure_of_readings_names_the_assumptions_of_each_and_tells_published_from_derived() -> None:
    figure = memory_by_reading(load_plan(FIG4), load_published(FIG4))
    rows = {axes.get_title(loc="left"): [label.get_text() for label in axes.get_yticklabels()] for axes in figure.axes}
    assert sum(len(set(readings)) for readings in rows.values()) == len(FIG4_PLANS)
    assert "ρ = 0.15, 8 bits, fused attention" in rows["Llama-2 13B by MeZO"]
    words = figure.get_suptitle() + " ".join(text.get_text() for text in figure.texts)
    for part in ("derived, not measured", "Published: about 17 GB", "batch 8", "512 positions", "logits of the answer"):
        assert part in words


def test_the_figure_has_a_line_for_each_method_and_says_that_it_is_derived() -> None:
    figure = memory_by_context(load_plan(FIG3))
    names = ["BP Adam", "BP Adam, checkpointed", "MeZO, ρ = 0.15", "MeZO, ρ = 1/32"]
    for axes in figure.axes:
        assert [line.get_label() for line in axes.get_lines() if not line.get_label().startswith("_")] == names
    words = figure.get_suptitle() + " ".join(text.get_text() for text in figure.texts)
    for assumption in ("derived, not measured", "Batch 8", "2 bytes a weight", "dropout none", "logits of the answer"):
        assert assumption in words


def test_a_figure_without_a_plan_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(NoRecords, match=r"no plan is kept as fig3\.csv"):
        load_plan(FIG3, tmp_path)
