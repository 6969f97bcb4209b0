"""The words and colours of tables and figures: one name and one colour for a method, everywhere."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from .palette import COLORS, Family, Variant, look, shade


@dataclass(frozen=True)
class Method:
    """A row of the papers' tables; `dash` and `marker` tell the variants of a family apart."""

    title: str
    short: str
    color: str
    dash: str = "-"
    marker: str = "o"


def member(title: str, short: str, family: Family, variant: Variant = "plain") -> Method:
    return Method(title, short, *look(family, variant))


def shares(*queries: int) -> dict[str, Method]:
    """P-RGE with several directions at 16 rows, from light to dark."""
    return {
        f"q{q}_b{16 // q}": Method(
            f"{q} direction{'s' if q > 1 else ''} × {16 // q}", f"q = {q}", shade(place, len(queries))
        )
        for place, q in enumerate(queries)
    }


METHODS = {
    "none": member("no fine-tuning", "none", "none"),
    "inference": member("inference", "inference", "none", "reference"),
    "full_zo": member("Full ZO", "Full ZO", "zeroth_order"),
    "cls2": member("ZO-Feat-Cls2", "Cls2", "hybrid_one_layer"),
    "cls1": member("ZO-Feat-Cls1", "Cls1", "hybrid_two_layers"),
    "full_bp": member("Full BP", "Full BP", "backprop"),
    "full_bp_adam": member("Full BP, Adam", "BP Adam", "backprop_adam"),
    "zero_shot": member("zero-shot", "zero-shot", "none"),
    "mezo": member("MeZO", "MeZO", "zeroth_order"),
    "mezo_lora": member("MeZO LoRA", "MeZO LoRA", "zeroth_order_low_rank"),
    "elastic_zo": member("ElasticZO LoRA", "ElasticZO", "hybrid_two_layers"),
    "elastic_zo_1": member("ElasticZO, 1 block by BP", "ElasticZO", "hybrid_one_layer"),
    "elastic_zo_2": member("ElasticZO, 2 blocks by BP", "ElasticZO", "hybrid_two_layers"),
    "bp_lora": member("BP LoRA, Adam", "BP LoRA", "backprop_low_rank"),
    "bp_sgd_checkpointed": member("BP SGD, checkpointed", "checkpointed", "backprop", "checkpointed"),
    "bp_sgd": member("BP SGD", "BP SGD", "backprop"),
    "bp_adam_checkpointed": member("BP Adam, checkpointed", "checkpointed", "backprop_adam", "checkpointed"),
    "bp_adam": member("BP Adam", "BP Adam", "backprop_adam"),
    "zo_int8": member("ZO in int8", "ZO", "zeroth_order", "int8"),
    "elastic_zo_int8_1": member("ElasticZO-INT8, 1 layer by BP", "ElasticZO-INT8", "hybrid_one_layer", "int8"),
    "elastic_zo_int8_2": member("ElasticZO-INT8, 2 layers by BP", "ElasticZO-INT8", "hybrid_two_layers", "int8"),
    "niti_bp": member("NITI", "NITI", "backprop", "int8"),
    "p_rge_none": member("P-RGE, one by one", "LoRA-FA", "zeroth_order_low_rank"),
    "p_rge_inner": member("P-RGE, signs at once", "inner", "zeroth_order_low_rank"),
    "p_rge_outer": member("P-RGE, directions at once", "outer", "zeroth_order_low_rank"),
    "p_rge_both": member("P-RGE, all at once", "both", "zeroth_order_low_rank"),
    **shares(1, 2, 4, 8, 16),
    "gaussian": member("Gaussian, PyTorch's", "Gaussian", "zeroth_order"),
    "rademacher": member("Rademacher", "Rademacher", "zeroth_order"),
    "gaussian_fast": member("Gaussian by table", "gaussian_fast", "zeroth_order"),
}
PAPERS = {
    "elasticzo": "ElasticZO",
    "on_device_mezo": "On-device MeZO",
    "mobizo": "MobiZO",
    "noise": "Random directions",
}
DATASETS = {
    "mnist": "MNIST",
    "fashion_mnist": "Fashion-MNIST",
    "rotated_mnist_30": "MNIST rotated by 30°",
    "rotated_mnist_45": "MNIST rotated by 45°",
    "rotated_fashion_mnist_30": "Fashion-MNIST rotated by 30°",
    "rotated_fashion_mnist_45": "Fashion-MNIST rotated by 45°",
    "modelnet40": "ModelNet40",
    "modelnet40_256_points_16_epochs": "ModelNet40 (256 pts, 16 ep.)",
    "mnist_points": "MNIST points",
    "vader": "VADER films",
}
MODELS = {
    "lenet5": "LeNet-5",
    "lenet5_int8": "LeNet-5 in int8",
    "pointnet": "PointNet",
    "smollm2_135m": "SmolLM2-135M",
    "smollm2_135m_lora": "SmolLM2-135M",
    "minilm_l6": "MiniLM-L6",
}
ARITHMETICS = {"_int8_star": "INT8*", "_int8": "INT8", "_fp32": "FP32"}


def method(row: str) -> Method:
    """How the method called `row` in records is written and drawn; an unknown one by its own name, in grey."""
    return METHODS.get(row, Method(row, row, COLORS["none"], marker="x"))


def in_order(rows: set[str]) -> list[str]:
    """`rows` from the least backpropagation to the most, unknown ones last."""
    known = list(METHODS)
    return sorted(rows, key=lambda row: (known.index(row) if row in known else len(known), row))


def column_title(column: str) -> str:
    """`fashion_mnist_int8_star` as "Fashion-MNIST INT8*"."""
    for suffix, arithmetic in ARITHMETICS.items():
        if column.endswith(suffix):
            return f"{dataset_title(column.removesuffix(suffix))} {arithmetic}"
    return dataset_title(column)


def arithmetic_of(column: str) -> str | None:
    """`fashion_mnist_int8_star` as "INT8*"; None where a column does not say."""
    return next((arithmetic for suffix, arithmetic in ARITHMETICS.items() if column.endswith(suffix)), None)


def model_title(name: str) -> str:
    return MODELS.get(name, name)


def dataset_title(name: str) -> str:
    return DATASETS.get(name, name)


def subject(runs: pd.DataFrame) -> str:
    """What was trained on what, such as "LeNet-5 on MNIST, Fashion-MNIST"."""
    models = ", ".join(dict.fromkeys(map(model_title, sorted(set(runs["model"].dropna())))))
    return f"{models} on {', '.join(map(dataset_title, sorted(set(runs['dataset'].dropna()), reverse=True)))}"


def experiment_title(experiment: str) -> str:
    """`elasticzo/table1` as "ElasticZO, Table 1"."""
    paper, _, name = experiment.partition("/")
    words = f"Table {name.removeprefix('table')}" if name.startswith("table") else name.replace("_", " ")
    return f"{PAPERS.get(paper, paper)}, {words}"


def mebibytes(size: float) -> str:
    """`size` bytes in the papers' unit, with three digits."""
    number = size / 2**20
    return f"{number:.{2 if number < 10 else 1 if number < 100 else 0}f} MiB"


def budget_title(size: float) -> str:
    """A budget of `size` bytes as it was set: a round number of MiB stays one."""
    return f"{size / 2**20:.4g} MiB"
