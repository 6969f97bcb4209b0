"""What a client sends of a round: numbers of seeds and the slopes along them, and which state they were taken at."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from tightfit.federated.terms import Terms
from tightfit.run.task import is_whole

NAME, HEAD = re.compile(r"[A-Za-z0-9_.-]{1,64}"), re.compile(r"[0-9a-f]{32}")


class Refused(ValueError):
    """A contribution that does not count. kind: one word, by which refusals are counted; client: empty if unknown."""

    def __init__(self, kind: str, client: str, reason: str) -> None:
        super().__init__(reason)
        self.kind, self.client = kind, client


@dataclass(frozen=True)
class Contribution:
    """head: the name of the state that the client stepped from; seeds, slopes: one of each for each of its steps."""

    client: str
    round: int
    head: str
    seeds: tuple[int, ...]
    slopes: tuple[float, ...]

    def moves(self) -> Iterator[tuple[int, float]]:
        return zip(self.seeds, self.slopes, strict=True)

    def __bytes__(self) -> bytes:
        return json.dumps(asdict(self), separators=(",", ":")).encode()


def read(body: bytes, terms: Terms) -> Contribution:
    """The contribution in `body`, whole and within `terms`; whether it is of the right round is not looked at.

    Raises Refused for anything else.
    """
    said = fields_of(body)
    client = said["client"]
    if not isinstance(client, str) or not NAME.fullmatch(client):
        raise Refused("form", "", "client is no name; write 1 to 64 letters, digits, dots, - or _")
    number, head = said["round"], said["head"]
    if not is_whole(number) or not 0 <= number <= terms.rounds:
        raise Refused("form", client, f"round is no whole number from 0 to {terms.rounds}; send that of GET /sums")
    if not isinstance(head, str) or not HEAD.fullmatch(head):
        raise Refused("form", client, "head is no name of a state; send that of GET /sums")
    seeds, slopes = said["seeds"], said["slopes"]
    if not isinstance(seeds, list) or not isinstance(slopes, list) or len(seeds) != len(slopes):
        raise Refused("form", client, "seeds and slopes are no lists of one length; send one slope for each seed")
    if not 1 <= len(seeds) <= terms.steps:
        raise Refused("form", client, f"{len(seeds)} steps but a round has 1 to {terms.steps} of a client; send these")
    for seed, slope in zip(seeds, slopes, strict=True):
        check_move(client, seed, slope, terms)
    return Contribution(client, number, head, tuple(seeds), tuple(map(float, slopes)))


def check_move(client: str, seed: Any, slope: Any, terms: Terms) -> None:
    if not is_whole(seed) or not 0 <= seed < terms.pool:
        raise Refused("seed", client, f"seed {seed!r} is not in the pool; choose 0 to {terms.pool - 1}")
    if isinstance(slope, bool) or not isinstance(slope, int | float):
        raise Refused("form", client, f"slope {slope!r} is no number; send one")
    if isinstance(slope, float) and not math.isfinite(slope):
        raise Refused("slope", client, f"slope {slope} is not finite; lower the rate, or leave the round out")
    if abs(slope) > terms.clip:
        raise Refused("slope", client, f"slope {slope} is beyond the clip; bound it to ±{terms.clip:g}")


def fields_of(body: bytes) -> dict[str, Any]:
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        said = None
    names = list(Contribution.__dataclass_fields__)
    if not isinstance(said, dict) or set(said) != set(names):
        raise Refused("form", "", f"the body is no JSON object of {', '.join(names)}; send one, whole")
    return said
