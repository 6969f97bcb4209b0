import pytest
import torch
from torch import nn

from tightfit.numerics.noise.perturbation import Noise, Perturbation
from tightfit.numerics.noise.probes import InPlace, LayerByLayer, check_restore, probe_for


def network() -> nn.Sequential:
    generator = torch.Generator().manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3)).requires_grad_(False)
    for parameter in model.parameters():
        parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return model


def perturbation_of(model: nn.Module, queries: int = 1) -> Perturbation:
    return Perturbation(model.named_parameters(), seed=0, queries=queries, noise="rademacher")


INPUTS = torch.randn(5, 8, generator=torch.Generator().manual_seed(1))


def test_a_layer_with_its_own_moved_copy_computes_what_moved_weights_compute() -> None:
    moved, layered = network(), network()
    perturbation_of(moved).add_(0.25, step=4)
    with LayerByLayer(layered, perturbation_of(layered)).at(0.25, step=4):
        assert torch.equal(layered(INPUTS), moved(INPUTS))
    assert torch.equal(layered(INPUTS), network()(INPUTS))


def test_both_ways_of_probing_end_at_the_same_weights_within_rounding() -> None:
    ends = []
    for way in (InPlace, LayerByLayer):
        model = network()
        probe = way(*([model] if way is LayerByLayer else []), perturbation_of(model, queries=2))
        for step in range(3):
            for query in range(2):
                for scale in (1e-2, -1e-2):
                    with probe.at(scale, step, query):
                        model(INPUTS)
            for query in range(2):
                probe.update_(3e-3, query + 1.0, step, query)
        probe.rest()
        ends.append(torch.cat([parameter.flatten() for parameter in model.parameters()]))
    assert (ends[0] - ends[1]).abs().max() < 40 * 2**-23  # forty additions to numbers below 4, at most


def test_weights_are_at_rest_after_a_pass_that_failed() -> None:
    model = network()
    probe = LayerByLayer(model, perturbation_of(model))
    with pytest.raises(RuntimeError), probe.at(0.25, step=0):
        model(torch.zeros(5, 9))  # the first layer has eight inputs
    assert torch.equal(model(INPUTS), network()(INPUTS))


def test_nothing_stays_on_the_model() -> None:
    model = network()
    with LayerByLayer(model, perturbation_of(model)).at(0.25, step=0):
        model(INPUTS)
    assert all(not module._forward_hooks and not module._forward_pre_hooks for module in model.modules())


def test_a_weight_used_outside_its_module_is_refused_instead_of_not_probed() -> None:
    attention = nn.MultiheadAttention(8, 2).requires_grad_(False)  # reads out_proj.weight without calling out_proj
    probe = LayerByLayer(attention, perturbation_of(attention))
    message = r"out_proj.weight is not used by its own module's forward pass; choose restore=merged"
    with pytest.raises(ValueError, match=message), probe.at(0.25, step=0):
        attention(*[torch.zeros(4, 1, 8)] * 3, need_weights=False)


def test_a_module_may_answer_with_its_own_parameter() -> None:
    class Positions(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(7), requires_grad=False)

        def forward(self) -> torch.Tensor:
            return self.weight

    model = Positions()
    with LayerByLayer(model, perturbation_of(model)).at(0.25, step=0):
        assert model().abs().unique().tolist() == [0.25]
    assert not model.weight.any()


