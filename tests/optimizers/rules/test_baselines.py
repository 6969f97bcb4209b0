"""Rules by libraries are what the libraries have, on the tensors that they take."""

import importlib
import logging
from typing import Any

import pytest
import torch
from torch import nn

from tightfit.optimizers.rules import adam_8bit
from tightfit.optimizers.rules.adafactor import Adafactor
from tightfit.optimizers.rules.adam import Adam
from tightfit.optimizers.rules.adam_8bit import Adam8bit
from tightfit.optimizers.rules.muon import Muon

from .stepping import begun, gradients, random, stepped

SINGLE = torch.float32


def by_torch(optimizer: torch.optim.Optimizer, parameter: nn.Parameter, of_steps: list[torch.Tensor]) -> torch.Tensor:
    for gradient in of_steps:
        parameter.grad = gradient.clone()
        optimizer.step()
    return parameter.detach()


def test_adafactor_is_pytorchs() -> None:
    weights, of_steps = random(6, 8), list(gradients(5, 6, 8))
    parameter = nn.Parameter(weights.clone())
    expected = by_torch(torch.optim.Adafactor([parameter], lr=1e-2), parameter, of_steps)
    assert torch.equal(stepped(Adafactor(), weights, of_steps), expected)


@pytest.mark.parametrize("adjust", ["match_rms_adamw", "original"])
def test_muon_is_pytorchs_and_steps_kernels_as_matrices(adjust: Any) -> None:
    of_steps = list(gradients(5, 6, 2, 3, 3, dtype=SINGLE))
    weights = random(6, 2, 3, 3, dtype=SINGLE)
    parameter = nn.Parameter(weights.clone().view(6, 18))
    muon = torch.optim.Muon([parameter], lr=1e-2, weight_decay=0.0, adjust_lr_fn=adjust)
    expected = by_torch(muon, parameter, [gradient.view(6, 18) for gradient in of_steps])
    assert torch.equal(stepped(Muon(adjust=adjust), weights, of_steps).view(6, 18), expected)


@pytest.mark.parametrize(("name", "shape"), [("layer.bias", (8,)), ("lm.model.embed_tokens.weight", (6, 8))])
def test_muon_leaves_vectors_and_embeddings_to_adam(name: str, shape: tuple[int, ...]) -> None:
    results = []
    for rule in (Muon(), Adam()):
        stepper, parameter = begun(rule, random(*shape), name)
        parameter.grad = random(*shape, seed=1)
        stepper.step_(1e-2)
        results.append(parameter.detach())
    assert torch.equal(*results)


def test_8bit_adam_is_torchaos() -> None:
    """To a few units of the last place: torchao multiplies by the rate in another order, and its codes are the same."""
    logging.getLogger("torchao").setLevel(logging.ERROR)
    torchao = pytest.importorskip("torchao.optim")
    weights, of_steps = random(64, 256, dtype=SINGLE), list(gradients(5, 64, 256, dtype=SINGLE))
    parameter = nn.Parameter(weights.clone())
    with torch.compiler.set_stance("force_eager"):  # compiling takes half a minute
        expected = by_torch(theirs := torchao.Adam8bit([parameter], lr=1e-2), parameter, of_steps)
    stepper, own = begun(Adam8bit(), weights)
    for gradient in of_steps:
        own.grad = gradient.clone()
        stepper.step_(1e-2)
    torch.testing.assert_close(own.detach(), expected, rtol=0, atol=3e-6)
    kept = stepper.state_dict()["states"]["layer.weight"]
    for ours, name in (("mean", "exp_avg"), ("square", "exp_avg_sq")):
        assert torch.equal(kept[ours].view(64, 256), theirs.state[parameter][name].codes)
        torch.testing.assert_close(kept[f"{ours}_largest"], theirs.state[parameter][name].scale)


def test_8bit_adam_steps_far_where_a_gradient_was_once_and_is_no_more_as_torchaos() -> None:
    """The second moment of a small gradient has the code of zero, the first has not: their quotient is divided by ε."""
    logging.getLogger("torchao").setLevel(logging.ERROR)
    torchao = pytest.importorskip("torchao.optim")
    once = torch.zeros(64, 256)
    once[:, 0], once[:, 1] = 1.0, 1e-4
    of_steps = [once, torch.zeros(64, 256)]
    parameter = nn.Parameter(torch.zeros(64, 256))
    with torch.compiler.set_stance("force_eager"):
        theirs = by_torch(torchao.Adam8bit([parameter], lr=1e-6), parameter, of_steps)
    ours = stepped(Adam8bit(), torch.zeros(64, 256), of_steps, lr=1e-6)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-9)
    whole = stepped(Adam(), torch.zeros(64, 256), of_steps, lr=1e-6)
    assert ours[0, 1].abs() > 1000 * whole[0, 1].abs() > 0


def test_small_tensors_and_parts_of_blocks_are_stepped_by_adam() -> None:
    assert Adam8bit().serves((16, 256))
    for shape in ((16, 255), (10, 1000)):
        assert not Adam8bit().serves(shape)
    assert Adam8bit(block=8).serves((10, 1000))


def test_without_torchao_a_sentence_says_how_to_get_it_and_plans_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise ImportError(f"No module named '{name}'")

    monkeypatch.setattr(adam_8bit, "import_module", missing)
    adam_8bit.codes.cache_clear()
    assert Adam8bit().bytes_of((64, 256), 4) == 2 * (16384 + 4 * 64)
    with pytest.raises(ValueError, match=r"rule=adam_8bit needs torchao .*; install it with pip install 'tightfit\[qu"):
        begun(Adam8bit(), random(64, 256))
    monkeypatch.setattr(adam_8bit, "import_module", importlib.import_module)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Adafactor(beta2_decay=0.5), "rule.beta2_decay=0.5 is not finite and at most 0"),
        (lambda: Adafactor(clip=0.5), "rule.clip=0.5 is not finite and from 1"),
        (lambda: Adafactor(least=0.0), "rule.least=0.0 is not more than 0"),
        (lambda: Muon(momentum=1.0), "rule.momentum=1.0 is not from 0 to less than 1"),
        (lambda: Muon(adjust="none"), "rule.adjust='none' is no length of steps; choose match_rms_adamw or original"),
        (lambda: Muon(by_adam="["), "rule.by_adam='.' is no regular expression"),
        (lambda: Adam8bit(block=0), "rule.block=0 is no number of numbers; choose a whole number from 1"),
        (lambda: Adam8bit(beta1=2.0), "rule.beta1=2.0 is not from 0 to less than 1"),
    ],
)
def test_impossible_settings_are_refused(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
