"""The words and colours of tables and figures: one name and one colour for a method, everywhere."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import pandas as pd

from . import papers
from .palette import COLORS, Family, Variant, look, shade

MOST_FREQUENT = "most frequent class"  # what always giving it is right for is the baseline of an accuracy


@dataclass(frozen=True)
class Method:
    """A row of the papers' tables; `dash` and `marker` tell the variants of a family apart.

    meaning: in words, where the title is a paper's own coinage.
    """

    title: str
    short: str
    color: str
    dash: str = "-"
    marker: str = "o"
    meaning: str = ""


def member(title: str, short: str, family: Family, variant: Variant = "plain") -> Method:
    return Method(title, short, *look(family, variant))


def of_papers() -> dict[str, Method]:
    """The rows that papers name, and those that are one method at several values, from light to dark."""
    rows = {
        row: replace(
            member(said["title"], said.get("short", said["title"]), said["family"], said.get("variant", "plain")),
            meaning=said.get("meaning", ""),
        )
        for row, said in papers.together("rows").items()
    }
    scale = papers.together("scale")
    shades = {
        row: Method(said["title"], said.get("short", said["title"]), shade(place, len(scale)))
        for place, (row, said) in enumerate(scale.items())
    }
    return rows | shades


def share(queries: int, sentences: int, place: int, places: int) -> Method:
    """P-RGE with so many directions and sentences: the one at `place` of `places` from few directions to many."""
    title = f"{queries} direction{'s' if queries > 1 else ''} × {sentences}"
    return Method(title, f"q = {queries}", shade(place, places))


# Parts that presets and rows of backpropagation are called by: bp_<rule><activations>.
RULES: dict[str, tuple[str, Family]] = {
    "masked_sgd": ("SGD under a mask", "backprop"),
    "masked_adam": ("Adam under a mask", "backprop_adam"),
    "adafactor": ("Adafactor", "backprop"),
    "muon": ("Muon", "backprop"),
    "mofasgd": ("MoFaSGD", "backprop"),
    "sgc": ("SGC", "backprop_adam"),
    "solo": ("SOLO", "backprop_adam"),
    "foam": ("FOAM", "backprop_adam"),
    "adam_8bit": ("Adam in 8 bits", "backprop_adam"),
    "sgd": ("SGD", "backprop"),
    "adam": ("Adam", "backprop_adam"),
}
ACTIVATIONS: dict[str, tuple[str, Variant]] = {
    "_checkpointed": ("checkpointed", "checkpointed"),
    "_mesp": ("MeSP", "checkpointed"),
    "_wta_crs": ("WTA-CRS", "sampled"),
    "_mesa": ("Mesa", "rounded"),
    "": ("", "plain"),
}


def of_backprop() -> dict[str, Method]:
    """Every rule with every policy of activations, by what its records call it."""
    return {
        f"bp_{rule}{called}": member(f"BP {title}{kept and f', {kept}'}", kept or f"BP {title}", family, variant)
        for rule, (title, family) in RULES.items()
        for called, (kept, variant) in ACTIVATIONS.items()
    }


# Rows that are no paper's own, and then those of papers.
METHODS = {
    "none": member("no fine-tuning", "none", "none"),
    "inference": member("inference", "inference", "none", "reference"),
    "zero_shot": member("zero-shot", "zero-shot", "none"),
    "mezo": member("MeZO", "MeZO", "zeroth_order"),
    "mezo_lora": member("MeZO LoRA", "MeZO LoRA", "zeroth_order_low_rank"),
    "elastic_zo": member("ElasticZO LoRA", "ElasticZO", "hybrid_two_layers"),
    "elastic_zo_1": member("ElasticZO, 1 block by BP", "ElasticZO", "hybrid_one_layer"),
    "elastic_zo_2": member("ElasticZO, 2 blocks by BP", "ElasticZO", "hybrid_two_layers"),
    "bp_lora": member("BP LoRA, Adam", "BP LoRA", "backprop_low_rank"),
    "bp_sgd_fused": member("BP SGD, fused", "BP SGD, fused", "backprop", "rounded"),
    **of_backprop(),
    "compressm": member("CompreSSM", "CompreSSM", "backprop_adam"),
    "admm_pruning": member("Pruning by ADMM", "ADMM", "backprop"),
    "magnitude_pruning": member("Pruning by magnitudes", "magnitudes", "backprop", "checkpointed"),
    "zo_int8": member("ZO in int8", "ZO", "zeroth_order", "int8"),
    "elastic_zo_int8_1": member("ElasticZO-INT8, 1 layer by BP", "ElasticZO-INT8", "hybrid_one_layer", "int8"),
    "elastic_zo_int8_2": member("ElasticZO-INT8, 2 layers by BP", "ElasticZO-INT8", "hybrid_two_layers", "int8"),
    "niti_bp": member("NITI", "NITI", "backprop", "int8"),
    **of_papers(),
}
PAPERS = {paper: said["title"] for paper, said in papers.papers().items() if "title" in said}
DATASETS, MODELS = papers.together("columns"), papers.together("models")
ARITHMETICS = {"float32": "FP32", "bfloat16": "BF16", "int8": "INT8", "int8 with integer loss": "INT8*"}
COLUMN_ENDS = {"fp32": "FP32", "int8": "INT8", "int8_star": "INT8*"}  # of columns of the papers' tables
COLUMNS = {
    f"{name}_{end}": f"{title} {arithmetic}"
    for name, title in DATASETS.items()
    for end, arithmetic in COLUMN_ENDS.items()
}


def method(row: str) -> Method:
    """How the method called `row` in records is written and drawn; an unknown one by its own name, in grey."""
    return METHODS.get(row, Method(row, row, COLORS["none"], marker="x"))


def meanings(rows: Iterable[str]) -> str:
    """A line that says what the titles of `rows` mean; empty where all say it themselves."""
    said = [one for row in in_order(set(rows)) if (one := method(row)).meaning]
    return "; ".join(f"{one.title}: {one.meaning}" for one in said) + ("." if said else "")


def in_order(rows: set[str]) -> list[str]:
    """`rows` from the least backpropagation to the most, unknown ones last."""
    known = list(METHODS)
    return sorted(rows, key=lambda row: (known.index(row) if row in known else len(known), row))


def column_title(column: str) -> str:
    """`fashion_mnist_int8_star` as "Fashion-MNIST INT8*"; an unknown column by its own name."""
    return COLUMNS.get(column, dataset_title(column))


def arithmetic_title(arithmetic: str) -> str:
    """`int8 with integer loss`, as runs record it, as "INT8*"."""
    return ARITHMETICS.get(arithmetic, arithmetic)


def model_title(name: str) -> str:
    return MODELS.get(name, name)


def dataset_title(name: str) -> str:
    return DATASETS.get(name, name)


def subject(runs: pd.DataFrame) -> str:
    """What was trained on what, such as "LeNet-5 on MNIST, Fashion-MNIST; PointNet on ModelNet40"."""
    pairs = sorted(set(runs[["model", "dataset"]].dropna().itertuples(index=False, name=None)))
    datasets: dict[str, list[str]] = {}
    for model, dataset in pairs:
        datasets.setdefault(model_title(model), []).append(dataset)
    models: dict[tuple[str, ...], list[str]] = {}
    for model, on in datasets.items():
        models.setdefault(tuple(map(dataset_title, sorted(set(on), reverse=True))), []).append(model)
    return "; ".join(f"{', '.join(those)} on {', '.join(on)}" for on, those in models.items())


def experiment_title(experiment: str) -> str:
    """`elasticzo/table1` as "ElasticZO, Table 1"."""
    paper, _, name = experiment.partition("/")
    words = f"Table {name.removeprefix('table')}" if name.startswith("table") else name.replace("_", " ")
    return ", ".join(filter(None, [PAPERS.get(paper, paper), words]))


def mebibytes(size: float) -> str:
    """`size` bytes in the papers' unit, with three digits."""
    number = size / 2**20
    return f"{number:.{2 if number < 10 else 1 if number < 100 else 0}f} MiB"


def budget_title(size: float) -> str:
    """A budget of `size` bytes as it was set: a round number of MiB stays one."""
    return f"{size / 2**20:.4g} MiB"
