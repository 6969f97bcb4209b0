"""A dispatch mode that does not cost the seconds which PyTorch's compiler takes to be imported."""

from __future__ import annotations

from torch.utils._python_dispatch import TorchDispatchMode


class LightMode(TorchDispatchMode):
    """As its base, but not kept from being compiled: to do that, PyTorch imports the compiler at the first operator."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False
