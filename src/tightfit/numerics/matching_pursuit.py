"""Orthogonal matching pursuit of many targets at once (Pati et al., 1993), in steps whose sizes no data decide."""

from __future__ import annotations

import torch


def matching_pursuit(dictionary: torch.Tensor, targets: torch.Tensor, atoms: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Each target as a sum of `atoms` columns of `dictionary`, chosen one after another by what is not yet explained.

    dictionary: (k, d); targets: (c, k); atoms: s, at most k and d.
    Returns which columns (c, s), and times what (c, s).
    """
    chosen = torch.zeros(len(targets), 0, dtype=torch.int64, device=targets.device)
    rest, weights = targets, targets[:, :0]
    for _ in range(atoms):
        fit = (rest @ dictionary).abs_().scatter_(1, chosen, -1.0)  # one chosen before is below all others
        chosen = torch.cat([chosen, fit.argmax(dim=1, keepdim=True)], dim=1)
        columns = dictionary.T[chosen]  # (c, j, k)
        gram = columns @ columns.mT
        weights = torch.linalg.solve_ex(gram, columns @ targets.unsqueeze(2))[0]  # (c, j, 1)
        rest = targets - (columns.mT @ weights).squeeze(2)
    return chosen, weights.squeeze(2)
