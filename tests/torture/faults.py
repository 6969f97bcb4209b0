"""Which faults there are, and which one a seed and an index name."""

from __future__ import annotations

import errno
import random
import signal
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from tests.torture.injection import PHASES
from tests.torture.methods import METHODS

SIGNALS = ("SIGKILL", "SIGTERM", "SIGINT")
GOLDEN = 0.6180339887498949  # multiples of it, modulo 1, cover 0 to 1 evenly however many there are
DAMAGE = ("truncate", "flip", "empty", "garbage", "other run", "folder", "delete")
YEAR = 365 * 86400.0
# As often as named: what there is most of to strike at comes most often, and signals twice as often as other faults.
KINDS = (
    *("kill",) * 9, *("kill twice",) * 2, *("insist",) * 2, *("disk",) * 3, "full disk", *("damage stopped",) * 2,
    *("damage finished",) * 2, "clock", "two processes", "sweep",
)  # fmt: skip
BY_SIGNAL = ("kill", "kill twice", "insist", "clock", "two processes", "sweep")


@dataclass(frozen=True)
class Fault:
    """What happens to which run; `phase` is of the run, or the kind of the damage."""

    seed: int
    index: int
    kind: str
    method: str
    phase: str
    moment: float  # from 0 to 1 of what there is to strike at
    how: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        told = "".join(f", {name} {value}" for name, value in self.how.items())
        return f"{self.kind} of {self.method}, {self.phase} at {self.moment:.4f}{told}"

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def drawn(seed: int, index: int) -> Fault:
    """The fault that `seed` and `index` name."""
    chance = random.Random(f"{seed} {index}")
    kind = KINDS[index % len(KINDS)]
    # The numbers of kinds, methods and phases share no divisor, so that each comes with each.
    method = list(METHODS)[index % len(METHODS)]
    moment = (random.Random(seed).random() + index * GOLDEN) % 1.0
    phase, how = PHASES[index % len(PHASES)], {}
    if kind in ("kill", "two processes", "sweep"):
        how = {"signal": chance.choice(SIGNALS)}
    elif kind == "kill twice":
        how = {"signal": chance.choice(SIGNALS), "then": chance.choice(SIGNALS), "again": chance.random()}
        how["in"] = chance.choice(PHASES)
    elif kind == "insist":
        how = {"signal": chance.choice(SIGNALS[1:]), "after": chance.randint(1, 3000)}
    elif kind in ("disk", "full disk"):
        phase, how = "any", {"error": chance.choice(("ENOSPC", "EIO")) if kind == "disk" else "ENOSPC"}
        assert hasattr(errno, how["error"])
    elif kind.startswith("damage"):
        phase, how = chance.choice(DAMAGE), {"file": chance.random(), "bit": chance.randrange(8)}
    elif kind == "clock":
        how = {"seconds": chance.choice((3600.0, -3600.0, YEAR, -YEAR, -50 * YEAR)), "signal": "SIGKILL"}
    assert not how.get("signal") or hasattr(signal, how["signal"])
    return Fault(seed, index, kind, method, phase, moment, how)
