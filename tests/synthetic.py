"""Data sets made on the spot: the height of a bar, the proportions of a box or a word of a sentence tells the class."""

from typing import Any, TypeVar

import torch
from torch import nn

from tightfit.datasets.dataset import Dataset, Examples
from tightfit.datasets.prompts import Labelled, Prompting, Tokenizer
from tightfit.datasets.text import Splits, text_dataset
from tightfit.models.adapters.adapter import Adapter
from tightfit.records.cosmetic import cosmetic

Model = TypeVar("Model", bound=nn.Module)


@cosmetic("folder", "cache", "title")
def bars(
    name: str = "bars",
    count: int = 96,
    train_limit: int | None = None,
    test_limit: int | None = None,
    held_out: int = 0,
    **_: object,
) -> Dataset:
    """`count` images (n, 1, 28, 28) uint8 of ten classes; training and scored examples are the same."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(count) % 10
    inputs = torch.randint(0, 80, (count, 1, 28, 28), generator=generator, dtype=torch.uint8)
    for image, label in zip(inputs, labels, strict=True):
        image[0, 2 * label : 2 * label + 4] = 255
    train = Examples(inputs[:train_limit], labels[:train_limit])
    test = Examples(inputs[:test_limit], labels[:test_limit])
    scored = "validation" if held_out else "test"
    return Dataset(name, 10, train, test, scored, 0.3, 0.3, "made", {"inputs": "none"}, {})


def boxes(name: str = "boxes", count: int = 48, points: int = 24) -> Dataset:
    """`count` clouds (n, points, 3) of three classes: each is long in a direction of its own."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(count) % 3
    inputs = torch.rand(count, points, 3, generator=generator) - 0.5
    inputs[torch.arange(count), :, labels] *= 4
    examples = Examples(inputs, labels)
    return Dataset(name, 3, examples, examples, "test", 0.0, 1.0, "made", {"inputs": "none"}, {})


def sentences(
    name: str,
    tokenizer: Tokenizer,
    count: int = 120,
    train_limit: int | None = None,
    test_limit: int | None = None,
    title: str = "",
    folder: str | None = None,
    cache: str | None = None,
    **prompting: Any,
) -> Dataset:
    """`count` sentences that one word among others makes good or bad; they come from no folder and no cache."""
    del title, folder, cache
    generator = torch.Generator().manual_seed(0)
    texts = []
    for index in range(count):
        words = [f"word{number}" for number in torch.randint(0, 50, (3 + index % 7,), generator=generator).tolist()]
        texts.append(Labelled({"text": " ".join([*words, ("dreadful", "lovely")[index % 2]])}, index % 2))
    options = {"template": "{text} It was {label}", "verbalizers": ["terrible", "great"], **prompting}
    sizes = {"train_size": 96, "validation_size": 8, "train_limit": train_limit, "test_limit": test_limit}
    splits = Splits(texts[:104], texts[104:])
    return text_dataset(name, splits, tokenizer, Prompting(**{**sizes, **options}), "made", {"sentences": "none"})


def adapted(model: Model, adapter: Adapter | None, seed: int = 0) -> Model:
    """`model`, with `adapter` in it, if there is one."""
    if adapter:
        adapter.inject(model, seed)
    return model


def straight_line(classes: int, seed: int) -> nn.Module:
    """A linear classifier of images of 784 pixels."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Flatten(), nn.Linear(784, classes))
