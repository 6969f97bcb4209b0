"""Learners that remember nothing between steps but the weights of their model."""

from __future__ import annotations

from typing import Any

from torch import nn


class WeightsOnly:
    """What such a learner scores, saves and loads: its model, whose weights lie unperturbed between steps."""

    _model: nn.Module

    def resting_model(self) -> nn.Module:
        return self._model

    def state_dict(self) -> dict[str, Any]:
        return {"model": self._model.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._model.load_state_dict(state["model"])
