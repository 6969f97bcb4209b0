"""Learners that remember nothing between steps but the weights of their model."""

from __future__ import annotations

from typing import Any

from torch import nn


class WeightsOnly:
    """What such a learner scores, saves and loads: its model, with its weights at rest."""

    _model: nn.Module

    def resting_model(self) -> nn.Module:
        """All reading and loading goes through here: the one place where a learner that puts moves off makes them."""
        return self._model

    def state_dict(self) -> dict[str, Any]:
        return {"model": self.resting_model().state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.resting_model().load_state_dict(state["model"])
