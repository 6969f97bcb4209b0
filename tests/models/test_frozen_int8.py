"""Frozen weights in 8 bits: near the whole ones, a quarter of their bytes, and gradients only where updates are."""

from typing import Any

import pytest
import torch
from torch import nn

from tightfit.evaluate import cross_entropy
from tightfit.memory.measured import peak_live_bytes
from tightfit.memory.parts import trained_parameters
from tightfit.models.frozen_int8 import FrozenInt8Linear
from tightfit.models.hf_causal_lm import LoRA
from tightfit.optimizers.base import Batch
from tightfit.optimizers.mezo import MeZO

from .test_language_model import causal, prompts


def linear(inputs: int, outputs: int, dtype: torch.dtype = torch.float32) -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(inputs, outputs, dtype=dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_no_weight_is_further_off_than_half_a_step_of_its_row(dtype: torch.dtype) -> None:
    whole = linear(32, 8, dtype)
    frozen = FrozenInt8Linear(whole)
    back = frozen.weight.float() * frozen.scale.float()[:, None]
    half_a_step = whole.weight.detach().abs().amax(dim=1).float() / 127 / 2
    # The scale itself is rounded to the type of the weights, at most one part in 2⁸ of up to 127 steps in bfloat16.
    slack = 1.0001 if dtype == torch.float32 else 1 + 127 * 2 / 2**8
    assert bool(((back - whole.weight.detach().float()).abs() <= slack * half_a_step[:, None]).all())


def test_weights_that_are_whole_steps_give_the_same_outputs_and_gradients() -> None:
    whole = linear(6, 3)
    with torch.no_grad():
        whole.weight.copy_(torch.randint(-127, 128, (3, 6)).float())
        whole.weight[:, 0] = 127  # the scale is 1
    inputs, again = (torch.randn(4, 6, generator=torch.Generator().manual_seed(1)).requires_grad_() for _ in range(2))
    expected, ours = whole(inputs), FrozenInt8Linear(whole)(again)
    torch.testing.assert_close(ours, expected)
    for outputs in (expected, ours):
        outputs.square().sum().backward()
    torch.testing.assert_close(again.grad, inputs.grad)


def test_a_row_of_zeros_stays_so() -> None:
    whole = linear(4, 2)
    with torch.no_grad():
        whole.weight.zero_()
    torch.testing.assert_close(FrozenInt8Linear(whole)(torch.ones(1, 4))[0], whole.bias.detach())


def small(**options: Any) -> Any:
    return causal("llama", lora=LoRA(rank=2), **options)


def test_a_language_model_on_8_bits_says_nearly_the_same_and_trains_its_updates_alone() -> None:
    whole, frozen = small(), small(frozen_bits=8)
    tokens, labels = prompts(), torch.tensor([0, 1, 0])
    torch.testing.assert_close(frozen(tokens), whole(tokens), rtol=0.05, atol=0.01)  # 1 part in 254 a weight, 3 layers
    cross_entropy(frozen, Batch(tokens, labels, 0, 0.0)).backward()
    moved = {name for name, parameter in frozen.named_parameters() if parameter.grad is not None}
    assert moved == {name for name, _ in trained_parameters(frozen)}
    assert moved
    assert all(".lora_" in name for name in moved)


def test_8_bits_hold_a_quarter_of_float32_while_zeroth_order_trains() -> None:
    whole, frozen = (blocks_bytes(small(**options)) for options in ({}, {"frozen_bits": 8}))
    assert 0.25 < frozen / whole < 0.32  # scales and norms beside

    def peak(model: nn.Module) -> int:
        learner = MeZO(lr=0.01, eps=0.01).bind(model, cross_entropy, seed=0)
        batch = Batch(prompts(), torch.tensor([0, 1, 0]), 0, 0.0)
        return peak_live_bytes(lambda: learner.step(batch), resident=model.parameters())

    assert peak(small(frozen_bits=8)) < peak(small())


def blocks_bytes(model: nn.Module) -> int:
    """Bytes of what is frozen in the layers."""
    named = model.named_parameters()
    return sum(parameter.nbytes for name, parameter in named if ".layers." in name and ".lora_" not in name)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("llama", {"frozen_bits": 8}, "frozen_bits=8 leaves nothing to train; set model.lora too"),
        ("llama", {"frozen_bits": 4, "lora": LoRA()}, "frozen_bits=4 is not a width this freezes to; choose 8 or null"),
        ("gpt2", {"frozen_bits": 8, "lora": LoRA(targets=["c_attn"])}, "has no layers of PyTorch's Linear"),
    ],
)
def test_what_cannot_be_frozen_is_told(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        causal(name, **options)
