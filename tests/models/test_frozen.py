"""Frozen weights in 8 and 4 bits: near the whole ones, a part of their bytes, and gradients only where updates are."""

from typing import Any

import pytest
import torch
from torch import nn

from tightfit.memory.measured import peak_live_bytes
from tightfit.memory.parts import trained_parameters
from tightfit.models.adapters.frozen import FROZEN, FrozenInt4Linear, FrozenInt8Linear
from tightfit.models.adapters.lora import LoRA
from tightfit.optimizers.base import Batch
from tightfit.optimizers.mezo import MeZO
from tightfit.run.evaluate import cross_entropy

from .test_language_model import causal, prompts


def linear(inputs: int, outputs: int, dtype: torch.dtype = torch.float32) -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(inputs, outputs, dtype=dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_no_weight_is_further_off_than_half_a_step_of_its_row(dtype: torch.dtype) -> None:
    whole = linear(32, 8, dtype)
    frozen = FrozenInt8Linear(whole)
    back = frozen.weight.float() * frozen.scale.float()
    half_a_step = whole.weight.detach().abs().amax(dim=1).float() / 127 / 2
    # The scale itself is rounded to the type of the weights, at most one part in 2⁸ of up to 127 steps in bfloat16.
    slack = 1.0001 if dtype == torch.float32 else 1 + 127 * 2 / 2**8
    assert bool(((back - whole.weight.detach().float()).abs() <= slack * half_a_step[:, None]).all())


def test_of_4_bits_no_weight_is_further_off_than_half_a_step_of_its_64() -> None:
    whole = linear(128, 8)
    frozen = FrozenInt4Linear(whole)
    groups = whole.weight.detach().view(8, 2, 64)
    half_a_step = groups.abs().amax(dim=2, keepdim=True) / 7 / 2
    off = frozen.widened(torch.float32).view(8, 2, 64) - groups
    assert bool((off.abs() <= 1.0001 * half_a_step).all())
    assert frozen.weight.nbytes == whole.weight.numel() // 2


@pytest.mark.parametrize(("bits", "largest"), [(8, 127), (4, 7)])
@pytest.mark.parametrize("inputs", [6, 128])
def test_weights_that_are_whole_steps_give_the_same_outputs_and_gradients(bits: int, largest: int, inputs: int) -> None:
    whole = linear(inputs, 3)
    with torch.no_grad():
        whole.weight.copy_(torch.randint(-largest, largest + 1, (3, inputs)).float())
        whole.weight[:, ::64] = largest  # the scale is 1
    given, again = (torch.randn(4, inputs, generator=torch.Generator().manual_seed(1)) for _ in range(2))
    expected, ours = whole(given.requires_grad_()), FROZEN[bits](whole)(again.requires_grad_())
    torch.testing.assert_close(ours, expected)
    for outputs in (expected, ours):
        outputs.square().sum().backward()
    torch.testing.assert_close(again.grad, given.grad)


@pytest.mark.parametrize("bits", FROZEN)
def test_a_row_of_zeros_stays_so(bits: int) -> None:
    whole = linear(4, 2)
    with torch.no_grad():
        whole.weight.zero_()
    torch.testing.assert_close(FROZEN[bits](whole)(torch.ones(1, 4))[0], whole.bias.detach())


def test_rows_without_pairs_are_refused_in_4_bits() -> None:
    with pytest.raises(ValueError, match=r"5 inputs has no pairs for 4 bits; set adapter.frozen_bits=8"):
        FrozenInt4Linear(linear(5, 2))


def small(**options: Any) -> Any:
    return causal("llama", LoRA(rank=2, **options))


@pytest.mark.parametrize(("bits", "off"), [(8, 0.01), (4, 0.18)])  # 1 part in 254, or 14, of each weight; 3 layers
def test_a_language_model_on_few_bits_says_nearly_the_same_and_trains_its_updates_alone(bits: int, off: float) -> None:
    whole, frozen = small(), small(frozen_bits=bits)
    tokens, labels = prompts(), torch.tensor([0, 1, 0])
    torch.testing.assert_close(frozen(tokens), whole(tokens), rtol=5 * off, atol=off)
    cross_entropy(frozen, Batch(tokens, labels, 0, 0.0)).backward()
    moved = {name for name, parameter in frozen.named_parameters() if parameter.grad is not None}
    assert moved == {name for name, _ in trained_parameters(frozen)}
    assert moved
    assert all(".lora_" in name for name in moved)


@pytest.mark.parametrize(("bits", "least", "most"), [(8, 0.25, 0.32), (4, 0.125, 0.2)])  # scales and norms beside
def test_few_bits_hold_their_part_of_float32_while_zeroth_order_trains(bits: int, least: float, most: float) -> None:
    whole, frozen = (blocks_bytes(small(**options)) for options in ({}, {"frozen_bits": bits}))
    assert least < frozen / whole < most

    def peak(model: nn.Module) -> int:
        learner = MeZO(lr=0.01, eps=0.01).bind(model, cross_entropy, seed=0)
        batch = Batch(prompts(), torch.tensor([0, 1, 0]), 0, 0.0)
        return peak_live_bytes(lambda: learner.step(batch), resident=model.parameters())

    assert peak(small(frozen_bits=bits)) < peak(small())


def blocks_bytes(model: nn.Module) -> int:
    """Bytes of what is frozen in the layers."""
    named = model.named_parameters()
    return sum(parameter.nbytes for name, parameter in named if ".layers." in name and ".lora_" not in name)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("llama", {"frozen_bits": 3}, "frozen_bits=3 is not a width this freezes to; choose 8, 4 or null"),
        ("gpt2", {"frozen_bits": 8, "targets": ["c_attn"]}, "has no layers of PyTorch's Linear"),
    ],
)
def test_what_cannot_be_frozen_is_told(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        causal(name, LoRA(**options))
