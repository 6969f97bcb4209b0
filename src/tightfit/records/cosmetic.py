"""Settings that change no number, and so do not count in the key of a run."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

Maker = TypeVar("Maker", bound=Callable[..., object])


def cosmetic(*names: str) -> Callable[[Maker], Maker]:
    """Marks a maker of parts whose settings `names` change no number: they do not count in a run's key."""

    def mark(make: Maker) -> Maker:
        make.cosmetic = names  # ty: ignore[missing-attribute]
        return make

    return mark