def test_a_view_of_a_large_weight_is_not_overwritten_by_the_next_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Copies of large weights share memory from layer to layer, but not while an answer is still in it."""
    monkeypatch.setattr("tightfit.numerics.noise.probes.LARGE", 16)

    class First(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(7), requires_grad=False)

        def forward(self) -> torch.Tensor:
            return self.weight[1:]

    model = nn.ModuleList([First(), First()])
    moved = perturbation_of(model)
    expected = [module.weight.clone() for module in model]
    with LayerByLayer(model, moved).at(0.25, step=0):
        answers = [module() for module in model]
    moved.add_(0.25, step=0)
    assert all(torch.equal(answer, module.weight[1:]) for answer, module in zip(answers, model, strict=True))
    assert all(not torch.equal(module.weight, before) for module, before in zip(model, expected, strict=True))


@pytest.mark.parametrize("large", [0, 2**30])
def test_memory_of_copies_is_used_again(large: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tightfit.numerics.noise.probes.LARGE", large)
    model, moved = network(), network()
    probe, expected = LayerByLayer(model, perturbation_of(model)), perturbation_of(moved)
    for step in range(3):
        expected.add_(0.25, step)
        with probe.at(0.25, step):
            assert torch.equal(model(INPUTS), moved(INPUTS))
        for parameter, rest in zip(moved.parameters(), network().parameters(), strict=True):
            parameter.copy_(rest)


def test_a_loss_known_without_a_pass_needs_no_layers() -> None:
    model = network()
    with LayerByLayer(model, perturbation_of(model)).at(0.25, step=0, without_pass=True):
        pass


class Bare(nn.Module):
    """Parameters that no module's own forward pass uses."""

    def __init__(self) -> None:
        super().__init__()
        self.listed = nn.ParameterList([torch.ones(3), torch.ones(2)])


def test_a_model_of_which_no_module_runs_is_refused_instead_of_never_trained() -> None:
    model, message = Bare().requires_grad_(False), r"listed.0 is not used by its own module's forward pass"
    with pytest.raises(ValueError, match=message), LayerByLayer(model, perturbation_of(model)).at(0.25, step=0):
        sum(parameter.sum() for parameter in model.listed)


def images_weights(layout: torch.memory_format) -> nn.Conv2d:
    conv = nn.Conv2d(3, 5, 2, bias=False).requires_grad_(False)
    conv.weight.copy_(torch.arange(60.0).view(5, 3, 2, 2))
    return conv.to(memory_format=layout)


@pytest.mark.parametrize("noise", ["gaussian", "rademacher"])
def test_weights_whose_channels_are_last_are_moved_by_every_way_of_probing(noise: Noise) -> None:
    ends = []
    for way in ("merged", "exact"):
        conv = images_weights(torch.channels_last)
        probe = probe_for(way, conv, Perturbation(conv.named_parameters(), seed=0, noise=noise))
        with probe.at(0.5, step=0):
            ends.append(conv(torch.ones(1, 3, 4, 4)))
        probe.update_(0.5, 2.0, step=0)
        probe.rest()
        ends.append(conv.weight - images_weights(torch.contiguous_format).weight)
    assert torch.equal(ends[0], ends[2])
    torch.testing.assert_close(ends[1], ends[3])
    assert ends[1].abs().min() > 0


def test_weights_that_share_memory_are_refused() -> None:
    with pytest.raises(ValueError, match=r"shape \[3, 2\] with strides \[1, 0\] do not fill their memory"):
        Perturbation([("tied", nn.Parameter(torch.ones(3, 1).expand(3, 2), requires_grad=False))], seed=0)


def test_a_step_of_zero_leaves_the_sign_of_zero() -> None:
    model = nn.Linear(2, 2).requires_grad_(False)
    model.weight.data.fill_(-0.0)
    LayerByLayer(model, perturbation_of(model)).update_(0.0, 1.0, step=0)
    assert torch.signbit(model.weight).all()


def test_weights_of_16_bits_that_move_in_place_are_warned_of() -> None:
    model = network().bfloat16()
    with pytest.warns(UserWarning, match=r"rounds torch.bfloat16 weights three times a step.*choose restore=exact"):
        probe_for("merged", model, perturbation_of(model))


def test_unknown_ways_to_restore_are_refused() -> None:
    with pytest.raises(ValueError, match="restore='snapshot' is not a way to restore weights; choose merged or exact"):
        check_restore("snapshot")
