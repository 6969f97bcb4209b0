"""What the folder of each paper says of itself: `experiments/<paper>/paper.yaml`.

A paper names there its title, its rows, columns and models, its tables, pages and figures. Nothing else lists them.
"""

from __future__ import annotations

import pydoc
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from .load import EXPERIMENTS

NAMES = ("title", "rows", "scale", "columns", "models", "tables", "pages", "figures", "budgets", "claims", "smaller")


@cache
def papers(experiments: Path = EXPERIMENTS) -> dict[str, dict[str, Any]]:
    """What each paper's file says, by the name of its folder.

    Raises ValueError for a name that nothing reads.
    """
    said = {path.parent.name: yaml.safe_load(path.read_text()) for path in sorted(experiments.glob("*/paper.yaml"))}
    for paper, content in said.items():
        for name in content:
            if name not in NAMES:
                raise ValueError(f"{paper}/paper.yaml says {name}, which nothing reads; it may say {', '.join(NAMES)}")
    return said


def together(name: str) -> dict[str, Any]:
    """The mappings that papers call `name`, as one.

    Raises ValueError where two papers mean different things by one key: a method has one name and one colour.
    """
    found: dict[str, Any] = {}
    for paper, content in papers().items():
        for key, value in content.get(name, {}).items():
            if found.setdefault(key, value) != value:
                raise ValueError(f"{paper}/paper.yaml says {name}.{key}={value}, another paper {found[key]}; say one")
    return found


def tables() -> tuple[str, ...]:
    """The experiments that have a table of the common form."""
    return tuple(f"{paper}/{name}" for paper, content in papers().items() for name in content.get("tables", ()))


def pages() -> dict[str, Callable[..., Any]]:
    """What makes the page of each experiment that has one of its own form."""
    return {
        f"{paper}/{name}": named(f"{paper}/paper.yaml", target)
        for paper, content in papers().items()
        for name, target in content.get("pages", {}).items()
    }


def figures() -> list[tuple[str, str, Callable[..., Any]]]:
    """The name of each figure that is drawn from records and profile alone, its experiment, and what draws it."""
    return [
        (name, f"{paper}/{figure['of']}", named(f"{paper}/paper.yaml", figure["draw"]))
        for paper, content in papers().items()
        for name, figure in content.get("figures", {}).items()
    ]


def budgets(experiment: str) -> list[float]:
    """The sizes in bytes, from the smallest, that the runs of `experiment` are read within.

    Raises ValueError where its paper says none.
    """
    paper, _, name = experiment.partition("/")
    said: Mapping[str, list[float]] = papers().get(paper, {}).get("budgets", {})
    if not said.get(name):
        raise ValueError(f"{paper}/paper.yaml says no budgets.{name}; write a list of bytes")
    return sorted(said[name])


def smaller(experiment: str) -> list[str]:
    """Settings that let a test run `experiment` in a moment."""
    paper, _, name = experiment.partition("/")
    said: Mapping[str, list[str]] = papers().get(paper, {}).get("smaller", {})
    return said.get(name, said.get("all", []))


def named(file: str, target: str) -> Callable[..., Any]:
    """The function called `target`, of this package whatever its own name is. Raises ValueError when there is none."""
    found = pydoc.locate(f"{__package__}.{target.removeprefix('analysis.')}")
    if not callable(found):
        raise ValueError(f"{file} names {target}, which is no function; name one as module.function")
    return found
