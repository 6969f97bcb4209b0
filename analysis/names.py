"""The words and colours of tables and figures: one name and one colour for a method, everywhere."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd


@dataclass(frozen=True)
class Method:
    """A row of the papers' tables. Colours are Okabe and Ito's, dark enough for text on white."""

    title: str
    short: str
    color: str


METHODS = {
    "none": Method("no fine-tuning", "none", "#777777"),
    "full_zo": Method("Full ZO", "Full ZO", "#D55E00"),
    "cls2": Method("ZO-Feat-Cls2", "Cls2", "#B0518A"),
    "cls1": Method("ZO-Feat-Cls1", "Cls1", "#009E73"),
    "full_bp": Method("Full BP", "Full BP", "#0072B2"),
    "full_bp_adam": Method("Full BP, Adam", "BP Adam", "#333333"),
    "zero_shot": Method("zero-shot", "zero-shot", "#777777"),
    "mezo": Method("MeZO", "MeZO", "#D55E00"),
    "mezo_lora": Method("MeZO LoRA", "MeZO LoRA", "#B87A00"),
    "elastic_zo": Method("ElasticZO LoRA", "ElasticZO", "#009E73"),
    "bp_lora": Method("BP LoRA, Adam", "BP LoRA", "#B0518A"),
    "bp_sgd": Method("BP SGD", "BP SGD", "#3A8FC2"),
    "bp_adam_checkpointed": Method("BP Adam, checkpointed", "checkpointed", "#333333"),
    "bp_adam": Method("BP Adam", "BP Adam", "#0072B2"),
    "p_rge_none": Method("P-RGE, one by one", "LoRA-FA", "#777777"),
    "p_rge_inner": Method("P-RGE, signs at once", "inner", "#3A8FC2"),
    "p_rge_outer": Method("P-RGE, directions at once", "outer", "#B0518A"),
    "p_rge_both": Method("P-RGE, all at once", "both", "#009E73"),
    "q1_b16": Method("1 direction × 16", "q = 1", "#333333"),
    "q2_b8": Method("2 directions × 8", "q = 2", "#0072B2"),
    "q4_b4": Method("4 directions × 4", "q = 4", "#009E73"),
    "q8_b2": Method("8 directions × 2", "q = 8", "#B0518A"),
    "q16_b1": Method("16 directions × 1", "q = 16", "#D55E00"),
    "gaussian": Method("Gaussian, PyTorch's", "Gaussian", "#0072B2"),
    "rademacher": Method("Rademacher", "Rademacher", "#D55E00"),
    "gaussian_fast": Method("Gaussian by table", "gaussian_fast", "#009E73"),
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
    return METHODS.get(row, Method(row, row, "#777777"))


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
