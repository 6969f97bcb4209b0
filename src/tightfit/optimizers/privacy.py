"""How much of one training example can be told from the weights: (ε, δ) of Gaussian noise, by a kept-up accountant.

By opacus, of the extra `privacy`. Its account is of Rényi divergences (Mironov, 2017), which is a proven upper bound;
dp-accounting asks for versions of attrs that nothing else here can use.
"""

from __future__ import annotations

import math
from functools import cache
from importlib.util import find_spec

# Of the divergences, among which the accountant takes the best: from little noise to much.
ORDERS = [1 + tenth / 10 for tenth in range(1, 100)] + [*range(11, 64)] + [2**power for power in range(6, 13)]


def check_accountant() -> None:
    """Raise ValueError where nothing can be accounted."""
    if find_spec("opacus") is None:
        raise ValueError(
            "optimizer.delta asks for an account of privacy, and opacus, which makes it, is not installed; "
            "pip install 'tightfit[privacy]', or choose optimizer.delta=null"
        )


@cache
def epsilon(noise_multiplier: float, participations: int, delta: float) -> float:
    """ε at `delta` of what depended on an example in `participations` sums, each with Gaussian noise.

    noise_multiplier: its deviation, in units of how far one example can move the sum by being there or not.
    """
    if noise_multiplier == 0:
        return math.inf
    from opacus.accountants import RDPAccountant  # optional, and takes seconds to import

    accountant = RDPAccountant()
    accountant.history = [(noise_multiplier, 1.0, participations)]  # 1: whoever takes part does so for certain
    return float(accountant.get_epsilon(delta, alphas=ORDERS))
