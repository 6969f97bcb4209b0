import copy

import pytest
import torch
from torch import nn

from tightfit.numerics.noise.counter_noise import TABLES
from tightfit.numerics.noise.perturbation import NOISES, PIECE, KernelName, Noise, Perturbation, Piece
from tightfit.numerics.seeds import derive, permute32


def direction(
    size: int,
    name: str = "w",
    seed: int = 0,
    step: int = 0,
    query: int = 0,
    queries: int = 1,
    noise: Noise = "gaussian",
) -> torch.Tensor:
    weights = nn.Parameter(torch.zeros(size), requires_grad=False)
    Perturbation([(name, weights)], seed, queries, noise).add_(1.0, step, query)
    return weights.data


def test_pytorchs_numbers_in_pieces_are_those_of_one_draw() -> None:
    """The slow twin: one draw as large as the tensor."""
    size = 3 * PIECE + 48
    generator = torch.Generator().manual_seed(permute32(7, derive(0, "perturbation", "w")))
    assert torch.equal(direction(size, step=7, noise="torch_gaussian"), torch.empty(size).normal_(generator=generator))


def test_same_name_step_and_seed_give_the_same_direction_whatever_else_is_trained() -> None:
    alone = nn.Parameter(torch.zeros(100), requires_grad=False)
    beside = nn.Parameter(torch.zeros(100), requires_grad=False)
    Perturbation([("b", alone)], seed=3).add_(1.0, step=5)
    Perturbation([("a", nn.Parameter(torch.zeros(7), requires_grad=False)), ("b", beside)], seed=3).add_(1.0, step=5)
    assert torch.equal(alone, beside)


def test_seed_name_step_and_query_each_change_the_direction() -> None:
    base = direction(64)
    others = [direction(64, seed=1), direction(64, name="v"), direction(64, step=1), direction(64, query=1, queries=2)]
    assert all(not torch.equal(base, other) for other in others)


def test_directions_are_standard_normal() -> None:
    z = direction(200_000)
    assert abs(z.mean()) < 5 / 200_000**0.5  # five standard errors
    assert abs(z.var() - 1) < 5 * (2 / 200_000) ** 0.5


def test_perturbing_forth_and_back_returns_to_within_rounding() -> None:
    weights = nn.Parameter(torch.randn(10_000, generator=torch.Generator().manual_seed(0)), requires_grad=False)
    before = weights.clone()
    perturbation = Perturbation([("w", weights)], seed=0)
    for scale in (1e-3, -2e-3, 1e-3):
        perturbation.add_(scale, step=0)
    # each of the three additions rounds by at most half a unit in the last place of numbers below 8
    assert (weights - before).abs().max() <= 3 * 2**-22


def test_nothing_touches_the_global_generator() -> None:
    before = torch.get_rng_state()
    direction(1000)
    assert torch.equal(before, torch.get_rng_state())


def test_seeds_of_a_tensor_never_repeat() -> None:
    key = derive(0, "perturbation", "w")
    assert len({permute32(counter, key) for counter in range(200_000)}) == 200_000


def test_noise_does_not_depend_on_the_thread_count() -> None:
    """Several tensors, so that they are drawn side by side."""
    before, ends = torch.get_num_threads(), []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        tensors = [nn.Parameter(torch.zeros(100_000 + size), requires_grad=False) for size in range(5)]
        Perturbation([(str(number), tensor) for number, tensor in enumerate(tensors)], seed=0).add_(1.0, step=3)
        ends.append(torch.cat([tensor.data for tensor in tensors]))
    torch.set_num_threads(before)
    assert torch.equal(ends[0], ends[1])
    assert torch.equal(ends[0], ends[2])


@pytest.mark.parametrize("noise", NOISES)
def test_a_sweep_sees_the_directions_that_are_added(noise: Noise) -> None:
    """Piece by piece and of several directions at once: the sum that `add_` takes one direction after the other."""
    sizes = {"a": PIECE, "b": 2 * PIECE + 1000, "c": 7}

    def weights() -> dict[str, nn.Parameter]:
        generator = torch.Generator().manual_seed(0)
        return {name: nn.Parameter(torch.randn(size, generator=generator)) for name, size in sizes.items()}

    added, swept = weights(), weights()
    by_sums, by_pieces = (Perturbation(of.items(), seed=1, queries=2, noise=noise) for of in (added, swept))

    def add(piece: Piece) -> None:
        assert piece.weights.data_ptr() == piece.parameter.data[piece.place].data_ptr()
        for z, scale in zip(piece.directions, (0.5, -0.25), strict=True):
            piece.weights.add_(z, alpha=scale)  # powers of two: the table of a counter stream is scaled exactly

    with torch.no_grad():
        by_sums.add_(0.5, step=3, query=0)
        by_sums.add_(-0.25, step=3, query=1)
        by_pieces.sweep(add, step=3, queries=(0, 1))
    assert all(torch.equal(added[name], swept[name]) for name in sizes)


@pytest.mark.parametrize("noise", TABLES)
def test_a_sweep_sees_the_same_numbers_by_every_kernel(noise: Noise) -> None:
    def seen(kernel: KernelName) -> list[torch.Tensor]:
        weights = [(name, nn.Parameter(torch.zeros(size))) for name, size in (("a", 2 * PIECE + 1001), ("b", 7))]
        drawn: list[torch.Tensor] = []
        Perturbation(weights, seed=1, noise=noise, kernel=kernel).sweep(lambda piece: drawn.extend(piece.directions), 3)
        return drawn

    for by_compiler, by_operators in zip(seen("fused"), seen("portable"), strict=True):
        assert torch.equal(by_compiler, by_operators)


def test_a_copy_does_not_move_the_weights_it_was_made_beside() -> None:
    weights = nn.Parameter(torch.zeros(100), requires_grad=False)
    copy.deepcopy(Perturbation([("w", weights)], seed=0)).add_(1.0, step=0)
    assert not weights.any()
